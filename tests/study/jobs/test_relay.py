"""A command's result comes back through a log, and never anywhere but into its folder."""

import base64
import io
import json
import os
import zipfile

import pytest

from search_spaces.errors import SpecError
from study.jobs import relay as relaying
from study.jobs.relay import MARK, relay, relayed, save_files
from trainers.archives import is_within


def archive(**entries: bytes) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return MARK + base64.b64encode(buffer.getvalue()).decode()


GOOD = {"result.json": json.dumps({"code": 0, "out": "o", "err": ""}).encode()}


def test_a_command_comes_back_with_both_its_streams_and_its_code():
    result = relayed(["Ray says something", relay(["families", "--json"], brings_files=False), "more"])
    assert result is not None
    assert (result.code, result.err, result.files) == (0, "", {})
    assert "grsgd" in {row["name"] for row in json.loads(result.out)}
    mistaken = relayed([relay(["lunch"], brings_files=False)])
    assert mistaken is not None
    assert (mistaken.code, mistaken.out) == (2, "")
    assert mistaken.err.startswith("trialwright: No such command 'lunch'.")


def test_files_come_back_bit_by_bit(tmp_path):
    content = os.urandom(1000)
    result = relayed([archive(**GOOD, **{"files/a/b.png": content, "files/c.txt": b"\r\n"})])
    assert result is not None
    paths = save_files(result.files, tmp_path / "out")
    assert paths == [tmp_path / "out" / "a" / "b.png", tmp_path / "out" / "c.txt"]
    assert [path.read_bytes() for path in paths] == [content, b"\r\n"]


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil", "", ".", "C:evil", "a\0b"]
)
def test_no_file_leaves_its_folder(tmp_path, name):
    assert not is_within(name)
    with pytest.raises(SpecError, match="leads elsewhere: nothing was written"):
        save_files({"good": b"", name: b""}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SpecError, match=r"'.*out' cannot be written \(.*\): choose another with --out DIR\."):
        save_files({"a": b""}, tmp_path / "out")


def test_a_log_without_a_result_has_none():
    assert relayed(["one line", "another"]) is None


@pytest.mark.parametrize(
    "text", ["", "%%%", "QUJD", archive()[len(MARK) :], archive(**GOOD)[len(MARK) : -40]]
)
def test_a_damaged_result_is_told(text):
    with pytest.raises(SpecError, match="did not arrive whole"):
        relayed([MARK + text])


def test_a_result_too_large_is_told_on_both_sides(monkeypatch):
    monkeypatch.setattr(relaying, "MAX_BYTES", 100)
    with pytest.raises(SpecError, match="did not arrive whole"):
        relayed([archive(**GOOD, **{"files/a": b"0" * 100_000})])
    result = relayed([relay(["families"], brings_files=False)])
    assert result is not None
    assert (result.code, result.err) == (
        2,
        "trialwright: The result is longer than 100 bytes: ask for fewer formats.\n",
    )
