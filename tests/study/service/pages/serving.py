"""A real server for the pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.service.launcher import Launcher
from study.service.settings import ServiceSettings
from tests.study.service.support import serving


@contextmanager
def served(home: Path, launcher: Launcher | None = None, **settings: Any) -> Iterator[str]:
    """The address of a service over a home, for the duration of a block."""
    settings = {"rate_per_s": 1000.0, "burst": 10_000, "poll_s": 0.3, "port": 0} | settings
    with serving(ServiceSettings(home=home, **settings), launcher) as running:
        yield running.url
