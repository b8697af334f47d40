"""Mistakes in study files: each is one sentence with the file, the key, the value, the rule and the way out."""
# ruff: noqa: E501 -- each mistake and its message share a line

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import SpecError
from study.spec import StudySpec, load_spec, parse_spec
from tests.study.study_files import MINIMAL, study_file, with_change

SECTION_MISTAKES = [
    ("families: [rsgd, grsgd]", "families: [rsgd, grsdg]", "families: Unknown family 'grsdg', did you mean 'grsgd'? Known: adamw, "),
    ("families: [rsgd, grsgd]", "families: [rsgd, rsgd]", "families holds 'rsgd' twice: write each family once."),
    ("families: [rsgd, grsgd]", "families: []", "families is empty, but a study compares families: write at least one."),
    ("families: [rsgd, grsgd]", "families: rsgd", "families is 'rsgd', but must be a list: correct it."),
    ("name: tiny", "name: a/b", "name is 'a/b', but a name is 1 to 64 letters"),
    ("name: tiny", "name: 2026", "name is 2026, but must be text (put it in quotes if it looks like a number)"),
    ("name: tiny", "naem: tiny", "unknown key 'naem', did you mean 'name'? Known: adapter, base, "),
    ("name: tiny\n", "", "name is missing: add it."),
    ("seed: 1", "seed: -1", "seed is -1, but must be greater than or equal to 0: raise it."),
    ("seed: 1", "seed: 1.5", "seed is 1.5, but must be a whole number: round it."),
    ("seed: 1", "seed: true", "seed is true, but must be a number: correct it."),
    ("seed: 1", "seed:", "seed is null, but must be a whole number: correct it."),
    ("steps: 100", "steps: 0", "training.steps is 0, but must be greater than or equal to 1: raise it."),
    ("steps: 100", "stpes: 100", "unknown key 'stpes' in training, did you mean 'steps'? Known: "),
    ("steps: 100", "steps: many", "training.steps is 'many', but must be a whole number: correct it."),
    ("steps: 100", "steps: 100, betas: [true, 0.9]", "training.betas.0 is true, but must be"),
    ("steps: 100", "steps: 100, warmup: 1.0", "training.warmup is 1.0, but must be less than 1: lower it."),
    ("steps: 100", "steps: 100, eps: .nan", "training.eps is nan, but every number must be finite"),
    ("steps: 100", "steps: 100, schedule: linaer", "training.schedule is 'linaer', but must be 'constant', 'linear' or 'cosine': did you mean 'linear'?"),
    ("steps: 100", "steps: 100, schedule: xyz", "or 'cosine': choose one of them."),
    ("training: {steps: 100}", "training: 100", "training is 100, but must be a mapping of keys to values: correct it."),
    ("training: {steps: 100}\n", "", "training is missing: add it."),
    ("{name: vader_movie}", "{name: vader_movie, max_tokens: 2}", "task.max_tokens is 2, but must be greater than or equal to 8"),
    ("tier: smoke", "tier: smok", "tier is 'smok', but must be 'smoke', 'standard' or 'strong': did you mean 'smoke'?"),
    ("tier: smoke", "", "phases is empty, but a study needs one: write `tier: standard` or a phase."),
    ("tier: smoke", "claims: nowhere.yaml", "phases is empty"),
    ("tier: smoke", "tier: smoke\nclaims: nowhere.yaml", "nowhere.yaml', but there is no such file: correct or remove it."),
    ("tier: smoke", "tier: smoke\nresources: {packs: some}", "resources.packs is 'some', but must be auto or a whole number from 1 on: correct it."),
    ("tier: smoke", "tier: smoke\nresources: {lanes: 0}", "resources.lanes is 0, but must be auto or a whole number"),
    ("tier: smoke", "tier: smoke\nresources: {gpus_per_pack: 0.5}", "resources.gpus_per_pack is 0.5, but must be a whole number"),
]  # fmt: skip

