"""A log line is one record's: what a client sends, or an error says, cannot begin another."""

import io
import logging
import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from study.ledger import Ledger, Scope
from study.service.log_lines import OneLineFormatter
from study.service.tokens import create_token
from tests.study.service.support import spec
from tests.study.service.test_studies import ledger_of

FORGED = "2026-01-01 00:00:00,000 trialwright.service INFO Token 'root' was accepted."
EVIL = f"x\r\n{FORGED}\n\x1b[2J\x1b]0;title\x07\u2028{FORGED}\u202e"
RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [\w.]+ [A-Z]+ ")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the service's loggers write."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLineFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def lines(log: io.StringIO) -> list[str]:
    written = re.split(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]", log.getvalue().rstrip("\n"))
    assert all(line.isprintable() for line in written)
    return written


def test_one_record_is_one_line(log: io.StringIO):
    logging.getLogger("trialwright.service").warning("It said %s.", EVIL)
    (line,) = lines(log)
    assert RECORD.match(line)
    assert "\\r\\n2026-01-01" in line


def test_no_line_of_a_traceback_looks_like_a_record(log: io.StringIO):
    def fail() -> None:
        raise ValueError(EVIL)

    try:
        fail()
    except ValueError:
        logging.getLogger("trialwright.service").exception("A request failed.", stack_info=True)
    first, *others = lines(log)
    assert RECORD.match(first)
    assert len(others) > 3
    assert not any(RECORD.match(line) for line in others)
    assert any("ValueError: x" in line for line in others)


def test_a_client_cannot_write_a_line_of_its_own(
    http: TestClient, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    create_token(ledger_of(http), EVIL, Scope.READ)
    reader = create_token(ledger_of(http), f"{EVIL}2", Scope.READ)
    http.get("/api/v1/studies", headers={"Authorization": "Bearer twr_forged"})
    headers = {"Authorization": f"Bearer {reader}"}
    http.post("/api/v1/studies", json={"spec": spec()}, headers=headers)
    http.delete(f"/api/v1/studies/x%0d%0a{FORGED.replace(' ', '%20')}", headers=headers)
    runner = create_token(ledger_of(http), "runner", Scope.RUN)
    headers = {"Authorization": f"Bearer {runner}"}
    for changes in ({"claims": f"/etc/{EVIL}"}, {"base": {"model": f"path:/{EVIL}"}}, {"name": EVIL}):
        http.post("/api/v1/plan", json={"spec": spec(**changes)}, headers=headers)

    def fail(*_: object) -> None:
        raise RuntimeError(EVIL)

    monkeypatch.setattr(Ledger, "standings", fail)
    assert http.get("/api/v1/studies", headers=headers).status_code == 500
    written = lines(log)
    assert len(written) > 5
    records = [line for line in written if RECORD.match(line)]
    assert not any(line.startswith("2026-01-01") for line in written)
    assert len(records) < len(written)  # the traceback's lines are indented
