"""The life of a claims file: locked, checked, amended."""

import re
from datetime import UTC, datetime

import pytest
import yaml

from search_spaces.errors import SpecError
from study.claims import amend, check, lock, require_locked
from study.statistics.claims import Role
from tests.study.claims.claims_files import EXAMPLE, MINIMAL, changed, write

NOON, LATER = (datetime(2026, 11, day, 12, tzinfo=UTC) for day in (22, 23))
SECOND = """\
  - {id: C2, title: diverges less, metric: divergence_rate, direction: less, sesoi: 0.1, plan: {sd: 0.08}}
"""


@pytest.fixture
def locked(tmp_path):
    """A locked file of two claims."""
    path = write(tmp_path, f"# why\n{MINIMAL}{SECOND}")
    lock(path, now=NOON)
    return path


def edit(path, old, new):
    path.write_text(changed(old, new, path.read_text(encoding="utf-8")), encoding="utf-8")


def test_locking_writes_when_and_what_and_keeps_the_rest(tmp_path):
    path = write(tmp_path, f"# why\n{MINIMAL}")
    found = lock(path, now=NOON)
    assert found.action == "locked"
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# why\n{MINIMAL}\nregistered:\n")
    registered = yaml.safe_load(text)["registered"]
    assert registered["at"] == "2026-11-22T12:00:00Z"
    assert registered["commit"] == "none"
    assert registered["sha256"] == found.sha256
    assert set(registered["claims"]) == {"C1"}
    assert registered["margins"] == {"C1": [0.0]}
    assert "spaces" not in registered
    assert found.text == (
        f"{path} was locked at 2026-11-22T12:00:00Z: 1 claim; commit none; sha256 {found.sha256[:12]}."
    )


def test_locking_an_unchanged_file_again_changes_nothing(locked):
    before = locked.read_bytes()
    found = lock(locked, now=LATER)
    assert (found.action, found.at) == ("unchanged", "2026-11-22T12:00:00Z")
    assert found.text.startswith(
        f"{locked} is unchanged since it was locked at 2026-11-22T12:00:00Z: 2 claims; commit"
    )
    assert locked.read_bytes() == before


def test_a_comment_is_no_change(locked):
    edit(locked, "# why", "# why, in other words")
    assert check(locked).action == "unchanged"
    assert require_locked(locked).claims[0].id == "C1"


def test_an_unlocked_file_is_refused_with_the_command_that_locks_it(tmp_path):
    path = write(tmp_path, MINIMAL)
    for refuse in (check, require_locked):
        with pytest.raises(
            SpecError, match=re.escape(f"{path} is not locked: lock it with: trialwright claims lock {path}.")
        ):
            refuse(path)
    with pytest.raises(SpecError, match="is not locked"):
        amend(path, "why", data_seen=False)


@pytest.mark.parametrize("act", [lock, check, require_locked])
def test_a_changed_file_is_refused_by_claim_with_both_ways_out(locked, act):
    edit(locked, "sesoi: 0.1\n", "sesoi: 0.2\n")
    message = (
        f"{locked} was changed since it was registered at 2026-11-22T12:00:00Z: claim C1 was changed; undo that, or "
        f"register it with: trialwright claims amend {locked} --reason TEXT."
    )
    with pytest.raises(SpecError, match=re.escape(message)):
        act(locked)


def test_the_specifications_example_has_no_seal_of_ours(tmp_path):
    with pytest.raises(SpecError, match="registered is not as `trialwright claims lock` wrote it"):
        check(write(tmp_path, EXAMPLE))


def test_a_design_that_cannot_decide_is_not_locked(tmp_path):
    path = write(tmp_path, changed("seeds_max: 30", "seeds_max: 5"))
    before = path.read_bytes()
    with pytest.raises(SpecError, match=re.escape(f"{path}: claim C1: 5 seeds give no p below")):
        lock(path)
    assert path.read_bytes() == before


def test_amendments_without_a_registration_are_refused(locked):
    edit(locked, "sesoi: 0.1\n", "sesoi: 0.2\n")
    amend(locked, "why", data_seen=False)
    text = locked.read_text(encoding="utf-8")
    start, end = text.index("registered:"), text.index("amendments:")
    locked.write_text(text[:start] + text[end:], encoding="utf-8")
    with pytest.raises(
        SpecError, match="has amendments but nothing registered: restore registered, or remove them"
    ):
        lock(locked)


