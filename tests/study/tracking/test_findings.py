"""What the report found, on MLflow's runs: verdicts, tuned results with intervals, usable widths."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.ledger import Ledger, RunKind, StudyState
from study.tracking.findings import NOTHING, findings, read_findings, width_below
from study.tracking.view import views
from tests.study.samples import STUDY, begin, finished, plan, run_trial

FAMILIES = ("adamw", "gradamw", "grsgd")


def claim(id_: str, *parts: dict[str, Any], a: str = "gradamw", **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "title": "a title",
        "a": a,
        "b": "adamw",
        "verdict": "supported",
        "grade": "",
        "parts": parts,
    } | more


def part(metric: str, *, factor: str = "", workload: str = "w", **more: Any) -> dict[str, Any]:
    found = {"metric": metric, "factor": factor, "workload": workload, "estimate": 0.5, "ci_low": 0.25}
    return found | {"ci_high": None, "a": "", "b": "", "a_values": [], "b_values": []} | more


def put(folder: Path, *claims: dict[str, Any]) -> Path:
    (folder / "report.json").write_text(json.dumps({"claims": claims}))
    return folder


def test_a_claim_stands_on_the_study_and_on_its_own_family_alone(tmp_path: Path):
    found = read_findings(
        put(tmp_path, claim("C1", part("lr_width")), claim("C2", part("tuned_loss"), a="grsgd"))
    )
    assert set(found) == {"", "gradamw", "grsgd"}
    assert found["gradamw"].metrics == {"claim.C1.lr_width.estimate": 0.5, "claim.C1.lr_width.ci_low": 0.25}
    assert found["gradamw"].tags["claim.C1.verdict"] == "supported"
    assert found["gradamw"].tags["claim.C1.compared_with"] == "adamw"
    assert found[""].metrics == found["gradamw"].metrics | found["grsgd"].metrics


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ([part("lr_width"), part("tuned_loss")], ["lr_width", "tuned_loss"]),
        (
            [part("factor_sd", factor="rank"), part("factor_sd", factor="top_k")],
            ["factor_sd.rank", "factor_sd.top_k"],
        ),
        ([part("lr_width", workload="a"), part("lr_width", workload="b")], ["lr_width.a", "lr_width.b"]),
        ([part("tuning_curve"), part("tuning_curve")], ["tuning_curve.w.1", "tuning_curve.w.2"]),
    ],
)
def test_parts_of_one_metric_have_names_of_their_own(
    tmp_path: Path, parts: list[dict[str, Any]], names: list[str]
):
    found = read_findings(put(tmp_path, claim("C", *parts)))
    assert [name for name in found[""].metrics if name.endswith(".estimate")] == [
        f"claim.C.{n}.estimate" for n in names
    ]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"claims": [{}]}', '{"claims": 3}'])
def test_no_report_or_a_broken_one_has_no_verdicts(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    assert read_findings(tmp_path).get("", NOTHING) == NOTHING


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    trials = plan(FAMILIES, points=1)
    begin(opened, trials)
    for trial in trials:
        run_trial(opened, trial.key, finished())
    opened.set_study_state(STUDY, StudyState.FINISHED)
    return opened


def test_verdicts_stand_beside_the_aggregates(ledger: Ledger, tmp_path: Path):
    found = read_findings(put(tmp_path, claim("C1", part("lr_width"))))
    study, activity = ledger.study(STUDY), ledger.trial_activity(STUDY)
    before = {(view.kind, view.key): view for view in views(study, activity)}
    after = {(view.kind, view.key): view for view in views(study, activity, found)}
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {(RunKind.STUDY, ""), (RunKind.FAMILY, "gradamw")}
    for key in changed:
        assert set(after[key].metrics) - set(before[key].metrics) == {
            "claim.C1.lr_width.estimate",
            "claim.C1.lr_width.ci_low",
        }


def tuned(family: str, mean: float, *, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    interval = None if low is None else {"low": low, "high": high, "level": 0.95}
    return {"family": family, "loss": {"mean": mean, "num_units": 3, "interval": interval}, "accuracy": None}


def test_tuned_results_come_with_their_intervals():
    found = findings({"claims": [], "tuned": [tuned("sgd", 0.4, low=0.3, high=0.5), tuned("rsgd", 0.6)]})
    assert found["sgd"].metrics == {
        "tuned_report_loss_nats": 0.4,
        "tuned_report_loss_nats_low": 0.3,
        "tuned_report_loss_nats_high": 0.5,
    }
    assert found["rsgd"].metrics == {"tuned_report_loss_nats": 0.6}
    assert found[""] == NOTHING


def test_the_usable_width_is_the_claims_where_one_asks_for_it():
    """Student's interval of (1.5, 1, 0.5): 1 ± 4.302653 · 0.5 / √3."""
    widths = part("lr_width", a="gradamw", b="adamw", a_values=[1.5, 1.0, 0.5], b_values=[0.5])
    found = findings({"claims": [claim("C1", widths)], "tuned": [tuned("adamw", 0.4)], "lr_curves": []})
    half = 4.302652729696 * 0.5 / 3**0.5
    assert found["gradamw"].metrics["lr_width_decades"] == 1.0
    assert found["gradamw"].metrics["lr_width_decades_low"] == pytest.approx(1 - half)
    assert found["gradamw"].metrics["lr_width_decades_high"] == pytest.approx(1 + half)
    assert found["gradamw"].tags["lr_width_target"] == "the target of claim C1"
    assert found["adamw"].metrics == {"tuned_report_loss_nats": 0.4, "lr_width_decades": 0.5}


def test_without_such_a_claim_the_width_is_read_off_the_mean_curve():
    """The target is 1.05 · 0.4 = 0.42; the curve is below it from x = -1.25 to 0.5."""
    points = [(-2.0, 0.7), (-1.0, 0.3266667), (0.0, 0.4), (1.0, 0.44)]
    curve = {"family": "sgd", "mean": [{"x": x, "y": {"mean": y}} for x, y in points]}
    found = findings({"claims": [], "tuned": [tuned("sgd", 0.4)], "lr_curves": [curve]})
    assert found["sgd"].metrics["lr_width_decades"] == pytest.approx(1.75, abs=1e-6)
    assert found["sgd"].tags["lr_width_target"] == "0.42 nats, 5 % above the lowest tuned loss"


@pytest.mark.parametrize(
    ("line", "width"),
    [
        ([], 0.0),
        ([(0.0, 1.0)], 0.0),
        ([(0.0, 1.0), (2.0, 1.0)], 2.0),
        ([(0.0, 2.0), (2.0, 2.0)], 0.0),
        ([(0.0, 0.0), (1.0, 2.0), (2.0, 0.0)], 1.0),
    ],
)
def test_a_width_adds_up_the_stretches_below_a_level(line: list[tuple[float, float]], width: float):
    assert width_below(line, 1.0) == width


def test_the_verdicts_of_a_family_stand_in_one_line():
    claims = [claim("C1", part("lr_width")), claim("C2", part("tuned_loss"), grade="meaningful")]
    found = findings({"claims": claims})
    assert found["gradamw"].tags["verdicts"] == "C1 supported; C2 supported (meaningful)"
    assert found["gradamw"].sentences[1] == "C2, gradamw against adamw: “a title” is supported (meaningful)."