SPACE_MISTAKES = [
    ("rsgd: {lr: {log: [1, 1e-3]}}", "spaces.rsgd.lr: the range [1.0, 0.001] is upside down: write the smaller number first."),
    ("rsgd: {lr: {lgo: [1e-3, 1]}}", "spaces.rsgd.lr: {'lgo': [0.001, 1]} is no range: write {log: [low, high]}"),
    ("rsgd: {lr: {log: [-1, 1]}}", "spaces.rsgd.lr: the log range [-1.0, 1.0] must lie above 0"),
    ("rsgd: {lr: true}", "spaces.rsgd.lr: True is no range"),
    ("rsgd: {lr: 0}", "spaces.rsgd.lr: 0 is too low: lr must be above 0, so raise it."),
    ("rsgd: {rank: [4, 4]}", "spaces.rsgd.rank: the choices [4, 4] hold a value twice"),
    ("rsgd: {rank: {log: [1, 4]}}", "spaces.rsgd.rank: rank takes whole numbers"),
    ("rsgd: {rnak: 4}", "spaces.rsgd: Unknown hyperparameter of rsgd 'rnak', did you mean 'rank'?"),
    ("rsgd: {lr_ratio: 4}", "spaces.rsgd: Unknown hyperparameter of rsgd 'lr_ratio'"),
    ("all: {lr_ratio: 4}", "spaces.all: Unknown hyperparameter of these families 'lr_ratio'"),
    ("sgd: {rank: 4}", "spaces.sgd: Unknown family of this study 'sgd', did you mean 'rsgd'? Known: all, grsgd, rsgd."),
    ("rsgd: {num_experts: [4, 8], top_k: [2, 16]}", "spaces.rsgd: top_k = 16 is above every num_experts (at most 8)"),
    ("rsgd: {num_experts: [4, 8], top_k: [8]}", "spaces.rsgd: top_k is at least 8, which exceeds num_experts = 4: allow a top_k of at most 4 or raise num_experts."),
    ("all: {num_experts: 1}", "spaces.all: top_k is at least 2, which exceeds num_experts = 1"),
    ("rsgd: 4", "spaces.rsgd is 4, but must be a mapping of keys to values"),
]  # fmt: skip

