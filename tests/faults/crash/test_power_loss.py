"""Power loss between any two writes to the ledger, its book of shipped runs, and the checkpoints."""

from typing import Any

import pytest

from tests.faults.crash.recording import Operation, can_record, record
from tests.faults.crash.replay import outcome_of, prefixes, problems_after
from tests.faults.studies import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_record(), reason="strace is absent, or may not trace"),
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Operation], Any]:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "place").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ROOT)
        patch.setenv("TRIALWRIGHT_FAULTS_STEP_S", "0")
        arguments = ["-m", "tests.faults.crash.workload", str(folder / "place")]
        return record(folder / "place", arguments, folder / "trace"), outcome_of(folder / "place")


def test_the_record_of_the_calls_gives_the_very_files(recorded, tmp_path):
    operations, expected = recorded
    assert len(operations) > 500
    assert {one.kind for one in operations} == {
        *("create", "write", "truncate", "sync", "rename", "mkdir", "rmdir", "unlink"),
    }
    ((_, disk),) = prefixes(operations, len(operations), -1)
    disk.lay_down(tmp_path / "laid", loses_unsynced=False)
    assert outcome_of(tmp_path / "laid") == expected


@pytest.mark.parametrize("loses_unsynced", [False, True])
def test_what_was_confirmed_survives_and_the_study_ends_the_same(
    recorded, tmp_path, monkeypatch, loses_unsynced
):
    monkeypatch.setenv("TRIALWRIGHT_FAULTS_STEP_S", "0")
    operations, expected = recorded
    found = {
        number: problems
        for number, disk in prefixes(operations, 97, 5)
        if (
            problems := problems_after(
                disk, tmp_path / str(number), expected, loses_unsynced=loses_unsynced, goes_on=True
            )
        )
    }
    assert found == {}
