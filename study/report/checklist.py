"""The items of the NeurIPS paper checklist that a study can answer, filled in from the study itself.

Items 1 and 4 to 8 of the checklist at https://neurips.cc/public/guides/PaperChecklist; an author copies them and adds
what only an author knows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.records import Outcome, Phase
from study.report.accounting import PHASE_TITLES
from study.report.budget import Budget
from study.report.registration import Registration, registration_sentence
from study.report.sentences import label
from study.report.snapshot import Snapshot, TrialRow
from study.report.words import compact, duration, fact
from study.report.words import label as label_words
from study.statistics.results import Analysis, ClaimResult

MACHINE = ("processor", "num_cpus", "memory_bytes")
"""What the manifest tells of the machine that launched the study."""
YES, AUTHOR, NOT_APPLICABLE = "Yes", "For the authors to complete", "Not applicable"


@dataclass(frozen=True, kw_only=True)
class ChecklistItem:
    """One item with its answer."""

    number: int
    title: str
    answer: str
    sentences: tuple[str, ...]
    """The justification, one sentence or a few each."""


def checklist(
    analysis: Analysis | None,
    registered: Registration | None,
    spent: Budget,
    *,
    rows: Sequence[TrialRow],
    snapshot: Snapshot,
) -> tuple[ChecklistItem, ...]:
    """The items in the checklist's order."""
    return (
        _claims(analysis, registered),
        _reproducibility(snapshot, registered),
        _access(snapshot),
        _settings(snapshot),
        _significance(analysis, rows),
        _compute(spent, rows, snapshot),
    )


def _claims(analysis: Analysis | None, registered: Registration | None) -> ChecklistItem:
    title = "Claims"
    if analysis is None or registered is None:
        text = "No claim was registered; the report describes and asserts nothing."
        return ChecklistItem(number=1, title=title, answer=NOT_APPLICABLE, sentences=(text,))
    evidence = tuple(_evidence(claim) for claim in analysis.claims)
    return ChecklistItem(
        number=1, title=title, answer=YES, sentences=(*evidence, registration_sentence(registered))
    )


def _evidence(claim: ClaimResult) -> str:
    titles = ", ".join(dict.fromkeys(part.title for part in claim.parts))
    places = ", ".join(dict.fromkeys(part.workload for part in claim.parts))
    return f"{claim.id} is {label(claim.verdict, claim.grade)}, by {titles} on {places}."


def _reproducibility(snapshot: Snapshot, registered: Registration | None) -> ChecklistItem:
    manifest = snapshot.manifest
    found = [
        (
            "The table of trials lists every trial with its hyperparameters, its seed and its outcome; the study "
            "file is printed in the report in full."
        ),
        (
            "Initial weights, data order and dropout derive from the study's seed, phase, replicate and point, so a "
            "trial can be repeated on its own."
        ),
    ]
    if "spec_digest" in manifest:
        found.append(f"The study file has the SHA-256 {manifest['spec_digest']}.")
    if registered is not None and registered.sha256:
        found.append(f"The claims have the SHA-256 {registered.sha256}.")
    return ChecklistItem(
        number=4, title="Experimental result reproducibility", answer=YES, sentences=tuple(found)
    )


def _access(snapshot: Snapshot) -> ChecklistItem:
    manifest, spec = snapshot.manifest, snapshot.spec
    version = (manifest.get("packages") or {}).get("trialwright")
    base, task = spec.get("base") or {}, spec.get("task") or {}
    found = []
    if version:
        found.append(f"Trials ran with Trialwright {version}.")
    if base.get("model") and task.get("name"):
        found.append(f"The base model is {base['model']}, the task {task['name']}.")
    found.append("Whether code, data and base model are open to readers is for the authors to say.")
    return ChecklistItem(
        number=5, title="Open access to data and code", answer=AUTHOR, sentences=tuple(found)
    )


def _settings(snapshot: Snapshot) -> ChecklistItem:
    training = snapshot.spec.get("training") or {}
    found = [
        (
            "Search spaces, splits, the rule by which configurations were chosen and the number of trials are given "
            "under Spaces and Protocol."
        )
    ]
    if training:
        found.append(f"Every trial was trained with {compact(training)}.")
    return ChecklistItem(
        number=6, title="Experimental setting and details", answer=YES, sentences=tuple(found)
    )


