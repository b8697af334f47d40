"""What MLflow should show, worked out from records alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from study.ledger import Ledger, RunKind, StudyState
from study.records import Ending, Outcome, Phase
from study.tracking.view import RunView, flattened, views
from tests.study.samples import STUDY, begin, ended, finished, plan, planned, run_trial


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    begin(opened, [*plan(), *(planned("sgd", 9, phase=Phase.CONFIRMATION, replicate=r) for r in range(3))])
    return opened


def shown(ledger: Ledger) -> dict[tuple[str, str], RunView]:
    found = views(ledger.study(STUDY), ledger.trial_activity(STUDY))
    return {(view.kind.value, view.key): view for view in found}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.FINISHED, "FINISHED"),
        (Outcome.DIVERGED, "FINISHED"),
        (Outcome.STOPPED, "KILLED"),
        (Outcome.CANCELLED, "KILLED"),
        (Outcome.OUT_OF_MEMORY, "FAILED"),
        (Outcome.INFRA_FAILED, "FAILED"),
    ],
)
def test_an_outcome_has_its_status(ledger: Ledger, outcome: Outcome, status: str):
    key = planned("sgd", 0).key
    run_trial(ledger, key, ended(outcome))
    view = shown(ledger)["trial", key]
    assert (view.status, view.tags["outcome"], view.tags["reason"]) == (
        status,
        outcome,
        f"It {outcome} early.",
    )


def test_nothing_is_shown_of_a_study_that_never_ran(ledger: Ledger):
    ledger.set_study_state(STUDY, StudyState.PLANNED)
    assert shown(ledger) == {}


def test_only_what_was_started_is_shown_and_parents_come_first(ledger: Ledger):
    run_trial(ledger, planned("sgd", 0).key, None)
    found = list(shown(ledger).values())
    assert [view.kind for view in found] == [
        RunKind.STUDY,
        RunKind.FAMILY,
        RunKind.CONFIGURATION,
        RunKind.TRIAL,
    ]
    assert [view.status for view in found] == ["RUNNING"] * 4
    assert [view.parent for view in found] == [None, *((view.kind, view.key) for view in found[:-1])]


@pytest.mark.parametrize(
    ("state", "status", "family", "trial"),
    [
        (StudyState.INTERRUPTED, "KILLED", "KILLED", "KILLED"),
        (StudyState.STOPPED, "KILLED", "KILLED", "KILLED"),
        (StudyState.FINISHED, "FINISHED", "FINISHED", "KILLED"),
        (StudyState.FAILED, "FAILED", "FINISHED", "KILLED"),
    ],
)
def test_nothing_is_running_once_the_study_is_not(
    ledger: Ledger, state: StudyState, status: str, family: str, trial: str
):
    open_key = planned("sgd", 0).key
    run_trial(ledger, open_key, None)
    run_trial(ledger, planned("sgd", 1).key, finished())
    ledger.set_study_state(STUDY, state)
    found = shown(ledger)
    assert "RUNNING" not in {view.status for view in found.values()}
    assert all(view.ended_at is not None for view in found.values())
    assert found["study", ""].status == status
    assert found["family", "sgd"].status == family
    assert (found["trial", open_key].status, found["trial", open_key].tags["outcome"]) == (
        trial,
        "interrupted",
    )


def test_a_family_with_lost_trials_failed_with_the_study(ledger: Ledger):
    run_trial(ledger, planned("sgd", 0).key, ended(Outcome.OUT_OF_MEMORY))
    run_trial(ledger, planned("rsgd", 0).key, finished())
    ledger.set_study_state(STUDY, StudyState.FAILED)
    found = shown(ledger)
    assert (found["family", "sgd"].status, found["family", "rsgd"].status) == ("FAILED", "FINISHED")


def test_seeds_of_a_configuration_stand_under_one_run(ledger: Ledger):
    seeds = [planned("sgd", 9, phase=Phase.CONFIRMATION, replicate=r) for r in range(3)]
    for trial in seeds:
        run_trial(ledger, trial.key, finished())
    found = shown(ledger)
    assert len([key for key in found if key[0] == "configuration"]) == 1
    assert {found["trial", trial.key].parent for trial in seeds} == {
        (RunKind.CONFIGURATION, seeds[0].configuration)
    }
    assert found["configuration", seeds[0].configuration].metrics["trials_ended"] == 3


def test_a_familys_figures(ledger: Ledger):
    """Three searched (two at full budget), three confirmed: one above its start, one diverged, one good."""
    run_trial(ledger, planned("sgd", 0).key, replace(finished(), select_value=0.5))
    run_trial(ledger, planned("sgd", 1).key, replace(finished(), select_value=0.3))
    run_trial(ledger, planned("sgd", 2).key, replace(ended(Outcome.STOPPED), select_value=0.1))
    confirmed: list[Ending] = [
        replace(finished(), value=0.9, init_value=0.7, metrics={"report_accuracy": 0.5}),
        ended(Outcome.DIVERGED, init_value=0.7),
        replace(finished(), value=0.1, init_value=0.7, metrics={"report_accuracy": 0.9}),
    ]
    for replicate, ending in enumerate(confirmed):
        run_trial(ledger, planned("sgd", 9, phase=Phase.CONFIRMATION, replicate=replicate).key, ending)
    view = shown(ledger)["family", "sgd"]
    assert view.metrics == pytest.approx(
        {
            "trials_planned": 6,
            "trials_ended": 6,
            "trials_finished": 4,
            "trials_stopped": 1,
            "trials_diverged": 1,
            "trials_out_of_memory": 0,
            "trials_infra_failed": 0,
            "trials_cancelled": 0,
            "diverged_frac": 1 / 6,
            "device_s": 10.0,
            "search_best_select_loss_nats": 0.3,
            "search_mean_select_loss_nats": 0.4,
            "tuned_report_loss_nats": (0.7 + 0.7 + 0.1) / 3,
            "tuned_report_accuracy": 0.7,
            "tuned_seeds": 3,
        }
    )
    assert view.metrics_step == 6


def test_a_fingerprint_changes_with_anything_that_is_shown(ledger: Ledger):
    key = planned("sgd", 0).key
    run_trial(ledger, key, None)
    view = shown(ledger)["trial", key]
    same = shown(ledger)["trial", key]
    assert view.fingerprint("parent") == same.fingerprint("parent")
    others = [
        view.fingerprint("another parent"),
        replace(view, status="KILLED").fingerprint("parent"),
        replace(view, tags={**view.tags, "attempt": "2"}).fingerprint("parent"),
        replace(view, metrics={"report_loss_nats": 0.4}).fingerprint("parent"),
        replace(view, params={**view.params, "lr": "2"}).fingerprint("parent"),
        replace(view, ended_at=1.0).fingerprint("parent"),
    ]
    assert len({view.fingerprint("parent"), *others}) == 1 + len(others)


def test_a_spec_becomes_dotted_parameters():
    spec = {
        "seed": 7,
        "task": {"name": "vader", "path": None},
        "spaces": {"all": {"lr": {"log": [1e-4, 1.0]}}},
    }
    assert flattened(spec) == {"seed": "7", "task.name": "vader", "spaces.all.lr.log": "[0.0001, 1.0]"}
