"""Records of locking and amending: edited, missing or reordered ones show."""
# ruff: noqa: E501 -- each mistake and its message share a line

import re
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import SpecError
from study.claims import parse_claims
from study.claims.chain import change, latest, sealed
from study.claims.digests import claim_digests, file_digest
from study.claims.file import read_claims
from tests.study.claims.claims_files import MINIMAL, write

PATH = Path("claims.yaml")


@pytest.fixture
def locked(tmp_path):
    """Locked, and amended twice: C1 before data, C2 added after."""
    written = read_claims(write(tmp_path, MINIMAL))
    digests = claim_digests(written, parse_claims(written, source="x"))
    record = {"at": "day 1", "commit": "abc", "sha256": file_digest(written), "claims": digests}
    written["registered"] = {**record, "seal": sealed(record, "")}
    written["amendments"] = []
    amended(written, 0, title="other")
    written["claims"].append({"id": "C2", "title": "t", "metric": "tuned_loss", "direction": "less"})
    amended(written, 1, title="t")
    return written


def amended(written: Any, claim: int, **edit: Any) -> None:
    """`written` with one claim edited and the change registered."""
    before = written["amendments"][-1] if written["amendments"] else written["registered"]
    written["claims"][claim].update(edit)
    digests = claim_digests(written, parse_claims(written, source="x"))
    name = written["claims"][claim]["id"]
    record = {
        "at": f"day {claim + 2}",
        "reason": "r",
        "after_data": claim == 1,
        "claims": {name: digests[name]},
        "previous": before["sha256"],
        "sha256": file_digest(written),
    }
    written["amendments"].append({**record, "seal": sealed(record, before["seal"])})


def look(written: Any) -> Any:
    file = parse_claims(written, source="x")
    last = latest(PATH, written, file)
    return last, change(written, file, last)


def test_an_untouched_file_is_what_was_registered_last(locked):
    last, found = look(locked)
    assert last.at == "day 3"
    assert set(last.claims) == {"C1", "C2"}
    assert (found.any, dict(found.changed), found.removed) == (False, {}, ())


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda w: w["claims"][1].update(sesoi=1), "claim C2 was changed"),
        (lambda w: w.update(alpha=0.01), "claim C1 was changed, claim C2 was changed"),
        (lambda w: w["claims"].pop(), "claim C2 was removed"),
        (lambda w: w["claims"].append({**w["claims"][1], "id": "C3"}), "claim C3 was added"),
        (lambda w: w.update(study="x"), "no claim, but something on which no verdict depends"),
    ],
)
def test_a_change_is_told_by_claim(locked, edit, text):
    edit(locked)
    _, found = look(locked)
    assert found.any
    assert found.text == text


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop("registered"), "claims.yaml is not locked: lock it with: trialwright claims lock claims.yaml."),
        (lambda w: w["registered"].update(at="day 0"), "registered is not as `trialwright claims lock` wrote it: restore it from commit abc or"),
        (lambda w: w["registered"].pop("seal"), "registered is not as `trialwright claims lock` wrote it"),
        (lambda w: w["registered"]["claims"].popitem(), "registered is not as `trialwright claims lock` wrote it"),
        (lambda w: w["amendments"].pop(0), "amendment 1, of day 3, is not as it was written, or one before it is missing: restore the records."),
        (lambda w: w["amendments"].reverse(), "amendment 1, of day 3, is not as it was written"),
        (lambda w: w["amendments"][1].update(after_data=False), "amendment 2, of day 3, is not as it was written"),
        (lambda w: w["amendments"][0].update(reason="better"), "amendment 1, of day 2, is not as it was written"),
    ],
)  # fmt: skip
def test_an_edited_record_shows(locked, edit, message):
    edit(locked)
    with pytest.raises(SpecError, match=re.escape(message)):
        look(locked)


def test_without_its_last_amendment_a_file_no_longer_fits(locked):
    locked["amendments"].pop()
    _, found = look(locked)
    assert found.text == "claim C2 was added"


def test_a_seal_depends_on_the_record_and_on_the_seal_before():
    seals = {sealed({"a": 1}, ""), sealed({"a": 2}, ""), sealed({"a": 1}, "x")}
    assert len(seals) == 3
    assert sealed({"a": 1, "seal": "anything"}, "") == sealed({"a": 1.0}, "")
