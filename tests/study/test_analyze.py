"""`trialwright analyze`: the engine alone, on a table that something else has written."""

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from search_spaces.errors import SpecError
from study.claims import lock
from study.cli_analyze import analyze
from study.report.schema import json_schema

SEEDS = 10
CLAIMS = """
claims_version: 1
study: planted
design: {pilot: {sd: {tuned_loss: 0.008}}, confirmation: {seeds_max: 10}}
claims:
  - id: better
    title: grsgd ends lower than rsgd
    compare: {a: grsgd, b: rsgd}
    metric: tuned_loss
    direction: less
    sesoi: 0.02
  - id: worse
    title: rsgd ends lower than grsgd
    compare: {a: rsgd, b: grsgd}
    metric: tuned_loss
    direction: less
    sesoi: 0.02
  - id: absent
    title: gadamw ends lower than adamw
    compare: {a: gadamw, b: adamw}
    metric: tuned_loss
    direction: less
    sesoi: 0.02
"""
LOSSES = {"rsgd": 0.5, "grsgd": 0.45}


def planted(**changes: Any) -> pd.DataFrame:
    """Two families on the same seeds, 0.05 nats apart."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "phase": "confirmation",
            "slice": "",
            "workload": "reviews",
            "family": family,
            "replicate": seed,
            "point": 0,
            "seed": 2**62 + seed,
            "param.lr": 0.1,
            "value": loss + rng.normal(0, 0.01),
            "select_value": loss,
            "init_value": 0.7,
            "outcome": "finished",
            "steps": 40,
            "device_seconds": 2.5,
            **changes,
        }
        for family, loss in LOSSES.items()
        for seed in range(SEEDS)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table and claims, as the current one."""
    planted().to_csv(tmp_path / "trials.csv", index=False)
    (tmp_path / "claims.yaml").write_text(CLAIMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(analyze, ["trials.csv", "--claims", "claims.yaml", *arguments])


def test_verdicts_are_printed_and_the_report_is_written(place: Path):
    before = sorted(path.name for path in place.iterdir())
    ended = run("--format", "json,md")
    assert ended.exit_code == 0, ended.output
    assert "Judging 3 claims on" in ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].split() == ["claim", "verdict", "estimate", "interval", "unit", "what", "is", "claimed"]
    assert [line.split("  ")[0] for line in lines[1:4]] == ["better", "worse", "absent"]
    assert "supported, meaningful" in lines[1]
    assert "refuted, reversed" in lines[2]
    assert "not evaluable" in lines[3]
    assert "Report: trials-report/report.json, trials-report/report.md" in ended.output
    assert sorted(path.name for path in place.iterdir()) == sorted([*before, "trials-report"])
    assert sorted(path.name for path in (place / "trials-report").iterdir()) == ["report.json", "report.md"]


def test_json_is_one_document_that_keeps_its_schema_and_nothing_is_written(place: Path):
    ended = run("--json")
    assert ended.exit_code == 0
    found = json.loads(ended.output)
    jsonschema.validate(found, json_schema())
    assert not (place / "trials-report").exists()
    assert found["name"] == "planted"
    assert [claim["verdict"] for claim in found["claims"]] == ["supported", "refuted", "not evaluable"]
    (part,) = found["claims"][0]["parts"]
    losses = planted().pivot_table(index="seed", columns="family", values="value")
    assert part["estimate"] == pytest.approx((losses["rsgd"] - losses["grsgd"]).mean(), rel=1e-12)
    assert part["n"] == SEEDS
    assert found["trials"] == {
        "confirmation": {"grsgd": {"finished": SEEDS}, "rsgd": {"finished": SEEDS}},
    }
    assert set(found["provenance"]["manifest"]["analysed_files"]) == {"trials.csv", "claims.yaml"}


def test_a_folder_that_is_named_is_used(place: Path):
    ended = run("--json", "--out", "here", "--format", "csv")
    assert ended.exit_code == 0
    assert {path.name for path in (place / "here").iterdir()} >= {"trials.csv", "claims.csv", "parts.csv"}


