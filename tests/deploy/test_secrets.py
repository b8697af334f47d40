"""The script that makes the stack's secrets."""

import configparser
import json
import subprocess
from pathlib import Path

from deploy.rehearsal.stack import read_stack
from tests.deploy.files import DEPLOY, ROOT


def make(folder: Path) -> str:
    script = DEPLOY / "make-secrets.sh"
    done = subprocess.run([script, folder], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def test_it_makes_every_secret_of_the_compose_file(tmp_path: Path):
    make(tmp_path / "secrets")
    wanted = {path.name for path in read_stack({}).secrets.values()}
    assert {path.name for path in (tmp_path / "secrets").iterdir()} == wanted


def test_only_the_owner_enters_and_nobody_writes(tmp_path: Path):
    folder = tmp_path / "secrets"
    make(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}


def test_it_keeps_what_is_there_and_tells_no_secret(tmp_path: Path):
    folder = tmp_path / "secrets"
    said = make(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not [name for name, text in before.items() if text.decode() in said]
    (folder / "ray_token").unlink()
    assert make(folder).splitlines() == [f"made {folder}/ray_token"]
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.pop("ray_token") != after.pop("ray_token")
    assert after == before


def test_two_stacks_share_no_secret(tmp_path: Path):
    make(tmp_path / "one")
    make(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() != (tmp_path / "two" / path.name).read_bytes()


def test_the_store_knows_the_keys_of_its_users(tmp_path: Path):
    make(tmp_path / "secrets")
    identities = json.loads((tmp_path / "secrets/store_identities").read_text())["identities"]
    assert [one["name"] for one in identities] == ["admin", "mlflow", "trialwright"]
    for one in identities:
        written = configparser.ConfigParser()
        written.read(tmp_path / f"secrets/store_{one['name']}")
        (keys,) = one["credentials"]
        assert written["default"]["aws_access_key_id"] == keys["accessKey"]
        assert written["default"]["aws_secret_access_key"] == keys["secretKey"]
        if one["name"] != "admin":
            assert {action.partition(":")[2] for action in one["actions"]} == {one["name"]}


def test_the_folder_is_in_no_commit_and_no_image():
    assert "secrets/" in (DEPLOY / ".gitignore").read_text().splitlines()
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
