"""Stores and servers that several tests of the tracker ship to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from study.tracking.store import TrackingStore
from tests.study.servers import MlflowServer, mlflow_server
from tests.study.tracking.homes import Home


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without a run: MLflow takes seconds to make one, so that tests copy it."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    TrackingStore(f"sqlite:///{path}", path.parent)
    return path


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Home:
    return Home(tmp_path, empty=empty_store)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One for all: the tests' studies keep apart there, as studies of different ledgers do."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as started:
        yield started
