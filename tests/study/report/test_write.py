"""Writing a report: which files, refusals, the same bytes again, and what is never imported."""

import errno
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from search_spaces.errors import RetryableError, SpecError
from study.report import FORMATS, Snapshot, build, write_report
from study.report.figures.lr_loss import lr_loss
from study.report.figures.tuned import tuned
from tests.study.report import sample_report


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small report in all formats."""
    return _write(tmp_path_factory.mktemp("small"))


def _write(folder: Path) -> dict[str, Path]:
    """A report without claims, with two of its figures, of which the tests of figures draw the rest."""
    taken = replace(sample_report.snapshot(), claims=None)
    model = build(taken)
    figures = [figure for make in (tuned, lr_loss) if (figure := make(model)) is not None]
    with mock.patch("study.report.writers.draw_all", return_value=figures):
        return write_report(taken, folder, model=model)


def test_each_format_has_its_file(small: dict[str, Path]) -> None:
    assert {name: path.name for name, path in small.items()} == {
        "html": "report.html",
        "pdf": "report.pdf",
        "md": "report.md",
        "json": "report.json",
        "csv": "trials.csv",
        "tex": "families.tex",
        "parquet": "trials.parquet",
    }
    folder = small["html"].parent
    assert sorted(p.name for p in folder.iterdir()) == [
        "configurations.tex",
        "curves.csv",
        "curves.parquet",
        "families.tex",
        "figures",
        "figures.tex",
        "report.html",
        "report.json",
        "report.md",
        "report.pdf",
        "trials.csv",
        "trials.parquet",
    ]
    included = re.findall(r"figures/[\w-]+\.pdf", (folder / "figures.tex").read_text())
    assert included
    assert all((folder / name).read_bytes().startswith(b"%PDF") for name in included)


def test_the_same_snapshot_gives_the_same_bytes(small: dict[str, Path], tmp_path: Path) -> None:
    again = _write(tmp_path)
    for name in FORMATS:
        assert again[name].read_bytes() == small[name].read_bytes(), name
    for picture in (tmp_path / "figures").iterdir():
        assert picture.read_bytes() == (small["html"].parent / "figures" / picture.name).read_bytes()


def test_claims_have_tables_of_their_own(tmp_path: Path) -> None:
    formats, model = ["csv", "parquet", "tex"], sample_report.model()
    with mock.patch("study.report.writers.draw_all", return_value=[]):
        paths = write_report(sample_report.snapshot(), tmp_path, formats, model=model)
    assert paths["tex"].name == "claims.tex"
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        "claims.csv",
        "parts.csv",
        "claims.parquet",
        "parts.parquet",
        "intervals.tex",
        "tests.tex",
    } <= names


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


def test_a_full_disk_is_no_mistake_in_the_input(
    empty: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        RetryableError, match=r"\(No space left on device\): free the disk, then write it again\.$"
    ):
        write_report(empty, tmp_path, ["csv"])
    assert not list(tmp_path.glob(".*"))


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, study.report; print([m for m in ('torch', 'ray', 'mlflow', 'typst') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
