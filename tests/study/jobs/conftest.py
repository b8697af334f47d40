"""A dashboard for each test, and a client with its token."""

import pytest

from study.jobs.address import dashboard_url
from tests.study.jobs.dashboards import TOKEN, serving


@pytest.fixture
def dashboard(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    dashboard_url.cache_clear()
    with serving() as one:
        yield one