PHASE_MISTAKES = [
    ("search: {trails: 4}", "unknown key 'trails' in phases.search, did you mean 'trials'? Known: grace_steps, reduction, sampler, trials."),
    ("search: {sampler: sobel}", "phases.search.sampler is 'sobel', but must be 'sobol', 'tpe' or 'random': did you mean 'sobol'?"),
    ("search: {reduction: 1}", "phases.search.reduction is 1, but must be greater than or equal to 2: raise it."),
    ("search: {grace_steps: 101}", "phases.search.grace_steps is 101, above training.steps = 100: lower it."),
    ("search: 5", "phases.search is 5, but must be a mapping of keys to values"),
    ("sensitivity: {points: 12}", "phases.sensitivity.points is 12, but a Sobol' net has a power of two of points: write 8 or 16."),
    ("sensitivity: {factor_slices: [rnak]}", "phases.sensitivity.factor_slices: Unknown hyperparameter 'rnak', did you mean 'rank'?"),
    ("sensitivity: {factor_slices: [lr]}", "phases.sensitivity.factor_slices holds 'lr', which has a slice of its own: write it as lr_slice."),
    ("sensitivity: {factor_slices: [rank, rank]}", "phases.sensitivity.factor_slices holds 'rank' twice"),
    ("sensitivity: {lr_slice: {step: 1}}", "unknown key 'step' in phases.sensitivity.lr_slice, did you mean 'step_decades'?"),
    ("sensitivity: {lr_slice: {step_decades: 0}}", "phases.sensitivity.lr_slice.step_decades is 0, but must be greater than 0"),
    ("sensitivity: {lr_slice: {window: [1, 0.1]}}", "phases.sensitivity.lr_slice.window is [1, 0.1], which is upside down"),
    ("sensitivity: {lr_slice: {window: [0, 0.1]}}", "phases.sensitivity.lr_slice.window is [0, 0.1], but learning rates are above 0"),
    ("sensitivity: {lr_slice: {window: [1]}}", "phases.sensitivity.lr_slice.window is [1], but a window is [low, high]"),
    ("sensitivity: {lr_slice: {window: {}}}", "phases.sensitivity.lr_slice.window is empty"),
    ("sensitivity: {lr_slice: {window: 3}}", "phases.sensitivity.lr_slice.window is wrong, since "),
    ("sensitivity: {lr_slice: {window: {decades_blow: 3}}}", "phases.sensitivity.lr_slice.window is wrong, since unknown key 'decades_blow', did you mean 'decades_below'?"),
    ("sensitivity: {lr_slice: {window: {rsgd: [0.1, 1]}}}", "phases.sensitivity.lr_slice.window and families differ by 'grsgd': declare one window for each family."),
    ("sensitivity: {lr_slice: {window: {rsgd: 2}}}", "phases.sensitivity.lr_slice.window is 2, but a window is [low, high]"),
    ("confirmation: {seeds: 1}", "phases.confirmation.seeds is 1, but must be greater than or equal to 2: raise it."),
    ("confirmation: {seeds: 30, looks: [20, 10, 30]}", "phases.confirmation.looks is [20, 10, 30], but looks ascend from 2 or more and end at seeds = 30: write [10, 20, 30]."),
    ("confirmation: {seeds: 30, looks: [10, 20]}", "phases.confirmation.looks is [10, 20], but"),
    ("confirmation: {default_seeds: -1}", "phases.confirmation.default_seeds is -1, but must be greater than or equal to 0"),
    ("confirmation: {perturbations: expert_dropped}", "phases.confirmation.perturbations is 'expert_dropped', but must be a list: correct it."),
    ("confirmation: {perturbations: [expert_droped]}", "phases.confirmation.perturbations.0: Unknown perturbation 'expert_droped', did you mean 'expert_dropped'?"),
    ("confirmation: {perturbations: [{words_dropped: 2}]}", "phases.confirmation.perturbations.0: words_dropped is 2, but its probability of each input word is a number from 0 to 1: correct it."),
    ("confirmation: {perturbations: [top_k_plus_1, top_k_plus_1]}", "phases.confirmation.perturbations holds top_k_plus_1 twice: write it once."),
    ("serach: {}", "unknown key 'serach' in phases, did you mean 'search'?"),
]  # fmt: skip


