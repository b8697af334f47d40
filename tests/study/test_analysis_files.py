"""Tables from files: read without a loss, and every mistake told in one sentence with the file's name."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from search_spaces.errors import SpecError
from study.analysis_files import read_tables
from study.statistics.trials import read_trials
from study.table_files import read_table

ROW: dict[str, Any] = {
    "phase": "confirmation",
    "slice": "",
    "workload": "reviews",
    "family": "sgd",
    "replicate": 0,
    "point": 0,
    "seed": 2**63 - 1,
    "param.lr": 0.1,
    "value": 0.4,
    "select_value": 0.3,
    "init_value": 0.7,
    "outcome": "finished",
    "steps": 40,
    "device_seconds": 2.5,
}


def table(*changes: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(
        [ROW | {"replicate": index} | change for index, change in enumerate(changes or ({},))]
    )


def written(folder: Path, frame: pd.DataFrame, name: str = "trials.csv") -> Path:
    path = folder / name
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def refusal(path: Path, curves: Path | None = None) -> str:
    with pytest.raises(SpecError) as error:
        read_tables(path, curves)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["trials.csv", "trials.parquet", "trials.CSV"])
def test_seeds_and_losses_are_read_to_their_last_bit(tmp_path: Path, name: str):
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308]
    frame = table(*({"value": value, "seed": 2**63 - 1 - i} for i, value in enumerate(values)))
    path = tmp_path / name
    frame.to_csv(path, index=False) if path.suffix.lower() == ".csv" else frame.to_parquet(path)
    back = read_trials(read_tables(path).trials).frame
    assert back["value"].tolist() == values
    assert back["seed"].tolist() == [2**63 - 1 - i for i in range(4)]


def test_words_stay_words(tmp_path: Path):
    frame = table({"family": "nan"}, {"family": "007"}, {"family": "null"}, {"family": "1e5"})
    back = read_trials(read_tables(written(tmp_path, frame)).trials)
    assert back.families == ("nan", "007", "null", "1e5")
    assert set(back.frame["slice"]) == {""}


@pytest.mark.parametrize("cell", ["nan", "NaN", "", "NA", "null"])
def test_a_diverged_trial_may_have_no_loss(tmp_path: Path, cell: str):
    frame = table({}, {"outcome": "diverged"}).astype({"value": object})
    frame.loc[1, "value"] = cell
    back = read_trials(read_tables(written(tmp_path, frame)).trials).frame
    assert np.isnan(back["value"][1])
    assert back["capped"][1] == 0.7


def test_a_byte_order_mark_and_other_orders_of_columns_are_read(tmp_path: Path):
    path = tmp_path / "trials.csv"
    path.write_text("\ufeff" + table()[list(ROW)[::-1]].to_csv(index=False), encoding="utf-8")
    assert len(read_tables(path).trials) == 1


def test_curves_are_read_with_their_trials_as_text(tmp_path: Path):
    curves = written(
        tmp_path, pd.DataFrame({"trial": ["007", "007"], "step": [0, 20], "value": [0.7, 0.5]}), "c.csv"
    )
    found = read_tables(written(tmp_path, table()), curves).curves
    assert found["trial"].tolist() == ["007", "007"]
    assert found["value"].tolist() == [0.7, 0.5]


@pytest.mark.parametrize("name", ["trials.xlsx", "trials", "trials.csv.gz"])
def test_another_kind_of_file_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_text("x")
    assert refusal(tmp_path / name) == (
        f"'{tmp_path / name}' is no table that can be read: name a file that ends in .csv or .parquet."
    )


@pytest.mark.parametrize("name", ["no.csv", "no.parquet"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str):
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["dir.csv", "dir.parquet"])
def test_a_folder_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    assert "cannot be read (Is a directory)" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.parquet", b"phase,slice\n"),
        ("x.parquet", b""),
        ("x.csv", b""),
        ("x.csv", b"\xff\xfe\x00\x01"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    assert f"'{tmp_path / name}' is no {name.partition('.')[2]} table (" in refusal(tmp_path / name)


def test_a_missing_column_is_named_with_the_file(tmp_path: Path):
    path = written(tmp_path, table().drop(columns="init_value"))
    assert refusal(path) == f"'{path}' has no column 'init_value', which every trial needs: add it."


def test_an_unknown_outcome_is_named_with_the_nearest(tmp_path: Path):
    path = written(tmp_path, table({"outcome": "finishd"}))
    assert "'finishd', did you mean 'finished'?" in refusal(path)
    assert str(path) in refusal(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "low"}, "row 2: value is 'low', which is no number"),
        ({"seed": str(2**63)}, "row 2: seed is 9223372036854775808, which is beyond 2^63 - 1"),
        ({"replicate": "1.5"}, "row 2: replicate is '1.5', but must be a whole number"),
        ({"report_accuracy": "good"}, "row 2: report_accuracy is 'good', which is no number"),
        ({"perturbed.noise.loss": "high"}, "row 2: perturbed.noise.loss is 'high', which is no number"),
    ],
)
def test_a_cell_that_is_no_number_is_named_with_its_row(tmp_path: Path, change: dict[str, str], message: str):
    assert message in refusal(written(tmp_path, table({}, change)))


def test_seeds_that_a_float_has_rounded_are_refused(tmp_path: Path):
    path = written(tmp_path, table().astype({"seed": "float64"}), "trials.parquet")
    assert "floating-point numbers beyond 2^53" in refusal(path)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({"trial": ["a"], "step": ["x"], "value": [0.1]}, "row 1: step is 'x', which is no number"),
        ({"trial": ["a"], "step": [None], "value": [0.1]}, "row 1: step is empty"),
        ({"trial": ["a"], "value": [0.1]}, "no column 'step'"),
    ],
)
def test_curves_that_break_a_rule_are_refused(tmp_path: Path, curves: dict[str, Any], message: str):
    path = written(tmp_path, pd.DataFrame(curves), "curves.csv")
    assert message in refusal(written(tmp_path, table()), path)


def test_the_same_table_from_both_kinds_of_file_is_the_same(tmp_path: Path):
    frame = table({}, {"family": "rsgd"}, {"outcome": "diverged", "value": None})
    one, two = (read_trials(read_table(written(tmp_path, frame, f"t.{kind}"))) for kind in ("csv", "parquet"))
    pd.testing.assert_frame_equal(one.frame, two.frame, check_dtype=False)
