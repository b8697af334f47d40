"""The study's protocol told in words, from the study file alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ProtocolStep:
    """One heading with its sentences."""

    title: str
    text: str


def protocol(spec: Mapping[str, Any]) -> tuple[ProtocolStep, ...]:
    """What was done, in the order in which it was done. A phase that the study has not got is left out."""
    phases = spec.get("phases") or {}
    parts = (
        ("Workload", _workload(spec)),
        ("Budget", _budget(spec)),
        ("Search", _search(phases.get("search"))),
        ("Sensitivity", _sensitivity(phases.get("sensitivity"))),
        ("Confirmation", _confirmation(phases.get("confirmation"))),
        ("Outcomes", OUTCOMES),
        ("Seeds", SEEDS),
    )
    return tuple(ProtocolStep(title=title, text=text) for title, text in parts if text)


OUTCOMES = (
    "A trial ends as finished, stopped (by the search), diverged, out of memory, infra failed or cancelled. "
    "The first three are results. A diverged trial is not missing: it counts with the loss at "
    "initialisation, and no trial counts with more than that (the capped loss). The last three are lost: "
    "they enter no mean and are listed one by one."
)
SEEDS = (
    "Initial weights, data order and dropout derive by SHA-256 from the study's seed, phase, replicate and "
    "point, never from the family. Families of a pair therefore start from the same weights and see the same "
    "rows."
)


def _workload(spec: Mapping[str, Any]) -> str:
    base, task = spec.get("base") or {}, spec.get("task") or {}
    if not base or not task:
        return ""
    rows = ", ".join(
        f"{task[key]:,} {verb}"
        for key, verb in (
            ("train_rows", "rows to train on"),
            ("select_rows", "to select by"),
            ("report_rows", "to report from"),
        )
        if key in task
    )
    modules = ", ".join((spec.get("adapter") or {}).get("target_modules") or ())
    adapted = f" MoE-LoRA adapters sit on {modules}; the base stays frozen." if modules else ""
    return f"{base.get('model')} learns {task.get('name')}{f' ({rows})' if rows else ''}.{adapted}"


def _budget(spec: Mapping[str, Any]) -> str:
    training = spec.get("training") or {}
    if "steps" not in training:
        return ""
    batch = f" of {training['batch']} rows" if "batch" in training else ""
    schedule = f", {training['schedule']} schedule" if "schedule" in training else ""
    return (
        f"A trial has {training['steps']:,} optimizer steps{batch}{schedule}, the same for every family; "
        f"families differ in their optimizer and in nothing else."
    )


def _search(search: Mapping[str, Any] | None) -> str:
    if not search:
        return ""
    stopping = (
        f" from step {search['grace_steps']} on, keeping about one in {search['reduction']} at each rung"
        if search.get("grace_steps") and search.get("reduction")
        else ""
    )
    sampler = {"sobol": "Sobol'", "tpe": "TPE"}.get(search.get("sampler", "sobol"), "random")
    return (
        f"Each family draws {search.get('trials')} configurations ({sampler} sampler). One ASHA scheduler "
        f"for each family stops the worse ones{stopping}. The lowest select loss at full budget is the "
        f"family's tuned configuration. The search only chooses: no interval of a loss rests on it."
    )


def _sensitivity(sensitivity: Mapping[str, Any] | None) -> str:
    if not sensitivity:
        return ""
    replicates, points = sensitivity.get("replicates"), sensitivity.get("points")
    net = f"{replicates} replicates of a scrambled Sobol' net of {points} points"
    parts = [f"{net}, shared by all families, run without stopping."]
    if (lr_slice := sensitivity.get("lr_slice")) is not None:
        step = f"{lr_slice.get('step_decades', 0.5):g}"
        parts.append(
            f"At each tuned configuration the learning rate varies alone, in steps of {step} decade "
            f"with a random offset per replicate that all families share."
        )
    if factors := sensitivity.get("factor_slices"):
        parts.append(f"So do {', '.join(factors)}, one at a time.")
    return " ".join(parts)


def _confirmation(confirmation: Mapping[str, Any] | None) -> str:
    if not confirmation:
        return ""
    looks = ", ".join(str(n) for n in confirmation.get("looks") or ())
    planned = f" Looks are planned at {looks} seeds." if looks else ""
    return (
        f"Each family's tuned configuration is frozen and trained anew with {confirmation.get('seeds')} "
        f"fresh seeds, the same for all families, and scored on the report split, by which nothing was "
        f"chosen.{planned}"
    )
