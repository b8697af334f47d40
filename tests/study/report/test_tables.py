"""The table's files: they read back the same, and no cell runs in a spreadsheet."""

import io
import json

import pandas as pd
import pytest

from study.report import ReportModel, Snapshot
from study.report.document import to_json
from study.report.tables import claims_frame, parts_frame, to_csv, to_parquet
from study.statistics.results import Verdict
from tests.study.report import verdict_samples


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "\uff20SUM(A1)"]
)
def test_text_that_would_run_as_a_formula_is_quoted(text: str) -> None:
    table = pd.DataFrame({"reason": [text], "value": [-0.5], text: ["ok"]})
    back = pd.read_csv(io.BytesIO(to_csv(table)), keep_default_na=False)
    assert len(back) == 1
    assert back["reason"][0] == "'" + text.replace("\r", "\n")
    assert back["value"][0] == -0.5
    assert back.columns[2].startswith("'")


def test_csv_reads_back_to_the_last_bit(whole: Snapshot) -> None:
    content = io.BytesIO(to_csv(whole.trials))
    back = pd.read_csv(content, float_precision="round_trip", keep_default_na=False, na_values=[""])
    numbers = whole.trials.select_dtypes("number").columns
    pd.testing.assert_frame_equal(back[numbers], whole.trials[numbers], check_exact=True, check_dtype=False)
    assert list(back.columns) == list(whole.trials.columns)


def test_parquet_reads_back(whole: Snapshot) -> None:
    for frame in (whole.trials, whole.curves):
        back = pd.read_parquet(io.BytesIO(to_parquet(frame)))
        pd.testing.assert_frame_equal(back, frame, check_dtype=False)


def test_a_column_of_words_and_numbers_becomes_words_in_parquet() -> None:
    table = pd.DataFrame({"param.kind": ["auto", 3, None]})
    back = pd.read_parquet(io.BytesIO(to_parquet(table)))
    assert back["param.kind"].iloc[:2].tolist() == ["auto", "3"]
    assert back["param.kind"].isna().tolist() == [False, False, True]


def test_json_is_strict_and_says_the_same_as_the_page(model: ReportModel) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(to_json(model), parse_constant=refuse)
    counted = [
        n for families in document["trials"].values() for row in families.values() for n in row.values()
    ]
    assert document["accounting"]["totals"]["planned"] == sum(counted)
    assert document["tuned"][0]["loss"]["interval"]["level"] == 0.95


def test_claims_and_parts_read_back_from_both_tables():
    analysis = verdict_samples.analysis()
    for frame, name in ((claims_frame(analysis), "id"), (parts_frame(analysis), "claim")):
        from_csv = pd.read_csv(io.BytesIO(to_csv(frame)), float_precision="round_trip")
        from_parquet = pd.read_parquet(io.BytesIO(to_parquet(frame)))
        assert list(from_csv.columns) == list(from_parquet.columns) == list(frame.columns)
        assert list(from_csv[name]) == list(from_parquet[name])
    parts = [part for claim in analysis.claims for part in claim.parts]
    for table in (from_csv, from_parquet):
        assert [None if pd.isna(v) else v for v in table["estimate"]] == [part.estimate for part in parts]
        assert list(table["verdict"]) == [str(part.verdict) for part in parts]
        assert list(table["n"]) == [part.n for part in parts]
        assert table["threshold.sesoi"].iloc[0] == 0.25


def test_a_title_that_is_a_formula_does_not_run():
    claim = verdict_samples.claim("C1", "=1+1", *verdict_samples.refuted().parts, verdict=Verdict.REFUTED)
    frame = claims_frame(verdict_samples.analysis((claim,)))
    assert pd.read_csv(io.BytesIO(to_csv(frame)))["title"][0] == "'=1+1"
