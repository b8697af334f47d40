"""The tables that the statistics and the report read."""

import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from study.ledger import Ledger
from study.records import Outcome, RungRecord
from study.report.snapshot import read_trials
from study.trial_table import curves, rung_table, trial_table
from tests.study.samples import STUDY, begin, ended, finished, measured, plan, planned, run_trial

DOCUMENTED = [
    *["phase", "slice", "workload", "family", "replicate", "point", "seed"],
    *["param.lr", "param.num_experts", "param.top_k", "param.rank"],
    *["value", "select_value", "init_value", "outcome", "steps", "device_seconds"],
    *["trial", "attempts", "reason", "report_accuracy", "select_accuracy"],
]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    begin(opened, plan())
    run_trial(opened, planned("sgd", 0).key, finished())
    run_trial(opened, planned("sgd", 1).key, ended(Outcome.DIVERGED, init_value=0.7), steps=[0])
    opened.start_attempt(STUDY, planned("sgd", 2).key)
    opened.record_measurement(STUDY, measured(planned("sgd", 2).key, 20, train_loss_nats=0.6, device_s=1.5))
    return opened


def test_the_trial_table_is_as_documented(ledger: Ledger):
    table = trial_table(ledger, STUDY)
    assert list(table.columns) == DOCUMENTED
    assert list(table["trial"]) == [trial.key for trial in plan()]
    first = table.iloc[0].to_dict()
    assert first == {
        "phase": "search",
        "slice": "",
        "workload": "vader_movie on path:/models/tiny",
        "family": "sgd",
        "replicate": 0,
        "point": 0,
        "seed": 2**62,
        "param.lr": 0.1,
        "param.num_experts": 8,
        "param.top_k": 4,
        "param.rank": 4,
        "value": 0.4,
        "select_value": 0.3,
        "init_value": 0.7,
        "outcome": "finished",
        "steps": 40,
        "device_seconds": 2.5,
        "trial": planned("sgd", 0).key,
        "attempts": 1,
        "reason": "",
        "report_accuracy": 0.8,
        "select_accuracy": 0.75,
    }
    assert table.loc[1, ["value", "select_value"]].isna().all()
    assert list(table["outcome"]) == ["finished", "diverged", "", "", "", ""]
    assert list(table["steps"]) == [40, 10, 20, 0, 0, 0]
    assert list(table["device_seconds"]) == [2.5, 0.0, 1.5, 0.0, 0.0, 0.0]
    assert table["seed"].dtype == "int64"


def test_scores_of_disturbed_adapters_have_columns_of_their_own(ledger: Ledger):
    scores = {"perturbed.expert_dropped.loss": 0.5, "perturbed.expert_dropped.accuracy": 0.7}
    ending = finished()
    run_trial(ledger, planned("rsgd", 0).key, replace(ending, metrics={**(ending.metrics or {}), **scores}))
    table = trial_table(ledger, STUDY)
    assert list(table.columns) == [*DOCUMENTED, *scores]
    assert table[list(scores)].dtypes.unique().tolist() == ["float64"]
    row = table[table["trial"] == planned("rsgd", 0).key].iloc[0]
    assert {name: row[name] for name in scores} == scores
    assert row["report_accuracy"] == 0.8
    assert table[list(scores)].isna().sum().tolist() == [5, 5]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_trial_table_survives_a_file(ledger: Ledger, form: str):
    table = trial_table(ledger, STUDY)
    buffer = io.BytesIO()
    if form == "csv":
        table.to_csv(buffer, index=False)
        read = pd.read_csv(io.BytesIO(buffer.getvalue()), keep_default_na=True)
        read = read.fillna({"slice": "", "outcome": "", "reason": ""})
    else:
        table.to_parquet(buffer)
        read = pd.read_parquet(io.BytesIO(buffer.getvalue()))
    pd.testing.assert_frame_equal(read, table, check_dtype=False)


def test_the_report_reads_the_table(ledger: Ledger):
    rows = read_trials(trial_table(ledger, STUDY))
    assert [row.outcome for row in rows] == [Outcome.FINISHED, Outcome.DIVERGED, None, None, None, None]
    assert rows[0].params == planned("sgd", 0).params


def test_curves_hold_every_measurement(ledger: Ledger):
    table = curves(ledger, STUDY)
    assert list(table.columns) == [
        *["trial", "step", "select_loss_nats", "train_loss_nats", "select_accuracy", "device_s"],
    ]
    assert list(zip(table["trial"], table["step"], strict=True)) == [
        (one.trial, one.step) for one in ledger.measurements(STUDY)
    ]
    assert list(table["select_loss_nats"][:3]) == [1.0, 1 / 21, 1 / 41]
    assert table.loc[4, ["select_loss_nats", "select_accuracy"]].isna().all()


def test_rungs_as_a_table(ledger: Ledger):
    rung = RungRecord(
        family="sgd",
        trial=planned("sgd", 0).key,
        rung=20,
        value=0.5,
        cutoff=None,
        num_recorded=1,
        action="continue",
    )
    ledger.record_rung(STUDY, rung)
    table = rung_table(ledger, STUDY)
    assert table.iloc[0].drop("cutoff").to_dict() == {
        "family": "sgd",
        "trial": planned("sgd", 0).key,
        "rung": 20,
        "value": 0.5,
        "num_recorded": 1,
        "action": "continue",
    }
    assert table["cutoff"].isna().all()


def test_an_empty_study_has_empty_tables(tmp_path: Path):
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    begin(ledger, [])
    assert [len(make(ledger, STUDY)) for make in (trial_table, curves, rung_table)] == [0, 0, 0]
    assert "outcome" in trial_table(ledger, STUDY).columns
