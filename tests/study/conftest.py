"""A dashboard for each test, a client with its token, and a bucket of an object store that the test's process uses."""

from collections.abc import Iterator

import pytest

from study.jobs.address import dashboard_url
from tests.study.jobs.dashboards import TOKEN, serving
from tests.study.object_store import ObjectStore, object_store
from trainers import places


@pytest.fixture
def dashboard(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    dashboard_url.cache_clear()
    with serving() as one:
        yield one


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture
def s3(s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket, which TRIALWRIGHT_STORE names."""
    s3_server.use_new_bucket()
    for name, text in {**s3_server.environment, "TRIALWRIGHT_STORE": s3_server.url}.items():
        monkeypatch.setenv(name, text)
    places._filesystem.cache_clear()
    yield s3_server
    places._filesystem.cache_clear()
