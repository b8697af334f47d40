"""A home of its own for every test, and apps over it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from study.service.app import make_app
from study.service.context import make_context
from study.service.settings import ServiceSettings
from tests.study.service.support import ROOT, NoDrivers


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TRIALWRIGHT_LEDGER", "TRIALWRIGHT_TOKEN", "TRIALWRIGHT_TOKEN_FILE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRIALWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PLANTED_TRIALS", "3")
    return tmp_path / "home"


@pytest.fixture
def launcher() -> NoDrivers:
    return NoDrivers()


@pytest.fixture
def settings(home: Path) -> ServiceSettings:
    return ServiceSettings(home=home, port=0, poll_s=0.05, heartbeat_s=0.5)


@pytest.fixture
def http(settings: ServiceSettings, launcher: NoDrivers) -> Iterator[TestClient]:
    """An app in this process, open since its ledger holds no token."""
    app = make_app(settings, context=make_context(settings, launcher))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client