def test_an_amendment_before_data_changes_no_role(locked):
    edit(locked, "sesoi: 0.1\n", "sesoi: 0.12\n    margin: 0.01\n")
    found = amend(locked, " a better guess ", data_seen=False, now=LATER)
    assert found.action == "amended"
    assert found.text == (
        f"{locked} was amended at 2026-11-23T12:00:00Z: 2 claims; 1 amendment; commit none; "
        f"sha256 {found.sha256[:12]}."
    )
    (record,) = yaml.safe_load(locked.read_text(encoding="utf-8"))["amendments"]
    assert (record["reason"], record["after_data"]) == ("a better guess", False)
    assert set(record["claims"]) == {"C1"}
    assert record["margins"] == {"C1": [0.01]}
    claim_set = require_locked(locked).claim_set()
    assert [claim.role for claim in claim_set.claims] == [Role.PRIMARY, Role.PRIMARY]
    assert claim_set.amendments[0]["previous"] == claim_set.registered["sha256"]
    assert claim_set.amendments[0]["sha256"] == found.sha256


def test_a_claim_changed_or_added_after_data_is_exploratory_for_good(locked):
    edit(locked, "sesoi: 0.1,", "sesoi: 0.2,")
    amend(locked, "C2 was too strict", data_seen=True, now=LATER)
    third = "  - {id: C3, title: new, metric: tuned_loss, direction: less}\n"
    edit(locked, "\nregistered:", f"{third}\nregistered:")
    found = amend(locked, "seen in the plots", data_seen=True, now=LATER)
    edit(locked, "title: new", "title: newer")
    assert "3 claims; 2 amendments; exploratory by amendment: C2, C3; commit" in found.text
    amend(locked, "typing", data_seen=False, now=LATER)
    claims = require_locked(locked).claim_set().claims
    assert [claim.role for claim in claims] == [Role.PRIMARY, Role.EXPLORATORY, Role.EXPLORATORY]
    assert claims[1].amended == "2026-11-23T12:00:00Z: C2 was too strict"


def test_what_all_claims_share_changes_all_of_them(locked):
    edit(locked, "seeds_max: 30", "seeds_max: 40")
    assert sorted(amend(locked, "more seeds", data_seen=True).file.amended_after_data) == ["C1", "C2"]


def test_a_claim_may_be_taken_back_before_data_alone(locked):
    edit(locked, SECOND, "")
    with pytest.raises(
        SpecError, match="no longer has claim C2, but once results were seen no claim is taken back"
    ):
        amend(locked, "it was refuted", data_seen=True)
    amend(locked, "out of scope", data_seen=False)
    assert check(locked).file.amendments[0].claims == {"C2": "removed"}
    edit(locked, "\nregistered:", f"{SECOND}\nregistered:")
    with pytest.raises(SpecError, match="claim C2 was added"):
        check(locked)


def test_an_amendment_needs_a_change_and_a_reason(locked):
    with pytest.raises(
        SpecError,
        match=re.escape(
            f"{locked} is as it was registered at 2026-11-22T12:00:00Z: edit it first, then amend it."
        ),
    ):
        amend(locked, "why", data_seen=False)
    edit(locked, "sesoi: 0.1\n", "sesoi: 0.2\n")
    for reason in ("", "  ", "two\nlines"):
        with pytest.raises(
            SpecError, match="The reason is no line of text: say in one line why the claims changed"
        ):
            amend(locked, reason, data_seen=False)


def test_an_amended_design_must_still_be_able_to_decide(locked):
    edit(locked, "seeds_max: 30", "seeds_max: 3")
    with pytest.raises(SpecError, match="claim C1: 3 seeds give no p below"):
        amend(locked, "cheaper", data_seen=False)
    amend(locked, "cheaper", data_seen=True)


def test_an_edited_record_is_refused_by_all(locked):
    edit(locked, 'at: "2026-11-22', 'at: "2026-11-20')
    for act in (lock, check, require_locked, lambda path: amend(path, "why", data_seen=False)):
        with pytest.raises(SpecError, match="registered is not as `trialwright claims lock` wrote it"):
            act(locked)


def test_a_change_on_which_no_verdict_depends_is_registered_without_claims(locked):
    edit(locked, "claims_version: 1\n", "claims_version: 1\nstudy: mine\n")
    with pytest.raises(SpecError, match="no claim, but something on which no verdict depends; undo that"):
        check(locked)
    assert amend(locked, "named the study", data_seen=True).file.amended_after_data == {}


def test_a_program_reads_the_same_as_a_person(locked):
    found = check(locked)
    assert found.to_json() == {
        "path": str(locked),
        "action": "unchanged",
        "at": "2026-11-22T12:00:00Z",
        "commit": "none",
        "sha256": found.sha256,
        "claims": ["C1", "C2"],
        "amendments": 0,
        "exploratory": [],
    }
