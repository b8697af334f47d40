"""What runs here in place of images that are not ours: PostgreSQL of this machine, and moto as the object store."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from deploy.rehearsal.stack import Service, Stack

_ENTRY = str(Path(__file__).with_name("postgres_entry.sh"))
STORE_CHECK_URL = "http://127.0.0.1:8333/moto-api/"
NEEDED = ("ip", "unshare", "nsenter", "setpriv", "mount")


def stand_in(service: Service, stack: Stack) -> tuple[Service, str]:
    """What is started for a service, and in which way that differs from the compose file; empty where it does not.

    Args:
        service: of the compose file.
        stack: the whole file.
    """
    if service.is_ours:
        return _without_tini(service)
    ours = stack.image.environment["PATH"]
    if service.image.startswith("postgres:"):
        return replace(service, command=(_ENTRY, *service.command)), (
            "this machine's PostgreSQL, with a small entry point in place of the image's"
        )
    python = f"{sys.prefix}/bin/python"
    return (
        replace(
            service,
            command=(f"{sys.prefix}/bin/moto_server", "-H", "0.0.0.0", "-p", "8333"),  # noqa: S104 (in its namespace)
            check=(python, str(Path(__file__).parents[1] / "image/answers.py"), STORE_CHECK_URL),
            environment=service.environment | {"PATH": ours, "HOME": "/tmp"},  # noqa: S108 (in its namespace)
        ),
        f"moto stands in for {service.image.partition('@')[0]}: it keeps objects in memory and checks no credentials",
    )


def missing_tools() -> list[str]:
    """What this machine lacks for a rehearsal, each as it would be told."""
    lacking = [f"the program {name}" for name in NEEDED if shutil.which(name) is None]
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        lacking.append("PostgreSQL (Debian: postgresql)")
    if not Path(sys.prefix, "bin/moto_server").exists():
        lacking.append("moto's server (pip install 'trialwright[dev]')")
    if not Path(sys.prefix, "bin/ray").exists():
        lacking.append("Ray's command in this environment")
    return lacking


def _without_tini(service: Service) -> tuple[Service, str]:
    if service.command[0] != "tini" or shutil.which("tini"):
        return service, ""
    return replace(
        service, command=service.command[service.command.index("--") + 1 :]
    ), "without tini, absent here"
