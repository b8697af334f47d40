"""Predicted and actual cost: in every format, and a word where there is no prediction."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest

from study.ledger import Ledger
from study.records import Phase
from study.report import Snapshot, build, write_report
from study.report.blocks import Paragraph
from study.report.forecast import TITLE, forecast_sentences, forecast_table
from study.report.latex import to_latex
from study.report.method_tables import forecast_section
from study.snapshot import take_snapshot
from tests.study.report import synthetic
from tests.study.samples import MANIFEST, OWNER, SPEC, START, STUDY, planned, run_trial

PREDICTION = {
    "packs": 2,
    "lanes": 4,
    "trials": {"search": 4, "confirmation": 3},
    "steps": {"search": 400, "confirmation": 600},
    "device_seconds": {"search": {"rsgd": 80.0}, "confirmation": {"rsgd": 120.5}},
    "seconds": {"search": 50.0, "confirmation": 70.0},
    "device_hours": 0.06,
    "hours": 0.04,
}
CALIBRATION = {"lanes": 4, "step_s": {"1": 0.5, "4": 1.0}}
DETAIL = {"calibration": CALIBRATION, "packs": 2, "lanes": 4, "prediction": PREDICTION}
EVENT = {"kind": "calibrated", "detail": DETAIL, "recorded_at": 1795300000.0}
WITHOUT = "The study was launched without a calibration, so there is no prediction to compare with."


@pytest.fixture(scope="module")
def calibrated() -> Snapshot:
    """Four trials of a search and two of three of a confirmation, one of them interrupted once."""
    maker = synthetic.Maker()
    synthetic.search(maker, "rsgd", 4)
    synthetic.confirmation(maker, "rsgd", seeds=2)
    maker.trials[-1].update(attempts=2)
    whole = synthetic.snapshot(
        maker, state="interrupted", families=("rsgd",), phase_starts={"search": 1000.0}
    )
    return dataclasses.replace(whole, events=[EVENT], phase_ends={"search": 1060.0})


def test_each_phase_is_compared_with_its_prediction(calibrated: Snapshot):
    found = build(calibrated).forecast
    assert found is not None
    assert (found.lanes, found.packs, found.num_interrupted) == (4, 2, 1)
    assert found.steps_per_second == {"1": 2.0, "4": 4.0}
    search, confirmation = found.phases
    assert (search.phase, confirmation.phase) == (Phase.SEARCH, Phase.CONFIRMATION)
    mine = calibrated.trials[calibrated.trials["phase"] == "search"]
    assert (search.predicted.trials, search.actual.trials) == (4, 4)
    assert (search.predicted.steps, search.actual.steps) == (400, mine["steps"].sum())
    assert search.actual.device_seconds == pytest.approx(mine["device_seconds"].sum())
    assert (search.predicted.wall_seconds, search.actual.wall_seconds) == (50.0, 60.0)
    assert (confirmation.predicted.device_seconds, confirmation.actual.trials) == (120.5, 2)
    assert confirmation.actual.wall_seconds is None


def test_the_table_sums_up_and_says_what_is_in_it(calibrated: Snapshot):
    model = build(calibrated)
    assert model.forecast is not None
    table = forecast_table(model.forecast, model.spec)
    assert [row[0] for row in table.rows] == ["Search", "Confirmation", "All"]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert table.rows[-1][1:4] == ("7", "6", "1,000")
    assert table.rows[-1][-2:] == ("2.0\u202fmin", "60.0\u202fs")
    assert "2 packs of 4 lanes each" in table.note
    assert "2.00 with 1, 4.00 with 4" in table.note
    assert "1 trial was started more than once" in table.note


def test_the_newest_prediction_is_shown(calibrated: Snapshot):
    newer = {**EVENT, "detail": {**DETAIL, "packs": 1}}
    found = build(dataclasses.replace(calibrated, events=[EVENT, newer])).forecast
    assert found is not None
    assert (found.packs, found.num_calibrations) == (1, 2)
    assert "calibrated 2 times" in forecast_sentences(found, calibrated.spec)[-1]


def test_every_format_has_it(calibrated: Snapshot, tmp_path: Path):
    model = build(calibrated)
    paths = write_report(calibrated, tmp_path, ("html", "md", "json", "csv", "parquet"), model=model)
    for name in ("html", "md"):
        assert TITLE in paths[name].read_text()
        assert "2 packs of 4 lanes each" in paths[name].read_text()
    phases = json.loads(paths["json"].read_text())["forecast"]["phases"]
    assert phases[0]["predicted"] == {
        "trials": 4,
        "steps": 400,
        "device_seconds": 80.0,
        "wall_seconds": 50.0,
    }
    for frame in (pd.read_csv(tmp_path / "forecast.csv"), pd.read_parquet(tmp_path / "forecast.parquet")):
        assert list(frame["phase"]) == ["search", "confirmation"]
        assert list(frame["predicted.steps"]) == [400, 600]
        assert frame["actual.wall_seconds"].isna().tolist() == [False, True]
    assert TITLE in to_latex(model, [])["forecast.tex"].decode()


def test_a_study_without_a_calibration_says_so(calibrated: Snapshot):
    model = build(dataclasses.replace(calibrated, events=[]))
    assert model.forecast is None
    assert forecast_section(model).blocks == (Paragraph(text=WITHOUT),)
    table_alone = build(dataclasses.replace(calibrated, events=[], spec={}))
    assert forecast_section(table_alone).blocks == ()


def test_a_phase_ends_with_its_last_measurement(tmp_path: Path):
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    ledger.create_study(STUDY, SPEC, "d" * 64, MANIFEST)
    ledger.plan_trials(STUDY, [planned("sgd", 0), planned("sgd", 1)])
    ledger.claim_study(STUDY, OWNER)
    for number in (0, 1):
        run_trial(ledger, planned("sgd", number).key, None, steps=(20, 40 + number))
    found = take_snapshot(ledger, STUDY)
    assert found.phase_starts == {"search": START + 20}
    assert found.phase_ends == {"search": START + 41}
