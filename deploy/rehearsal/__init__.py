"""Runs the stack of docker-compose.yml as plain processes on one machine, where there is no container engine.

Each container becomes a process with namespaces of its own (network, mounts, processes, host name), the file system of
this machine beneath a writable layer, the user, environment, secrets, volumes and command that the compose file and the
Dockerfile say, and their health checks and start order. `python -m deploy.rehearsal` runs it; see docs/deploy.md.
"""
