"""How a record is written: whole, with the file's mode, through links, and never with another meaning."""

import re
import subprocess
from datetime import UTC, datetime, timedelta, timezone

import pytest

from search_spaces.errors import SpecError
from study.claims.file import read_claims
from study.claims.recording import append_amendment, commit_of, timestamp, write_registered
from tests.study.claims.claims_files import MINIMAL, write

RECORD = {"at": "x", "claims": {"C1": "ab"}}


def test_a_record_is_added_and_all_else_stays(tmp_path):
    path = write(tmp_path, f"# mine\n{MINIMAL}# end\n")
    path.chmod(0o640)
    write_registered(path, RECORD)
    assert path.read_text(encoding="utf-8").startswith(f"# mine\n{MINIMAL}# end\n\nregistered:\n")
    assert read_claims(path)["registered"] == RECORD
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["claims.yaml"]


def test_amendments_are_appended(tmp_path):
    path = write(tmp_path, MINIMAL)
    append_amendment(path, {"reason": "one"})
    append_amendment(path, {"reason": "two"})
    assert read_claims(path)["amendments"] == [{"reason": "one"}, {"reason": "two"}]


def test_a_link_stays_a_link(tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    link = tmp_path / "link.yaml"
    link.symlink_to(write(folder, MINIMAL))
    write_registered(link, RECORD)
    assert link.is_symlink()
    assert read_claims(folder / "claims.yaml")["registered"] == RECORD


def test_a_file_whose_meaning_would_change_is_left_alone(tmp_path):
    path = write(tmp_path, "claims_version: 1\nstudy: |+\n  x\n\n\n")
    before = path.read_bytes()
    with pytest.raises(
        SpecError, match="cannot be written into without a change of its meaning: write a key on each"
    ):
        write_registered(path, RECORD)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["claims.yaml"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    path = write(tmp_path, MINIMAL)

    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("study.claims.recording.shutil.copymode", refuse)
    message = (
        f"{path} cannot be written (Permission denied): check the permissions of the file and its folder."
    )
    with pytest.raises(SpecError, match=re.escape(message)):
        write_registered(path, RECORD)
    assert [entry.name for entry in tmp_path.iterdir()] == ["claims.yaml"]


def test_the_commit_is_the_one_that_is_checked_out(tmp_path):
    path = write(tmp_path, MINIMAL)
    assert commit_of(path) == "none"
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert commit_of(path) == "none"
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    git = ["git", "-C", str(tmp_path), *identity]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "log", "--format=%H"], check=True, capture_output=True, text=True)
    assert commit_of(path) == head.stdout.strip()


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(write(tmp_path, MINIMAL)) == "none"


def test_moments_are_in_utc():
    moment = datetime(2026, 11, 22, 17, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert timestamp(moment) == "2026-11-22T16:00:05Z"
    written = datetime.fromisoformat(timestamp(None))
    assert abs(datetime.now(UTC) - written) < timedelta(seconds=30)
