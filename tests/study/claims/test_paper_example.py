"""The paper's hypotheses as claims: all are there, they agree with the study, and a copy can be locked."""

import re
import shutil
from pathlib import Path

import pytest

from study.claims import check, load_claims, lock
from study.claims.planning import check_plan, planned_power, planning_sd
from study.claims.rules import endpoints
from study.spec import load_spec
from study.statistics.claims import Direction, Range, Role

PAPER = Path(__file__).parents[3] / "examples" / "paper"
HYPOTHESES = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 17}


@pytest.fixture(scope="module")
def file():
    return load_claims(PAPER / "claims.yaml")


@pytest.fixture(scope="module")
def claims(file):
    return {claim.id: claim for claim in file.claim_set().claims}


def test_every_hypothesis_is_there(claims):
    numbers = {int(found[1]) for name in claims if (found := re.match(r"H(\d+)[a-z]?$", name))}
    assert numbers == HYPOTHESES


@pytest.mark.parametrize(
    ("name", "families", "metrics", "direction"),
    [
        ("H1", ("grsgd", "rsgd"), ["matched_loss"], Direction.LESS),
        ("H2", ("grsgd", "rsgd"), ["matched_loss"], Direction.EQUIVALENT),
        ("H3", ("grsgd", "rsgd"), ["tuned_loss"], Direction.LESS),
        ("H4", ("grsgd", "rsgd"), ["lr_width", "tuned_loss"], Direction.GREATER),
        ("H5", ("grsgd", "rsgd"), ["steps_to_target"], Direction.LESS),
        ("H6", ("grsgd", "rsgd"), ["factor_trend"], Direction.LESS),
        ("H7a", ("gradamw", "radamw"), ["tuned_loss"], Direction.LESS),
        ("H7c", ("gradamw", "radamw"), ["factor_trend"], Direction.LESS),
        ("H8a", ("rsgd", "sgd"), ["tuned_loss"], Direction.LESS),
        ("H8b", ("radamw", "loraplus"), ["tuned_loss"], Direction.LESS),
        ("H9", ("grsgd", ""), ["factor_trend"], Direction.EQUIVALENT),
        ("H10a", ("gsgd", "sgd"), ["tuned_loss"], Direction.LESS),
        ("H10b", ("gadamw", "adamw"), ["tuned_loss"], Direction.LESS),
        ("H11", ("grsgd", "rsgd"), ["seed_abs_dev"], Direction.LESS),
        ("H12", ("grsgd", "rsgd"), ["matched_loss"], Direction.LESS),
        ("H14a", ("grsgd_zero", "grsgd"), ["tuned_loss"], Direction.NONINFERIOR),
        ("H14b", ("grsgd", "rsgd"), ["tuned_loss"], Direction.NONINFERIOR),
        ("H15", ("grsgd_faithful", "grsgd"), ["tuned_loss"], Direction.EQUIVALENT),
        ("H17c", ("grsgd", "rsgd"), ["perturbation_drop"], Direction.LESS),
    ],
)
def test_a_hypothesis_says_what_it_should(claims, name, families, metrics, direction):
    claim = claims[name]
    assert (claim.comparison.a, claim.comparison.b) == families
    assert [part.metric for part in claim.parts] == metrics
    assert claim.parts[0].direction is direction


def test_matched_comparisons_are_at_the_learning_rate_that_theory_gives(claims):
    params = {"lr": 0.01, "top_k": 4}
    at = {name: claims[name].comparison.at for name in ("H1", "H2", "H11", "H12")}
    assert {name: transform(params)["lr"] for name, transform in at.items()} == pytest.approx(
        {"H1": 0.01, "H2": 0.02, "H11": 0.02, "H12": 0.02}
    )
    assert claims["H12"].parts[0].where == {"router_lr": Range(low=1e-4, high=1e-2)}


def test_the_papers_own_statements_are_primary(claims):
    primary = {name for name, claim in claims.items() if claim.role is Role.PRIMARY}
    assert primary == {"H1", "H2", "H3", "H4", "H5", "H6", "H12"}


def test_every_claim_has_the_planned_power(file):
    check_plan(file)
    for endpoint in endpoints(file):
        assert planned_power(endpoint, file, planning_sd(endpoint, file)) >= 0.8, endpoint.place


def test_a_copy_can_be_locked_with_its_study(tmp_path):
    for name in ("claims.yaml", "study.yaml"):
        shutil.copy(PAPER / name, tmp_path)
    spec = load_spec(tmp_path / "study.yaml")
    locked = lock(tmp_path / "claims.yaml", spec)
    assert set(locked.file.registered.spaces) == set(spec.families)
    assert check(tmp_path / "claims.yaml", spec).sha256 == locked.sha256
