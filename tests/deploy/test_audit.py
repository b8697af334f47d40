"""Bounds, locks, licences, vulnerabilities and the list of all dependencies."""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from datetime import date
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from deploy.audit.licences import check_licences, is_allowed, licence_of
from deploy.audit.lock import EVERYTHING, RUNTIME, Locked, normalised, read_lock, torch_pin
from deploy.audit.sbom import sbom
from deploy.audit.vulnerabilities import check_vulnerabilities
from tests.deploy.files import ROOT
from tests.study.servers import free_port

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
NOT_LOCKED = {"torch", "bitsandbytes", "atheris"}
"""One whose builds differ from index to index, and two extras that only some machines can use."""
LOCKS = {name: read_lock(ROOT / name) for name in (RUNTIME, EVERYTHING)}
ACCEPTED = yaml.safe_load((ROOT / "deploy/audit/accepted.yaml").read_text("utf-8"))
RELEASES = [
    Locked(name=name, version="1.0", marker="", sha256=()) for name in ("alpha", "beta", "gamma", "delta")
]


def declared(extras: bool = True) -> Iterator[Requirement]:
    project = PROJECT["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"].values() if extras else ())]
    for written in (line for group in groups for line in group):
        if not written.startswith("trialwright["):
            yield Requirement(written)


@pytest.mark.parametrize(
    "requirement",
    [*declared(), *map(Requirement, PROJECT["build-system"]["requires"])],
    ids=lambda one: one.name,
)
def test_every_dependency_has_a_lower_and_an_upper_bound(requirement):
    operators = {one.operator for one in requirement.specifier}
    assert operators & {">=", "=="}, requirement
    assert operators & {"<", "<=", "=="}, requirement


@pytest.mark.parametrize(("name", "extras"), [(RUNTIME, False), (EVERYTHING, True)])
def test_a_lock_holds_a_fitting_release_of_each_with_its_hashes(name, extras):
    lock = LOCKS[name]
    assert all(one.sha256 for one in lock.values())
    assert not any(one.startswith(("torch", "nvidia-", "triton")) for one in lock if one != "torchvision")
    for requirement in declared(extras):
        if requirement.name not in NOT_LOCKED:
            assert lock[normalised(requirement.name)].version in requirement.specifier


def test_the_locks_agree_with_each_other_and_with_the_constraints():
    runtime, everything = (LOCKS[name] for name in (RUNTIME, EVERYTHING))
    assert {name: one.version for name, one in runtime.items()} == {
        name: everything[name].version for name in runtime
    }
    pins = dict(
        re.findall(r"^([^#=\s]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    )
    locked = {normalised(name): version for name, version in pins.items()}
    assert locked.pop("torch") == torch_pin().version
    assert {name: everything[name].version for name in locked if name in everything} == {
        name: version for name, version in locked.items() if name in everything
    }
    assert Version(torch_pin().version) in next(one.specifier for one in declared() if one.name == "torch")


def test_set_up_installs_by_hashes_and_torch_by_its_pin():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    rules = re.findall(r"^\$\(VENV\)/\.installed\S*:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert re.findall(r"pip install (.+)", "".join(rules)) == [
        "--require-hashes --no-deps -r requirements.lock",
        "$(TORCH)",
        "--no-deps --no-build-isolation -e .",
        "--quiet --require-hashes --no-deps -r requirements-dev.lock",
    ]


def test_what_is_no_pin_is_refused(tmp_path):
    path = tmp_path / "a.lock"
    path.write_text("alpha>=1\n")
    with pytest.raises(ValueError, match="alpha>=1"):
        read_lock(path)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("MIT AND Apache-2.0", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("LGPL-3.0-only", False),
        ("", False),
        ("Proprietary", False),
    ],
)
def test_which_licences_may_be_used(expression, expected):
    assert is_allowed(expression) is expected


def test_all_installed_licences_are_allowed_or_accepted_with_a_reason():
    wrong, num_seen = check_licences(["torch", *LOCKS[EVERYTHING]], ACCEPTED["licences"])
    assert wrong == []
    assert num_seen > 200
    assert all(len(one["reason"]) > 5 for one in ACCEPTED["licences"].values())


def test_a_licence_that_is_not_allowed_is_told_of():
    assert licence_of("psycopg") == "LGPL-3.0-only"
    assert licence_of("no-such-package") is None
    wrong, _ = check_licences(["psycopg", "click"], {"click": {"licence": "MIT", "reason": "none"}})
    assert len(wrong) == 2
    assert re.match(r"psycopg has the licence 'LGPL-3.0-only'", wrong[0])
    assert re.match(r"click is accepted .* without need", wrong[1])


def answering(tmp_path: Path, *, vulns: list[dict[str, Any]] | None, says: str = "") -> tuple[str, ...]:
    """A stand-in for pip-audit, which knows of `vulns` in beta; None: the service knows nothing."""
    script = tmp_path / "auditor.py"
    script.write_text(
        "import json, sys\n"
        f"vulns, says = {vulns!r}, {says!r}\n"
        "if says: sys.exit(says)\n"
        "lines = open(sys.argv[sys.argv.index('--requirement') + 1]).read().split()\n"
        "found = []\n"
        "for line in lines:\n"
        "    name, _, version = line.partition('==')\n"
        "    one = {'skip_reason': 'unknown'} if vulns is None else {'vulns': vulns if name == 'beta' else []}\n"
        "    found.append({'name': name, 'version': version, **one})\n"
        "print(json.dumps({'dependencies': found}))\n"
    )
    return (sys.executable, str(script))


HOLE = {"id": "GHSA-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"], "description": ""}


