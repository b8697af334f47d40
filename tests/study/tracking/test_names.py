"""The names of metrics and tags: what is shipped is what is written down, in the code and in docs/mlflow.md."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from study.ledger import Ledger, RunKind
from study.tracking import names
from study.tracking.findings import read_findings
from study.tracking.view import views
from tests.study.tracking import recorded

DOCS = Path(__file__).parents[3] / "docs" / "mlflow.md"
TABLES = {
    "Metrics of studies, families and configurations": names.PARENT_METRICS,
    "Metrics of families": names.FAMILY_METRICS,
    "Metrics of claims": names.CLAIM_METRICS,
    "Metrics of configurations": names.CONFIGURATION_METRICS,
    "Metrics of trials": names.TRIAL_METRICS,
    "Tags": names.TAGS,
}
FAMILY = [names.PARENT_METRICS, names.FAMILY_METRICS, names.CLAIM_METRICS]
BY_KIND = {
    RunKind.STUDY: FAMILY,
    RunKind.FAMILY: FAMILY,
    RunKind.CONFIGURATION: [names.PARENT_METRICS, names.CONFIGURATION_METRICS],
    RunKind.TRIAL: [names.TRIAL_METRICS],
}


def table(title: str, entries: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in entries.items()]
    return "\n".join([f"### {title}", "", "| name | what it is |", "|---|---|", *rows])


@pytest.mark.parametrize("title", TABLES)
def test_the_documentation_has_the_tables_of_the_code(title: str):
    expected = table(title, TABLES[title])
    assert expected in DOCS.read_text(encoding="utf-8"), f"write into docs/mlflow.md:\n\n{expected}"


def known(name: str, entries: Mapping[str, str]) -> bool:
    patterns = (re.sub(r"<\w+>", r"[\\w.]+", re.escape(entry)) for entry in entries)
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def test_nothing_is_shipped_under_a_name_that_is_not_written_down(tmp_path: Path):
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    recorded.record(ledger, recorded.judged())
    found = read_findings(recorded.write_findings(tmp_path / "report", recorded.judged()))
    shown = views(ledger.study(recorded.STUDY), ledger.trial_activity(recorded.STUDY), found)
    assert {view.kind for view in shown} == set(BY_KIND)
    for view in shown:
        for metric in view.metrics:
            assert any(known(metric, entries) for entries in BY_KIND[view.kind]), (view.kind, metric)
        for tag in view.tags:
            assert known(tag, names.TAGS), (view.kind, tag)


def test_every_family_metric_is_shipped(tmp_path: Path):
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    recorded.record(ledger, recorded.judged())
    found = read_findings(recorded.write_findings(tmp_path / "report", recorded.judged()))
    shown = views(ledger.study(recorded.STUDY), ledger.trial_activity(recorded.STUDY), found)
    shipped = {name for view in shown if view.kind is RunKind.FAMILY for name in view.metrics}
    assert set(names.FAMILY_METRICS) - shipped == {"lr_width_decades_low", "lr_width_decades_high"}