def test_claims_that_were_never_locked_are_judged_and_said_to_be_unregistered(place: Path):
    found = json.loads(run("--json").output)
    assert found["provenance"]["registered"] is None
    assert any("never locked" in limit["text"] for limit in found["limits"])


def test_claims_that_are_locked_and_unchanged_are_registered(place: Path):
    registration = lock(place / "claims.yaml")
    found = json.loads(run("--json").output)
    assert found["provenance"]["registered"]["sha256"] == registration.sha256


def test_claims_that_were_changed_after_they_were_locked_are_refused(place: Path):
    lock(place / "claims.yaml")
    path = place / "claims.yaml"
    path.write_text(path.read_text().replace("sesoi: 0.02", "sesoi: 0.01", 1))
    ended = run("--json")
    assert isinstance(ended.exception, SpecError)
    assert "was changed since it was registered" in str(ended.exception)
    assert ended.output == ""


def test_the_trial_tables_mistakes_are_refused_before_anything_is_written(place: Path):
    planted(outcome="finishd").to_csv(place / "trials.csv", index=False)
    ended = run()
    assert isinstance(ended.exception, SpecError)
    assert "did you mean 'finished'?" in str(ended.exception)
    assert not (place / "trials-report").exists()


@pytest.mark.parametrize("number", [math.inf, -math.inf])
@pytest.mark.parametrize("column", ["value", "init_value", "param.lr", "report_accuracy"])
def test_a_figure_that_is_no_number_costs_its_own_trial_at_the_most(place: Path, column: str, number: float):
    """A finished trial without a finite loss counts as diverged; other figures are read where they are there."""
    table = planted(report_accuracy=0.5)
    table.loc[3, column] = number
    table.to_csv(place / "trials.csv", index=False)
    ended = run("--json")
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.output, parse_constant=pytest.fail)
    assert [claim["verdict"] for claim in found["claims"]] == ["supported", "refuted", "not evaluable"]
    expected = {"diverged": 1, "finished": SEEDS - 1} if column == "value" else {"finished": SEEDS}
    assert found["trials"]["confirmation"]["rsgd"] == expected


@pytest.mark.parametrize(("formats", "message"), [("htm", "did you mean 'html'"), (",", "names no format")])
def test_an_unknown_format_is_refused(place: Path, formats: str, message: str):
    ended = run("--format", formats)
    assert isinstance(ended.exception, SpecError)
    assert message in str(ended.exception)


def test_curves_answer_claims_on_steps(place: Path):
    table = planted()
    table["trial"] = [f"t{index}" for index in range(len(table))]
    table.to_csv(place / "trials.csv", index=False)
    speed = {"rsgd": 1.0, "grsgd": 2.0}
    rng = np.random.default_rng(1)
    curves = pd.DataFrame(
        [
            {
                "trial": row.trial,
                "step": step,
                "value": 0.7 - 0.006 * step * speed[row.family] + rng.normal(0, 0.003),
            }
            for row in table.itertuples()
            for step in range(0, 41, 2)
        ]
    )
    curves.to_parquet(place / "curves.parquet")
    (place / "claims.yaml").write_text(
        CLAIMS.replace("metric: tuned_loss", "metric: steps_to_target\n    tau: 0.6").replace("0.02", "2")
    )
    found = json.loads(run("--json", "--curves", "curves.parquet").output)
    assert [claim["verdict"] for claim in found["claims"]] == ["supported", "refuted", "not evaluable"]
    without = json.loads(run("--json").output)
    assert {claim["verdict"] for claim in without["claims"]} == {"not evaluable"}


def test_the_same_table_as_parquet_gives_the_same_verdicts(place: Path):
    planted().to_parquet(place / "trials.parquet")
    from_csv = json.loads(run("--json").output)
    ended = CliRunner().invoke(analyze, ["trials.parquet", "--claims", "claims.yaml", "--json"])
    assert json.loads(ended.output)["claims"] == from_csv["claims"]