def test_a_known_vulnerability_is_told_of_unless_it_is_accepted_for_now(tmp_path):
    command, today = answering(tmp_path, vulns=[HOLE]), date(2026, 1, 2)
    accepted = {"id": "CVE-1", "package": "beta", "reason": "it is not reached"}
    found = check_vulnerabilities(RELEASES, [], today=today, command=command)
    assert (found.num_checked, found.problem) == (4, "")
    assert found.wrong[0].startswith("beta 1.0 has GHSA-1, mended in 1.1: update it")
    until = [{**accepted, "until": date(2026, 1, 2)}]
    assert check_vulnerabilities(RELEASES, until, today=today, command=command).wrong == ()
    late = [{**accepted, "until": date(2026, 1, 1)}]
    assert len(check_vulnerabilities(RELEASES, late, today=today, command=command).wrong) == 2


@pytest.mark.parametrize(
    ("vulns", "says", "problem"),
    [
        (None, "", "the service knows none of the first 3 releases"),
        ([], "ERROR: the network is away", r"pip-audit did not answer \(ERROR: the network is away\)"),
    ],
)
def test_a_service_that_cannot_be_asked_is_said_and_not_taken_for_an_answer(tmp_path, vulns, says, problem):
    command = answering(tmp_path, vulns=vulns, says=says)
    found = check_vulnerabilities(
        RELEASES, [], today=date(2026, 1, 1), command=command, projects=f"http://127.0.0.1:{free_port()}"
    )
    assert (found.wrong, found.num_checked) == ((), 0)
    assert re.match(problem, found.problem)


def test_without_the_service_the_pages_of_projects_tell_of_their_newest_releases(tmp_path):
    hole = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["1.1"], "withdrawn": None}
    pages = {
        "alpha": ("1.0", []),
        "beta": ("1.0", [hole, {**hole, "id": "PYSEC-2", "withdrawn": "2026-01-01"}]),
        "gamma": ("2.0", []),
    }
    for name, (newest, vulnerabilities) in pages.items():
        (tmp_path / name).mkdir()
        page = {"info": {"version": newest}, "vulnerabilities": vulnerabilities}
        (tmp_path / name / "json").write_text(json.dumps(page))
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)
    ) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        found = check_vulnerabilities(
            RELEASES,
            [],
            today=date(2026, 1, 1),
            command=answering(tmp_path, vulns=None),
            projects=f"http://127.0.0.1:{server.server_port}",
        )
        server.shutdown()
    assert found.num_checked == 2  # of gamma there is a newer one, of delta no page
    assert [sentence.partition(",")[0] for sentence in found.wrong] == ["beta 1.0 has PYSEC-1"]
    assert found.problem.endswith("tell of the newest releases only")


def test_the_list_of_all_dependencies_is_cyclonedx():
    runtime, everything = (LOCKS[name] for name in (RUNTIME, EVERYTHING))
    document = json.loads(sbom(everything, runtime, "0.1.0"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part for part in document["components"]}
    assert parts.keys() == everything.keys()
    assert {name for name, part in parts.items() if part["scope"] == "required"} == runtime.keys()
    assert parts["ray"]["purl"] == f"pkg:pypi/ray@{everything['ray'].version}"
    assert {digest["content"] for digest in parts["click"]["hashes"]} == set(everything["click"].sha256)


def test_nothing_accepted_has_expired_for_long_and_each_has_a_day():
    for one in ACCEPTED["vulnerabilities"]:
        assert {"id", "package", "reason", "until"} <= one.keys()
