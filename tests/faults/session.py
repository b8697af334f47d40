"""Imported by the process that drivers are forked from, and by no other: gives it a session.

Linux divides its cores among sessions as it does among containers, and in docker-compose.yml drivers share one.
"""

import os

os.setsid()