def assert_one_sentence(path: Path, part: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    message = str(caught.value)
    assert part in message
    assert message.startswith(str(path))
    assert message.endswith((".", "?"))
    assert "\n" not in message
    assert not re.search(r"pydantic|Traceback|ctx|Input should", message)


@pytest.mark.parametrize(("old", "new", "part"), SECTION_MISTAKES)
def test_a_mistake_in_a_section_is_one_sentence(tmp_path: Path, old: str, new: str, part: str):
    assert old in MINIMAL
    assert_one_sentence(study_file(tmp_path, MINIMAL.replace(old, new)), part)


@pytest.mark.parametrize(("spaces", "part"), SPACE_MISTAKES)
def test_a_mistake_in_a_space_is_one_sentence(tmp_path: Path, spaces: str, part: str):
    assert_one_sentence(study_file(tmp_path, f"{MINIMAL}spaces: {{{spaces}}}\n"), part)


@pytest.mark.parametrize(("phases", "part"), PHASE_MISTAKES)
def test_a_mistake_in_a_phase_is_one_sentence(tmp_path: Path, phases: str, part: str):
    assert_one_sentence(study_file(tmp_path, f"{MINIMAL}phases: {{{phases}}}\n"), part)


def test_evaluations_take_no_more_than_their_share(tmp_path: Path):
    # ten evaluations of 300 rows beside 100 steps of 8 rows, which count three times: 3000 of 5400
    often = MINIMAL.replace("steps: 100", "steps: 100, eval_every: 10")
    part = (
        "evaluations on 300 rows every 10 steps would take 56 % of all token passes, above "
        "training.max_evaluation_share = 0.5: raise training.eval_every to 13 or lower task.select_rows to 240."
    )
    assert_one_sentence(study_file(tmp_path, often), part)
    for cured in (
        often.replace("eval_every: 10", "eval_every: 13"),
        often.replace("vader_movie", "vader_movie, select_rows: 240"),
        often.replace("eval_every: 10", "eval_every: 10, max_evaluation_share: 0.56"),
    ):
        assert load_spec(study_file(tmp_path, cured)).training.steps == 100
    short = MINIMAL.replace("steps: 100", "steps: 1")
    assert_one_sentence(study_file(tmp_path, short), "= 0.5: lower task.select_rows to 24.")


def test_the_warm_up_is_within_the_grace_period(tmp_path: Path):
    text = MINIMAL.replace("steps: 100", "steps: 100, warmup: 0.5") + "phases: {search: {grace_steps: 20}}\n"
    part = "phases.search.grace_steps is 20, but no trial may be stopped during the warm-up of 50 steps: raise it."
    assert_one_sentence(study_file(tmp_path, text), part)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty: `trialwright init FILE` writes a study file to begin with."),
        (b"# nothing\n", "is empty"),
        (b"- a\n- b\n", "is no mapping of keys to values"),
        (b"just text", "is no mapping of keys to values"),
        (b"a: [1, 2\nb: 3\n", "is no valid YAML at line 2, column 2: "),
        (b"a: {b: c: d}\n", "is no valid YAML at line 1"),
        (
            b"a: 1\nb: 2\na: 3\n",
            "is no valid YAML at line 3, column 1: the key 'a' stands twice; correct it there.",
        ),
        (b"a: {x: 1, x: 2}\n", "the key 'x' stands twice"),
        (b"? [a, b]\n: 1\n", "a key must be one word"),
        (
            b"a: !!python/object/apply:os.system [ls]\n",
            "is no valid YAML at line 1, column 4: could not determine",
        ),
        (b"a: *nowhere\n", "is no valid YAML at line 1, column 4"),
        (b"\xff\xfe\x00name", "is no UTF-8 text"),
        (b"a: \x00", "is no valid YAML: "),
        (b"1: x\n", "the key 1 is no text: put it in quotes or rename it."),
        (b"a: {b: [1, .inf]}\n", "a.b.1 is inf, but every number must be finite: write a number."),
        (b"[" * 5000, "is no valid YAML: "),
        (b"a: 1" + b"0" * 5000, "is no valid YAML: "),
        (b"#" * 1_000_001, "too large for a study file"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, content: bytes, part: str):
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert_one_sentence(path, part)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    assert_one_sentence(
        tmp_path / "none.yaml", "does not exist: check the name, or write one by `trialwright init`."
    )
    assert_one_sentence(tmp_path, "cannot be read (Is a directory): check the name and its permissions.")
    (tmp_path / "file").touch()
    assert_one_sentence(tmp_path / "file" / "study.yaml", "cannot be read (Not a directory)")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from([*StudySpec.model_fields, "search", "sensitivity", "confirmation", "lr_slice", "window"]),
)
def test_anything_at_all_is_a_study_or_one_sentence(value: Any, key: str):
    nest: dict[str, Callable[[Any], dict[str, Any]]] = {
        "window": lambda v: {"phases": {"sensitivity": {"lr_slice": {"window": v}}}},
        "lr_slice": lambda v: {"phases": {"sensitivity": {"lr_slice": v}}},
    }
    phase = {"search", "sensitivity", "confirmation"}
    change = nest[key](value) if key in nest else {"phases": {key: value}} if key in phase else {key: value}
    assert "\n" not in refusal(with_change(**change))


def refusal(written: dict[str, Any]) -> str:
    try:
        spec = parse_spec(written, "x")
    except SpecError as error:
        return str(error)
    assert StudySpec.model_validate(spec.canonical()).digest == spec.digest
    return ""