def _significance(analysis: Analysis | None, rows: Sequence[TrialRow]) -> ChecklistItem:
    bars = (
        "Bars and bands are confidence intervals, neither standard deviations nor standard errors, and are asymmetric "
        "where a quantity is bounded."
    )
    if not any(r.phase in (Phase.SENSITIVITY, Phase.CONFIRMATION) and r.analysed for r in rows):
        text = "No trial has run without early stopping yet, so there is no interval of a loss."
        return ChecklistItem(
            number=7, title="Experiment statistical significance", answer=NOT_APPLICABLE, sentences=(text,)
        )
    found = [
        (
            "Intervals of the space design hold the variability of the design's random scrambling, of initial weights, "
            "data order and dropout; intervals of the confirmation hold that of initial weights, data order and "
            "dropout. The split of the data and the base model do not vary."
        ),
        bars,
    ]
    if analysis is not None:
        found += _tests(analysis)
    return ChecklistItem(
        number=7, title="Experiment statistical significance", answer=YES, sentences=tuple(found)
    )


def _tests(analysis: Analysis) -> list[str]:
    kinds = sorted({part.ci_kind for claim in analysis.claims for part in claim.parts if part.ci_kind})
    alpha = f"{100 * analysis.claim_set.alpha:g} %"
    told = f" ({'; '.join(kinds)})" if kinds else ""
    return [
        (
            f"Families are compared by paired differences within a replicate or a seed, with intervals from those "
            f"differences{told} and an exact sign-flip test beside them; the t-interval assumes that the "
            f"differences are about normal, the sign-flip test that they are symmetric."
        ),
        f"Primary claims are corrected together by Holm's method at {alpha}; all parts of a claim must hold.",
    ]


def _compute(spent: Budget, rows: Sequence[TrialRow], snapshot: Snapshot) -> ChecklistItem:
    title = "Experiments compute resources"
    if not spent.costs:
        text = "Nothing has been computed yet."
        return ChecklistItem(number=8, title=title, answer=NOT_APPLICABLE, sentences=(text,))
    families = dict.fromkeys(cost.family for cost in spent.costs)
    by_family = ", ".join(
        f"{family} {duration(sum(c.device_seconds for c in spent.costs if c.family == family))}"
        for family in families
    )
    by_phase = ", ".join(
        f"{PHASE_TITLES[phase].lower()} "
        f"{duration(sum(c.device_seconds for c in spent.costs if c.phase is phase))}"
        for phase in dict.fromkeys(cost.phase for cost in spent.costs)
    )
    total = duration(sum(cost.device_seconds for cost in spent.costs))
    failed = sum(r.lost or r.outcome is Outcome.DIVERGED for r in rows)
    found = [
        f"{len(rows):,} trials took {total} of device time: {by_family}; by phase {by_phase}.",
        (
            f"That counts every trial, the {failed:,} that diverged or were lost and those that the search stopped "
            f"among them, and so the tuning of every family."
        ),
        *_hardware(snapshot.manifest),
    ]
    return ChecklistItem(number=8, title=title, answer=YES, sentences=tuple(found))


def _hardware(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The driver's machine, what packs trained on, and how they multiplied."""
    machine = [f"{label_words(name)} {fact(name, manifest[name])}" for name in MACHINE if manifest.get(name)]
    if machine:
        yield f"The machine that led the study: {', '.join(machine)}."
    devices: Mapping[str, str] = manifest.get("pack_devices") or {}
    if devices:
        told = (
            f"{device}" + (f" ({number} nodes)" if number > 1 else "")
            for device, number in sorted(Counter(devices.values()).items())
        )
        yield f"Trials trained on {', '.join(told)}."
    precision: Mapping[str, Any] = manifest.get("precision") or {}
    if precision:
        yield (
            f"Products in float32 were done in PyTorch's mode {precision['mode']!r}, "
            f"with a tolerance of {precision['tolerance']:g} for other modes."
        )
