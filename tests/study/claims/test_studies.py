"""Whether claims and study say the same."""

import re
from typing import Any

import pytest

from search_spaces.errors import SpecError
from study.claims import ClaimsFile, amend, check, lock, parse_claims, require_locked
from study.claims.studies import check_study, space_digests
from study.spec import StudySpec, parse_spec
from tests.study.claims.claims_files import MINIMAL, write
from tests.study.study_files import with_change

PHASES = {
    "search": {"trials": 8},
    "sensitivity": {
        "replicates": 10,
        "points": 16,
        "lr_slice": {"step_decades": 0.5},
        "factor_slices": ["rank"],
    },
    "confirmation": {"seeds": 30, "looks": [10, 20, 30], "perturbations": ["expert_dropped"]},
}


def study(**changes: Any) -> StudySpec:
    return parse_spec(with_change(phases=PHASES, **changes), source="study.yaml")


def claims(claim: Any = None, **file: Any) -> ClaimsFile:
    compare = {"a": "grsgd", "b": "rsgd"}
    written = {"id": "C1", "title": "t", "compare": compare, "metric": "tuned_loss", "direction": "less"}
    return parse_claims(
        {"claims_version": 1, "claims": [written | (claim or {})], **file}, source="claims.yaml"
    )


def test_a_file_that_says_nothing_of_the_study_agrees_with_it():
    check_study(claims(), study())


def test_a_file_that_says_the_same_as_the_study_agrees_with_it():
    check_study(
        claims(
            {"metric": "perturbation_drop", "perturbation": "expert_dropped"},
            study="tiny",
            families={"rsgd": {"space": "rsgd@1"}, "grsgd": {}},
            design={
                "sensitivity": {
                    "replicates": 10,
                    "points": 16,
                    "lr_slice": {"step_decades": 0.5},
                    "factor_slices": ["rank"],
                },
                "confirmation": {"seeds_max": 30, "looks": [10, 20, 30]},
            },
            outcome={"diverged": {"nan": True, "factor": 2}},
        ),
        study(),
    )


DIVERGED = {"nan": True, "loss_ge": "init_loss", "for_evals": 3}
DISAGREEMENTS = [
    ({"study": "other"}, "study is 'other', but this study is 'tiny': correct one of them."),
    (
        {"claim": {"compare": {"a": "grsgd", "b": "sgd"}}},
        "claims refer to sgd: Unknown family of study tiny 'sgd', did you mean 'rsgd'? Known: grsgd, rsgd.",
    ),
    (
        {"design": {"sensitivity": {"replicates": 8}}},
        "design.sensitivity.replicates is 8, but the study has 10: correct one of them.",
    ),
    (
        {"claim": {"metric": "steps_to_target", "tau": {"ref": "adamw.confirmed"}}},
        "claims refer to adamw: Unknown family of study tiny 'adamw'. Known: grsgd, rsgd.",
    ),
    ({"design": {"sensitivity": {"points": 8}}}, "design.sensitivity.points is 8, but the study has 16"),
    (
        {"design": {"sensitivity": {"lr_slice": {"step_decades": 0.25}}}},
        "design.sensitivity.lr_slice.step_decades is 0.25, but the study has 0.5",
    ),
    (
        {"design": {"sensitivity": {"factor_slices": ["rank", "experts"]}}},
        "design.sensitivity.factor_slices has num_experts, but the study's has not: add it there.",
    ),
    (
        {"design": {"confirmation": {"seeds_max": 50}}},
        "design.confirmation.seeds_max is 50, but the study has 30: correct one of them.",
    ),
    (
        {"design": {"confirmation": {"seeds_max": 30, "looks": [30]}}},
        "design.confirmation.looks is [30], but the study has [10, 20, 30]: correct one of them.",
    ),
    (
        {"outcome": {"diverged": DIVERGED}},
        "but the study does by training.divergence_factor: write {nan: true, factor: 2}.",
    ),
    ({"outcome": {"diverged": {"factor": 3}}}, "outcome.diverged.factor is 3.0, but the study has 2.0"),
    (
        {"claim": {"metric": "perturbation_drop", "perturbation": "words_dropped_0.1"}},
        "claim C1: Unknown perturbation of this study 'words_dropped_0.1'. Known: expert_dropped.",
    ),
]


@pytest.mark.parametrize(("change", "message"), DISAGREEMENTS)
def test_a_disagreement_is_told_with_both_values(change, message):
    change = dict(change)
    with pytest.raises(SpecError, match=re.escape(message)):
        check_study(claims(change.pop("claim", None), **change), study())


def test_a_phase_that_the_study_has_not_is_told():
    without = parse_spec(with_change(phases={"search": {"trials": 8}}, tier=None), source="study.yaml")
    for section, message in (
        (
            {"sensitivity": {"replicates": 10}},
            "design.sensitivity.replicates is 10, but the study has nothing of the",
        ),
        (
            {"confirmation": {"seeds_max": 30}},
            "design.confirmation.seeds_max is 30, but the study has nothing of the",
        ),
    ):
        with pytest.raises(SpecError, match=re.escape(message)):
            check_study(claims(design=section), without)


def test_a_space_of_another_version_is_told():
    families = {"rsgd": {"space": "rsgd@1"}, "grsgd": {"space": "grsgd@1"}}
    file = claims(families=families)
    renamed = file.families["rsgd"].model_copy(update={"space": "rsgd@2"})
    other = file.model_copy(update={"families": {**file.families, "rsgd": renamed}})
    message = "family rsgd: space is 'rsgd@2', but the study has 'rsgd@1': correct one of them."
    with pytest.raises(SpecError, match=re.escape(message)):
        check_study(other, study())


def test_locking_with_the_study_keeps_its_search_spaces(tmp_path):
    path, narrow = write(tmp_path, MINIMAL), study(spaces={"rsgd": {"rank": [4, 8]}})
    file = lock(path, narrow).file
    assert file.registered is not None
    assert file.registered.spaces == {name: narrow.space(name).digest for name in ("grsgd", "rsgd")}
    assert file.registered.spaces == space_digests(file, narrow)
    assert require_locked(path, narrow).claims == file.claims
    message = (
        "the search space of rsgd is not the one with which the file was locked: restore it in the study."
    )
    for act in (check, lock, require_locked):
        with pytest.raises(SpecError, match=re.escape(f"{path}: {message}")):
            act(path, study())


def test_a_file_that_contradicts_the_study_is_neither_locked_nor_amended(tmp_path):
    path = write(tmp_path, MINIMAL.replace("replicates: 10", "replicates: 20"))
    message = f"{path}: design.sensitivity.replicates is 20, but the study has 10"
    with pytest.raises(SpecError, match=re.escape(message)):
        lock(path, study())
    lock(path)
    path.write_text(path.read_text(encoding="utf-8").replace("sesoi: 0.1", "sesoi: 0.2"), encoding="utf-8")
    with pytest.raises(SpecError, match=re.escape(message)):
        amend(path, "why", data_seen=False, spec=study())
