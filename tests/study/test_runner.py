"""What a launch refuses, when it gives up, and what `stop` may do."""

from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.errors import RetryableError, SpecError
from study.coordinator import MAX_SILENT_FAILURES, Coordinator
from study.home import Home
from study.kept import KeptFiles
from study.ledger import Ledger, StudyState
from study.runner import _check_same_inputs, _Drive, request_stop
from tests.study.simulation import mixed_life, new_study, study_spec

FACTS = {"data_digest": "a" * 64, "base_digest": "b" * 64}


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        opened.create_study("tiny", {"name": "tiny"}, "digest", FACTS)
        yield opened


def test_the_same_inputs_may_go_on():
    _check_same_inputs(FACTS, dict(FACTS), "tiny")


@pytest.mark.parametrize(("name", "what"), [("data_digest", "text"), ("base_digest", "base model")])
def test_other_text_or_another_model_is_refused(name, what):
    message = (
        f"Study 'tiny' began with another {what} .*: put the old one back, or give the study another name"
    )
    with pytest.raises(SpecError, match=message):
        _check_same_inputs(FACTS, {**FACTS, name: "c" * 64}, "tiny")


def test_stop_needs_a_driver(ledger):
    with pytest.raises(
        SpecError, match=r"Study 'tiny' does not run \(it is planned\): there is nothing to stop"
    ):
        request_stop(ledger, "tiny")


def test_stop_asks_the_driver(ledger):
    ledger.claim_study("tiny", "me")
    ledger.set_study_state("tiny", StudyState.RUNNING)
    assert "stops at its workers' next reports (process" in request_stop(ledger, "tiny")
    assert ledger.study("tiny").state is StudyState.STOPPED


@pytest.mark.parametrize("state", [StudyState.FINISHED, StudyState.FAILED])
def test_stop_leaves_a_study_alone_that_only_writes_its_report(ledger, state):
    ledger.claim_study("tiny", "me")
    ledger.set_study_state("tiny", state)
    with pytest.raises(SpecError, match=f"it is {state.value}"):
        request_stop(ledger, "tiny")
    assert ledger.study("tiny").state is state


@pytest.fixture
def simulated(tmp_path):
    spec = study_spec()
    with new_study(spec, f"sqlite:///{tmp_path / 'simulated.db'}") as made:
        yield spec, made


def test_a_launch_in_which_nothing_works_ends_before_every_trial_is_lost(simulated):
    spec, made = simulated
    coordinator = Coordinator(spec, made)
    keys = [coordinator.next_trial().key for _ in range(MAX_SILENT_FAILURES)]
    for key in keys[:-1]:
        coordinator.lose(key, "ImportError: no torch", retry=False)
    with pytest.raises(
        RetryableError, match=r"failed before they measured anything \(ImportError: no torch\): mend"
    ):
        coordinator.lose(keys[-1], "ImportError: no torch", retry=False)
    assert made.trial(spec.name, keys[-1]).ending is None


def test_a_launch_in_which_something_works_goes_on(simulated):
    spec, made = simulated
    coordinator = Coordinator(spec, made)
    first = coordinator.next_trial()
    coordinator.receive(first.key, 0, mixed_life(first)[:1])
    for _ in range(MAX_SILENT_FAILURES + 1):
        coordinator.lose(coordinator.next_trial().key, "ValueError", retry=False)
    assert sum(record.ending is not None for record in made.trials(spec.name)) == MAX_SILENT_FAILURES + 1


def test_checkpoints_are_gone_before_a_study_is_called_finished(simulated, tmp_path, monkeypatch):
    """Who dies in between is launched again, and drops the rest."""

    def dies(_: KeptFiles) -> None:
        raise KeyboardInterrupt

    spec, made = simulated
    made.claim_study(spec.name, "me")
    made.set_study_state(spec.name, StudyState.RUNNING)
    quiet: Any = SimpleNamespace(say=lambda _: None, close=lambda *_, **__: SimpleNamespace(is_empty=True))
    drive = _Drive(
        spec=spec,
        home=Home(root=tmp_path),
        ledger=made.held_by("me"),
        owner="me",
        tracking_uri="",
        address=None,
        last_phase=None,
        view=quiet,
    )
    monkeypatch.setattr(KeptFiles, "drop_all_checkpoints", dies)
    with pytest.raises(KeyboardInterrupt):
        drive._conclude(StudyState.FINISHED, quiet)
    assert made.study(spec.name).state is StudyState.RUNNING
