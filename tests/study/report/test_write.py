"""Writing a report: which files, refusals, the same bytes again, and what is never imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces.errors import SpecError
from study.report import FORMATS, Snapshot, write_report


def test_each_format_has_its_file(written: dict[str, Path]) -> None:
    assert {name: path.name for name, path in written.items()} == {
        "html": "report.html",
        "csv": "trials.csv",
        "parquet": "trials.parquet",
        "json": "report.json",
    }
    folder = written["html"].parent
    assert sorted(p.name for p in folder.iterdir()) == [
        "curves.csv",
        "curves.parquet",
        "figures",
        "report.html",
        "report.json",
        "trials.csv",
        "trials.parquet",
    ]


def test_the_same_snapshot_gives_the_same_bytes(
    whole: Snapshot, written: dict[str, Path], tmp_path: Path
) -> None:
    again = write_report(whole, tmp_path)
    for name in FORMATS:
        assert again[name].read_bytes() == written[name].read_bytes(), name
    for picture in (tmp_path / "figures").iterdir():
        assert picture.read_bytes() == (written["html"].parent / "figures" / picture.name).read_bytes()


def test_only_what_is_asked_for_is_written(empty: Snapshot, tmp_path: Path) -> None:
    assert list(write_report(empty, tmp_path / "a" / "b", ["csv", "csv"])) == ["csv"]
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == ["curves.csv", "trials.csv"]


def test_an_unknown_format_is_refused_before_anything_is_written(empty: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"Unknown report format 'htm', did you mean 'html'\?"):
        write_report(empty, tmp_path / "out", ["csv", "htm"])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_refused_in_one_sentence(empty: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        SpecError, match=r"^The report cannot be written to '.*file.*' \(.*\): name a folder"
    ) as e:
        write_report(empty, tmp_path / "file" / "out")
    assert "\n" not in str(e.value)


def test_a_file_in_the_way_is_refused(empty: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "trials.csv").mkdir()
    with pytest.raises(SpecError, match=r"cannot be written to '.*trials\.csv'"):
        write_report(empty, tmp_path, ["csv"])
    assert not list(tmp_path.glob(".*"))


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, study.report; print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
