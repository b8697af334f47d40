"""What the report is made from: the claims as they were registered, and when each phase began."""

from pathlib import Path

import pytest

from search_spaces.errors import SpecError
from study.claims.file import read_claims
from study.ledger import Ledger
from study.records import Phase
from study.snapshot import take_snapshot
from tests.study.samples import MANIFEST, OWNER, SPEC, START, STUDY, planned, run_trial

CLAIMS = """
claims_version: 1
claims:
  - {id: C1, title: better, compare: {a: rsgd, b: sgd}, metric: tuned_loss, direction: less, sesoi: 0.02}
"""


def ledger_with(tmp_path: Path, *, spec: dict[str, object], manifest: dict[str, object]) -> Ledger:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    ledger.create_study(STUDY, {**SPEC, **spec}, "d" * 64, {**MANIFEST, **manifest})
    ledger.plan_trials(STUDY, [planned("sgd", 0), planned("sgd", 0, phase=Phase.CONFIRMATION)])
    ledger.claim_study(STUDY, OWNER)
    return ledger


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS)
    return path


def test_the_claims_of_the_launch_are_judged_even_if_the_file_has_changed(tmp_path: Path, claims: Path):
    kept = {"claims": {"written": read_claims(claims)}}
    ledger = ledger_with(tmp_path, spec={"claims": str(claims)}, manifest=kept)
    claims.write_text(CLAIMS.replace("0.02", "0.5"))
    found = take_snapshot(ledger, STUDY).claims
    assert found is not None
    assert [part.sesoi for claim in found.claims for part in claim.parts] == [0.02]
    claims.unlink()
    assert take_snapshot(ledger, STUDY).claims is not None


def test_a_study_that_kept_no_claims_has_those_of_its_file(tmp_path: Path, claims: Path):
    ledger = ledger_with(tmp_path, spec={"claims": str(claims)}, manifest={})
    found = take_snapshot(ledger, STUDY).claims
    assert found is not None
    assert [claim.id for claim in found.claims] == ["C1"]


@pytest.mark.parametrize("spec", [{}, {"claims": None}, {"claims": "/no/such/claims.yaml"}])
def test_a_study_without_claims_claims_nothing(tmp_path: Path, spec: dict[str, object]):
    assert take_snapshot(ledger_with(tmp_path, spec=spec, manifest={"claims": None}), STUDY).claims is None


def test_claims_that_this_version_cannot_read_are_named(tmp_path: Path):
    ledger = ledger_with(tmp_path, spec={}, manifest={"claims": {"written": {"claims_version": 9}}})
    with pytest.raises(SpecError, match=f"^The claims of study {STUDY}"):
        take_snapshot(ledger, STUDY)


def test_a_phase_begins_with_its_first_measurement(tmp_path: Path):
    ledger = ledger_with(tmp_path, spec={}, manifest={})
    run_trial(ledger, planned("sgd", 0).key, None, steps=(20, 40))
    assert take_snapshot(ledger, STUDY).phase_starts == {"search": START + 20}
