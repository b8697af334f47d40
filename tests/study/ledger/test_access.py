"""Tokens, served requests, deletion, and where attempts train."""

import pytest

from search_spaces.errors import SpecError
from study.ledger import Ledger, Scope
from tests.study.samples import OWNER, STUDY, Clock, begin, measured, plan, planned

TRIAL = planned("sgd", 0).key
DIGEST = "ab" * 32


def test_a_token_is_found_by_its_digest_until_it_expires_or_is_revoked(ledger: Ledger, clock: Clock):
    ledger.add_token("laptop", Scope.RUN, DIGEST, expires_at=clock.now + 60)
    found = ledger.token(DIGEST)
    assert found is not None
    assert (found.name, found.scope) == ("laptop", Scope.RUN)
    assert found.is_valid(clock.now + 59)
    assert not found.is_valid(clock.now + 60)
    assert ledger.token("cd" * 32) is None
    ledger.revoke_token("laptop")
    clock.now += 1
    ledger.revoke_token("laptop")
    revoked = ledger.token(DIGEST)
    assert revoked is not None
    assert revoked.revoked_at == clock.now - 1  # the first revocation counts
    assert not revoked.is_valid(clock.now - 10)


def test_a_tokens_name_is_used_once(ledger: Ledger):
    ledger.add_token("laptop", Scope.READ, DIGEST, expires_at=None)
    ledger.revoke_token("laptop")
    with pytest.raises(SpecError, match=r"a token 'laptop' already, .*: give the new one another name"):
        ledger.add_token("laptop", Scope.READ, "cd" * 32, expires_at=None)
    with pytest.raises(SpecError, match="Unknown token 'labtop', did you mean 'laptop'"):
        ledger.revoke_token("labtop")
    assert [token.name for token in ledger.tokens()] == ["laptop"]


def test_a_repeated_request_gives_the_first_ones_study(ledger: Ledger):
    assert ledger.claim_request("key-1", DIGEST, "first") == "first"
    assert ledger.claim_request("key-1", DIGEST, "second") == "first"
    with pytest.raises(SpecError, match=r"'key-1' was used with another request: send a new key"):
        ledger.claim_request("key-1", "cd" * 32, "third")


def test_a_place_belongs_to_the_open_attempt(study: Ledger):
    study.start_attempt(STUDY, TRIAL)
    study.place_attempt(STUDY, TRIAL, pack=3, node="10.0.0.2")
    seen = next(one for one in study.trial_activity(STUDY) if one.record.planned.key == TRIAL)
    assert (seen.pack, seen.node) == (3, "10.0.0.2")
    study.start_attempt(STUDY, TRIAL)
    seen = next(one for one in study.trial_activity(STUDY) if one.record.planned.key == TRIAL)
    assert (seen.pack, seen.node) == (None, None)


def test_a_study_is_deleted_with_all_that_belongs_to_it(ledger: Ledger):
    begin(ledger, plan())
    ledger.record_measurement(STUDY, measured(TRIAL, 0))
    with pytest.raises(SpecError, match=f"Study '{STUDY}' is being run by process .*: stop it before"):
        ledger.delete_study(STUDY)
    ledger.release_study(STUDY, OWNER)
    ledger.delete_study(STUDY)
    assert ledger.studies() == []
    begin(ledger, plan())  # the name is free, and nothing of the first is left
    assert ledger.measurements(STUDY) == []
