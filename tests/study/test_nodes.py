"""What a node says of itself, and which differences refuse a cluster."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from search_spaces.errors import SpecError
from study import node_probe
from study.home import Home
from study.node_probe import identity, look_at_node
from study.nodes import mismatch
from study.packs.opening import _require_the_drivers_code

SEEN: dict[str, Any] = {
    "versions": {
        "python": "3.11.9",
        "trialwright": "0.1.0",
        "ray": "2.60.0",
        "torch": "2.9.0",
        "peft": "0.21.2",
    },
    "imported": {"search_spaces": "/x/search_spaces", "trainers": "/x/trainers", "study": "/x/study"},
    "installed": {"search_spaces": "/x/search_spaces", "trainers": "/x/trainers", "study": "/x/study"},
    "code": "c0de" * 16,
    "shared": True,
    "unwritable": "",
    "missing": [],
    "store": "",
}
HERE = Home(root=Path("/shared/home"))


def test_a_node_that_is_alike_is_taken():
    assert mismatch(SEEN, SEEN, HERE) == ""
    elsewhere = {module: folder.replace("/x", "/opt/venv") for module, folder in SEEN["installed"].items()}
    assert mismatch({**SEEN, "installed": elsewhere, "imported": elsewhere}, SEEN, HERE) == ""


@pytest.mark.parametrize(
    ("package", "version", "said"),
    [
        ("ray", "2.59.0", "has ray 2.59.0, but this machine has 2.60.0: install the same on every node"),
        ("trialwright", "absent", "has trialwright absent, but this machine has 0.1.0: install"),
        ("torch", "2.9.0+cu130", r"has torch 2.9.0\+cu130, but this machine has 2.9.0: install"),
        ("python", "3.12.1", "has Python 3.12.1, but this machine has 3.11.9: install"),
    ],
)
def test_another_version_is_refused_with_both(package, version, said):
    other = {**SEEN, "versions": {**SEEN["versions"], package: version}}
    assert_says(mismatch(other, SEEN, HERE), said)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"installed": {}}, "not installed for the Python of its Ray: install the same"),
        (
            {"imported": {**SEEN["imported"], "trainers": "/home/me/trainers"}},
            "imports 'trainers' from '/home/me/trainers' and not from the installed package in '/x/trainers': take",
        ),
        (
            {"code": "beef" * 16},
            r"has other code of Trialwright 0.1.0 \(sources beefbeefbeef\) than this machine \(c0dec0dec0de\): install",
        ),
        (
            {"unwritable": "Permission denied"},
            "cannot write the home '/shared/home' .Permission denied.: let the user",
        ),
        (
            {"shared": False},
            "another folder at the home '/shared/home' than .* or set TRIALWRIGHT_STORE=s3://bucket",
        ),
        ({"missing": ["/models/x"]}, "does not see '/models/x', which the study names: put it there"),
        ({"store": "The object store is away."}, "does not reach the store: The object store is away"),
    ],
)
def test_what_refuses_a_node(facts, said):
    assert_says(mismatch({**SEEN, **facts}, SEEN, HERE), said)


def test_with_a_store_the_home_need_not_be_shared(monkeypatch):
    monkeypatch.setenv("TRIALWRIGHT_STORE", "s3://bucket/x")
    assert mismatch({**SEEN, "shared": False}, SEEN, HERE) == ""


def test_a_node_looks_at_itself(tmp_path):
    (tmp_path / "token").touch()
    asked = {
        "home": str(tmp_path),
        "token": "token",
        "paths": [str(tmp_path), str(tmp_path / "gone")],
        "store": None,
        "secrets": {},
    }
    seen = look_at_node(asked)
    assert seen["imported"] == seen["installed"]
    assert set(seen["installed"]) == {"search_spaces", "trainers", "study"}
    assert (seen["shared"], seen["unwritable"], seen["missing"]) == (True, "", [str(tmp_path / "gone")])
    assert len(seen["code"]) == 64
    assert "absent" not in seen["versions"].values()
    assert mismatch({**seen, "missing": []}, seen, Home(root=tmp_path)) == ""
    assert not look_at_node({**asked, "token": "another"})["shared"]


def test_a_home_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    asked = {"home": str(tmp_path / "file" / "home"), "token": "t", "paths": [], "store": None, "secrets": {}}
    assert look_at_node(asked)["unwritable"] == "Not a directory"


def test_a_pack_on_a_node_that_came_later_and_differs_does_not_open():
    _require_the_drivers_code(None)
    _require_the_drivers_code(identity())
    with pytest.raises(
        SpecError, match=r"This node has torch .*, but the driver's machine has 1.0.0: install"
    ):
        _require_the_drivers_code(identity() | {"torch": "1.0.0"})
    with pytest.raises(SpecError, match=r"This node has code .*, but the driver's machine has beef: install"):
        _require_the_drivers_code(identity() | {"code": "beef"})


STRAY = """
import pickle, sys
look = pickle.loads(sys.stdin.buffer.read())
asked = {"home": ".", "token": "t", "paths": [], "store": None, "secrets": {}}
seen = look(asked)
print(seen["imported"].get("trainers"), seen["installed"].get("trainers"), sep="\\n")
"""


def test_a_stray_folder_in_front_is_seen_by_a_process_that_has_none_of_our_code(tmp_path):
    """As on a worker: the function arrives by value, and the current folder comes first."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "__init__.py").touch()
    cloudpickle.register_pickle_by_value(node_probe)
    try:
        sent = cloudpickle.dumps(look_at_node)
    finally:
        cloudpickle.unregister_pickle_by_value(node_probe)
    assert b"study.node_probe" not in pickle.dumps(sent)[:60]
    said = subprocess.run(
        [sys.executable, "-c", STRAY], input=sent, cwd=tmp_path, capture_output=True, check=True, timeout=300
    ).stdout.decode()
    imported, installed = said.split()
    assert imported == str(tmp_path / "trainers")
    assert installed == str(Path(node_probe.__file__).parents[1] / "trainers")


def assert_says(problem: str, said: str) -> None:
    import re

    assert re.search(said, problem), problem
