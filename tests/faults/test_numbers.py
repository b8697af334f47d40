"""NaN and infinity at every door that a number comes in by: refused in a sentence, and nothing is changed by them.

Three doors have their tests beside them, since a number that is none is allowed there, or ends one trial alone. Trial
tables: tests/study/test_analysis_files.py. Reports of workers: tests/study/coordinator/test_losses.py. Requests to the
service: tests/study/service/test_bodies.py.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from search_spaces.errors import LedgerError, SpecError, TrialFailedError
from study.claims.file import parse_claims
from study.cli import cli
from study.growth import GROWTH_VARIABLE, nodes_to_come
from study.ledger import Ledger, Scope
from study.records import RungRecord
from study.reproduction.record import FILE_NAME, read_record
from study.reproduction.taking import take_record
from study.spec import load_spec, parse_spec
from tests.study.claims.claims_files import EXAMPLE
from tests.study.samples import STUDY, begin, finished, measured, plan, planned
from tests.study.study_files import MINIMAL, study_file

NUMBERS = (math.nan, math.inf, -math.inf)
EVERY_SECTION = MINIMAL + "phases: {search: {trials: 4}, sensitivity: {}, confirmation: {}}\n"
TRIAL = planned("sgd", 0).key


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    begin(opened, plan())
    return opened


def with_each_number_replaced(document: Any, number: float) -> Iterator[tuple[str, Any]]:
    """The name of each number in a document, and the document with another in its place."""
    parts = document.items() if isinstance(document, dict) else enumerate(document)
    for name, part in parts:
        if isinstance(part, dict | list):
            inner = with_each_number_replaced(part, number)
            changed = [(f"{name}.{place}", other) for place, other in inner]
        elif isinstance(part, int | float) and not isinstance(part, bool):
            changed = [(str(name), number)]
        else:
            changed = []
        for place, other in changed:
            copy = dict(document) if isinstance(document, dict) else list(document)
            copy[name] = other
            yield place, copy


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_of_a_study_file_must_be_finite(tmp_path: Path, number: float):
    document = load_spec(study_file(tmp_path, EVERY_SECTION)).canonical()
    changed = list(with_each_number_replaced(document, number))
    assert len(changed) > 30
    for place, other in changed:
        with pytest.raises(SpecError, match=rf"{place} is {number}, but every number must be finite"):
            parse_spec(other, source="study.yaml")


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_of_a_claims_file_must_be_finite(number: float):
    changed = list(with_each_number_replaced(yaml.safe_load(EXAMPLE), number))
    assert len(changed) > 20
    for place, other in changed:
        with pytest.raises(SpecError, match=rf"{place} is {number}, but every number must be finite"):
            parse_claims(other, source="claims.yaml")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("command", ["token create laptop --days", "reproduce some-study --tolerance"])
def test_an_option_of_the_command_line_must_be_finite(tmp_path: Path, command: str, number: str):
    result = CliRunner().invoke(cli, [*command.split(), number, "--home", str(tmp_path)])
    assert result.exit_code == 2
    assert "is no finite number" in result.output or "is not in the range" in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_a_cluster_may_grow_to_must_be_finite(monkeypatch: pytest.MonkeyPatch, number: str):
    monkeypatch.setenv(GROWTH_VARIABLE, f'[{{"nodes": {number}, "CPU": 4}}]')
    with pytest.raises(SpecError, match=GROWTH_VARIABLE):
        nodes_to_come()


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "write",
    [
        lambda ledger, number: ledger.record_event(STUDY, "calibrated", {"predicted_s": number}),
        lambda ledger, number: ledger.save_spec(STUDY, {"seed": number}),
        lambda ledger, number: ledger.save_plan(STUDY, {"device_h": [number]}),
        lambda ledger, number: ledger.save_manifest(STUDY, {"memory": {"bytes": number}}),
        lambda ledger, number: ledger.create_study("another", {"seed": number}, "d" * 64, {}),
    ],
)
def test_a_document_with_no_number_is_refused_in_a_sentence_and_changes_nothing(
    ledger: Ledger, number: float, write: Callable[[Ledger, float], object]
):
    before = ledger.studies(), ledger.events(STUDY)
    with pytest.raises(
        LedgerError, match=r"refused a record \(Out of range float values are not JSON compliant"
    ):
        write(ledger, number)
    assert (ledger.studies(), ledger.events(STUDY)) == before


@pytest.mark.parametrize("number", NUMBERS)
def test_no_figure_of_a_trial_is_kept_that_is_no_number(ledger: Ledger, number: float):
    rung = RungRecord(
        family="sgd", trial=TRIAL, rung=20, value=0.5, cutoff=0.4, num_recorded=1, action="continue"
    )
    writes: list[Callable[[], object]] = [
        lambda: ledger.record_measurement(STUDY, measured(TRIAL, 20, select_loss_nats=number)),
        lambda: ledger.record_rung(STUDY, replace(rung, value=number)),
        lambda: ledger.record_rung(STUDY, replace(rung, cutoff=number)),
        lambda: ledger.end_trial(STUDY, TRIAL, replace(finished(), metrics={"report_accuracy": number})),
    ]
    scores = ("value", "select_value", "init_value", "device_seconds")
    endings = [replace(finished(), **{name: number}) for name in scores]  # type: ignore[arg-type]
    writes += [lambda ending=ending: ledger.end_trial(STUDY, TRIAL, ending) for ending in endings]
    for write in writes:
        with pytest.raises(TrialFailedError, match=f"= {number} "):
            write()
    assert (ledger.measurements(STUDY), ledger.rungs(STUDY)) == ([], [])
    assert ledger.trial(STUDY, TRIAL).ending is None


@pytest.mark.parametrize("number", NUMBERS)
def test_a_token_expires_at_a_time_or_never(ledger: Ledger, number: float):
    """SQLite would keep NaN as NULL, which stands for a token that never expires."""
    with pytest.raises(LedgerError, match=rf"cannot expire at {number}: give it a time, or none"):
        ledger.add_token("laptop", Scope.READ, "0" * 64, expires_at=number)
    assert ledger.tokens() == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_record_to_reproduce_holds_numbers_only(ledger: Ledger, tmp_path: Path, number: str):
    ledger.record_measurement(STUDY, measured(TRIAL, 20, select_loss_nats=0.53125))
    ledger.end_trial(STUDY, TRIAL, finished())
    text = take_record(ledger, STUDY).to_json().decode()
    (tmp_path / FILE_NAME).write_text(text)
    assert read_record(tmp_path).name == STUDY
    value = json.loads(text)["trials"][0]["ending"]["value"]
    for figure in ("0.53125", str(value)):
        assert figure in text
        (tmp_path / FILE_NAME).write_text(text.replace(figure, number))
        with pytest.raises(SpecError, match="is no record of a study that this version reads"):
            read_record(tmp_path)
