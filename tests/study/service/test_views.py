"""What a watcher is told while a driver writes between two looks at the ledger."""

from pathlib import Path

import pytest

from study.ledger import Ledger, StudyState
from study.service import views
from study.service.launcher import DRIVER_FAILED, SUBMITTED
from tests.study.samples import MANIFEST, SPEC, STUDY


def test_a_study_that_ends_while_it_is_looked_at_is_not_over_before_that_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(STUDY, SPEC, "ab" * 32, MANIFEST)

        def driven_meanwhile(*_: object, **__: object) -> bool:
            ledger.set_study_state(STUDY, StudyState.FINISHED)
            return False

        monkeypatch.setattr(views, "is_starting", driven_meanwhile)
        first = views.watched(ledger, STUDY)
        assert (first.document["state"], first.is_over) == ("planned", False)
        second = views.watched(ledger, STUDY)
        assert (second.document["state"], second.is_over) == ("finished", True)


def test_a_driver_that_fails_while_its_study_is_looked_at_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(STUDY, SPEC, "ab" * 32, MANIFEST)
        ledger.record_event(STUDY, SUBMITTED, {"job": None})
        is_starting = views.is_starting

        def failed_meanwhile(*asked: Ledger | str, now: float | None) -> bool:
            ledger.record_event(STUDY, DRIVER_FAILED, {"job": None, "log": "No part."})
            return is_starting(*asked, now=now)

        monkeypatch.setattr(views, "is_starting", failed_meanwhile)
        seen = views.watched(ledger, STUDY)
        assert (seen.is_over, seen.problem) == (True, "No part.")
