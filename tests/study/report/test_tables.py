"""The table's files: they read back the same, and no cell runs in a spreadsheet."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from study.report import Snapshot
from study.report.tables import to_csv, to_parquet


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_text_that_would_run_as_a_formula_is_quoted(text: str) -> None:
    table = pd.DataFrame({"reason": [text], "value": [-0.5], text: ["ok"]})
    back = pd.read_csv(io.BytesIO(to_csv(table)), keep_default_na=False)
    assert len(back) == 1
    assert back["reason"][0] == "'" + text.replace("\r", "\n")
    assert back["value"][0] == -0.5
    assert back.columns[2].startswith("'")


def test_csv_reads_back_to_the_last_bit(whole: Snapshot, written: dict[str, Path]) -> None:
    back = pd.read_csv(written["csv"], float_precision="round_trip", keep_default_na=False, na_values=[""])
    numbers = whole.trials.select_dtypes("number").columns
    pd.testing.assert_frame_equal(back[numbers], whole.trials[numbers], check_exact=True, check_dtype=False)
    assert list(back.columns) == list(whole.trials.columns)


def test_parquet_reads_back(whole: Snapshot, written: dict[str, Path]) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(written["parquet"]), whole.trials, check_dtype=False)
    curves = pd.read_parquet(written["parquet"].with_name("curves.parquet"))
    pd.testing.assert_frame_equal(curves, whole.curves, check_dtype=False)


def test_a_column_of_words_and_numbers_becomes_words_in_parquet() -> None:
    table = pd.DataFrame({"param.kind": ["auto", 3, None]})
    back = pd.read_parquet(io.BytesIO(to_parquet(table)))
    assert back["param.kind"].iloc[:2].tolist() == ["auto", "3"]
    assert back["param.kind"].isna().tolist() == [False, False, True]


def test_json_is_strict_and_says_the_same_as_the_page(written: dict[str, Path]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(written["json"].read_text(), parse_constant=refuse)
    assert document["format"] == "trialwright-report"
    assert document["accounting"]["totals"]["planned"] == len(document["trials"])
    assert document["tuned"][0]["loss"]["interval"]["level"] == 0.95
