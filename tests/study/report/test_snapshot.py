"""Reading the trial table: what counts with which loss, and what is refused."""

import pandas as pd
import pytest

from search_spaces.errors import SpecError
from study.records import Outcome
from study.report import Snapshot
from study.report.snapshot import read_trials

ROW = {
    "phase": "sensitivity",
    "slice": "",
    "workload": "w",
    "family": "rsgd",
    "replicate": 0,
    "point": 3,
    "seed": 2**62 + 1,
    "param.lr": 1e-3,
    "param.num_experts": 8,
    "value": 0.5,
    "select_value": 0.52,
    "init_value": 0.7,
    "outcome": "finished",
    "steps": 100,
    "device_seconds": 2.5,
}


def rows(*changes: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame([ROW | {"point": point} | change for point, change in enumerate(changes)])


@pytest.mark.parametrize(
    ("change", "capped"),
    [
        ({}, 0.5),
        ({"value": 0.9}, 0.7),
        ({"outcome": "diverged", "value": None}, 0.7),
        ({"outcome": "diverged", "value": 0.2}, 0.7),
        ({"outcome": "stopped", "value": None}, None),
        ({"outcome": "out_of_memory", "value": None}, None),
        ({"outcome": "infra_failed", "value": 0.5}, None),
        ({"outcome": "cancelled"}, None),
    ],
)
def test_no_trial_counts_with_more_than_the_loss_at_initialisation(
    change: dict[str, object], capped: float | None
) -> None:
    (row,) = read_trials(rows(change))
    assert row.capped == capped


def test_a_diverged_trial_without_initial_loss_takes_its_workloads() -> None:
    table = rows({}, {"init_value": 0.8}, {"outcome": "diverged", "value": None, "init_value": None})
    assert read_trials(table)[2].capped == pytest.approx(0.75)


@pytest.mark.parametrize("outcome", [None, float("nan"), "", "planned", "running"])
def test_a_trial_without_outcome_has_not_ended(outcome: object) -> None:
    (row,) = read_trials(rows({"outcome": outcome, "value": None}))
    assert row.outcome is None
    assert not row.analysed
    assert not row.lost


def test_numbers_survive_as_they_are() -> None:
    first, second = read_trials(rows({}, {"param.num_experts": None, "param.kind": "x"}))
    assert first.seed == 2**62 + 1
    assert first.params == {"lr": 1e-3, "num_experts": 8}
    assert isinstance(first.params["num_experts"], int)
    assert second.params == {"lr": 1e-3, "kind": "x"}
    assert first.outcome is Outcome.FINISHED


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SpecError, match=r"^The trial table has no column 'init_value'.*add it\.$"):
        read_trials(rows({}).drop(columns="init_value"))


def test_an_unknown_outcome_is_named_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"Unknown outcome .*'divergd', did you mean 'diverged'\?"):
        read_trials(rows({"outcome": "divergd"}))


def test_an_unknown_phase_is_named() -> None:
    with pytest.raises(SpecError, match=r"Unknown phase .*'serch', did you mean 'search'\?"):
        read_trials(rows({"phase": "serch"}))


def test_a_whole_study_reads_row_by_row(whole: Snapshot) -> None:
    assert len(read_trials(whole.trials)) == len(whole.trials)
