"""Broken study files, claims files and tables: each is told in the sentence that the manifest holds for it.

`manifest.yaml` lists every file with that sentence; `{here}` stands for this folder's path. A new defect in a message,
or a new kind of mistake, gets a file here. The files in `given` are right: commands need them beside the broken ones.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.cli import main

HERE = Path(__file__).parent
COMMANDS = {
    "study": "plan {file} --no-measure --home {home}",
    "claims": "claims check {file}",
    "tables": "analyze {file} --claims given/claims.yaml",
}
"""What reads the files of a folder, unless the manifest says `run`."""
MANIFEST: Mapping[str, Any] = yaml.safe_load((HERE / "manifest.yaml").read_text(encoding="utf-8"))
WAYS = re.compile(
    r"(?:[:,;] |, or |\bso )(?:`trialwright|(?:or )?(?:add|allow|ask|begin|check|choose|close|correct|declare|delete|"
    r"fetch|flatten|give|indent|keep|launch|leave|let|lock|lower|make|move|name|number|plan|put|raise|register|remove|rename|"
    r"replace|restore|round|save|separate|shorten|split|use|write)\b)|did you mean '|\. Known: "
)
"""How a message says what to do."""
THROUGH_THE_REAL_PROCESS = (
    "study/yaml-billion-laughs.yaml",
    "claims/id-with-newline.yaml",
    "tables/footer-too-long.parquet",
)


def sentence(name: str) -> str:
    entry = MANIFEST[name]
    return str(entry["says"] if isinstance(entry, Mapping) else entry)


def arguments(name: str, home: Path) -> list[str]:
    entry = MANIFEST[name]
    command = entry["run"] if isinstance(entry, Mapping) else COMMANDS[name.partition("/")[0]]
    return [word.format(file=name, home=home) for word in command.split()]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the corpus, so that whatever is written shows."""
    folder = tmp_path_factory.mktemp("corpus") / "here"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return folder


@pytest.fixture
def untouched(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The corpus as the current folder; fails if the test leaves anything in it, or changes a file."""
    for variable in ("TRIALWRIGHT_HOME", "TRIALWRIGHT_ADDRESS", "TRIALWRIGHT_LEDGER", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(here)
    before = state(here)
    yield here
    assert state(here) == before
    assert not (tmp_path / "home" / "ledger.db").exists()


def state(folder: Path) -> dict[str, tuple[int, int]]:
    found = {str(path): path.stat() for path in folder.rglob("*")}
    return {name: (one.st_size, one.st_mtime_ns) for name, one in found.items()}


@pytest.mark.parametrize("name", MANIFEST)
def test_a_broken_file_is_told_in_its_sentence(
    untouched: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.setattr(sys, "argv", ["trialwright", *arguments(name, tmp_path / "home")])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert err == f"trialwright: {sentence(name).replace('{here}', str(untouched))}\n"
    assert ended.value.code == 2
    assert out == ""


@pytest.mark.parametrize("name", THROUGH_THE_REAL_PROCESS)
def test_the_real_process_says_the_same(untouched: Path, name: str, tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-m", "study.cli", *arguments(name, tmp_path / "home")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(HERE.parents[1])},
    )
    assert ended.stderr == f"trialwright: {sentence(name)}\n"
    assert (ended.returncode, ended.stdout) == (2, "")


def test_the_manifest_lists_every_file_and_nothing_else():
    files = {path.relative_to(HERE).as_posix() for folder in COMMANDS for path in (HERE / folder).iterdir()}
    assert files == set(MANIFEST)
    assert len(files) >= 200


@pytest.mark.parametrize("name", MANIFEST)
def test_every_sentence_has_its_parts(name: str):
    says = sentence(name)
    assert says.isprintable()
    assert 20 < len(says) < 700
    assert says.endswith((".", "?"))
    assert WAYS.search(says), "no way out"
    assert place_or_value(name, says), "neither the place nor the value"
    assert not re.search(r"pydantic|tuple|NoneType|Error\b|codec|stream end|block end|Input should", says)


def place_or_value(name: str, says: str) -> bool:
    """Whether a sentence names its file, a key, or repeats in quotes something that stands in the file."""
    content = (HERE / name).read_text(encoding="utf-8", errors="replace")
    named = re.findall(r"'(?:path:)?(?:{here}/study/)?([^']+)'", says)
    is_key = re.match(r"(?:task|base|phases|resources)\.\w+|given/", says)
    return name in says or is_key is not None or any(one.rstrip("…")[:40] in content for one in named)
