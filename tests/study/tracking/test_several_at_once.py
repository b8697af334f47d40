"""A server is sent several runs at once: never a child before its parent, and each once, whatever breaks off."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest

from search_spaces.errors import RetryableError
from study.tracking.store import CALLS_OF_A_SERVER, TrackingStore
from tests.study.servers import MlflowServer
from tests.study.tracking.homes import DONE, Home, assert_agrees, finish_all

ORDER = ("study", "family", "configuration", "trial")


class SlowStore(TrackingStore):
    """Says how many runs were being made at once, and after how many it fails."""

    def __init__(self, home: Home, fails_after: int = 1_000_000) -> None:
        super().__init__(home.uri, home.artifacts_dir)
        self.kinds: list[str] = []
        """Of the runs that were made, in the order in which each was finished."""
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._number = count()
        self._fails_after = fails_after

    def create_run(self, experiment_id: str, *, name: str, started_at: float, tags: Mapping[str, str]) -> str:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(0.05)
            if next(self._number) >= self._fails_after:
                raise RetryableError("planted")
            return super().create_run(experiment_id, name=name, started_at=started_at, tags=tags)
        finally:
            with self._lock:
                self._at_once -= 1
                self.kinds.append(tags["trialwright.run"].partition(":")[0])


@pytest.fixture
def home(tmp_path: Path, server: MlflowServer) -> Home:
    home = Home(tmp_path, uri=server.uri)
    finish_all(home.ledger)
    return home


def test_runs_of_one_kind_go_together_after_their_parents(home: Home):
    store = SlowStore(home)
    assert home.shipper().ship(store, verify=True) == DONE
    assert_agrees(home)
    assert 2 <= store.most_at_once <= CALLS_OF_A_SERVER
    assert store.kinds == sorted(store.kinds, key=ORDER.index)
    parents = {run.info.run_id for run in home.runs()}
    for run in home.runs():
        assert run.data.tags.get("mlflow.parentRunId", run.info.run_id) in parents


@pytest.mark.parametrize("fails_after", [0, 2, 5, 9])
def test_what_breaks_off_among_several_is_sent_once_all_the_same(home: Home, fails_after: int):
    with pytest.raises(RetryableError, match="planted"):
        home.shipper().ship(SlowStore(home, fails_after), verify=True)
    made = Counter(run.data.tags["trialwright.run"] for run in home.runs())
    assert sum(made.values()) == fails_after
    assert home.ship() == DONE
    assert_agrees(home)


def test_arrivals_are_told_with_what_is_left(home: Home):
    left: list[int] = []
    home.shipper(left.append).ship(SlowStore(home), verify=True)
    runs = left[: len(home.runs())]
    assert runs == list(range(len(runs)))[::-1]


def test_a_file_is_written_to_by_one_at_a_time(tmp_path: Path, empty_store: Path):
    home = Home(tmp_path, empty=empty_store)
    finish_all(home.ledger)
    store = SlowStore(home)
    assert home.shipper().ship(store, verify=True) == DONE
    assert store.most_at_once == 1


def test_a_slow_server_is_sent_one_at_a_time(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("study.tracking.store.QUICK_CALL_S", 0.0)
    store = SlowStore(home)
    assert home.shipper().ship(store, verify=True) == DONE
    assert store.most_at_once == 1
