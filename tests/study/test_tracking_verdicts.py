"""Verdicts in MLflow: on the study's run and on the runs of the claimed families, read from the study's report."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.ledger import Ledger, RunKind, StudyState
from study.tracking.verdicts import NO_VERDICTS, read_verdicts
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
    return found | {"ci_high": None} | more


def put(folder: Path, *claims: dict[str, Any]) -> Path:
    (folder / "report.json").write_text(json.dumps({"claims": claims}))
    return folder


def test_a_claim_stands_on_the_study_and_on_its_own_family_alone(tmp_path: Path):
    found = read_verdicts(
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
    found = read_verdicts(put(tmp_path, claim("C", *parts)))
    assert [name for name in found[""].metrics if name.endswith(".estimate")] == [
        f"claim.C.{n}.estimate" for n in names
    ]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"claims": [{}]}', '{"claims": 3}'])
def test_no_report_or_a_broken_one_has_no_verdicts(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    assert read_verdicts(tmp_path).get("", NO_VERDICTS) == NO_VERDICTS


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
    verdicts = read_verdicts(put(tmp_path, claim("C1", part("lr_width"))))
    study, activity = ledger.study(STUDY), ledger.trial_activity(STUDY)
    before = {(view.kind, view.key): view for view in views(study, activity)}
    after = {(view.kind, view.key): view for view in views(study, activity, verdicts)}
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {(RunKind.STUDY, ""), (RunKind.FAMILY, "gradamw")}
    for key in changed:
        assert set(after[key].metrics) - set(before[key].metrics) == {
            "claim.C1.lr_width.estimate",
            "claim.C1.lr_width.ci_low",
        }
