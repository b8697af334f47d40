"""The report's content as data: everything a writer prints, computed once from a snapshot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from study.report.accounting import Accounting, account
from study.report.audit import Audit, audit
from study.report.budget import Budget, budget
from study.report.checklist import ChecklistItem, checklist
from study.report.descriptive import Descriptive, describe
from study.report.forecast import Forecast, forecast
from study.report.interactions import Interaction, interactions
from study.report.landscape import (
    DivergenceMap,
    FactorSlice,
    LrCurve,
    TuningCurve,
    divergence_map,
    factor_slices,
    lr_curve,
    tuning_curve,
)
from study.report.limits import Limit, limits
from study.report.plane import PlanePoint, plane_point
from study.report.protocol import ProtocolStep, protocol
from study.report.registration import Registration, registration
from study.report.search import Survival, survival
from study.report.snapshot import Snapshot, TrialRow, checked_trials, trial_rows
from study.report.spaces import SpaceDimension, dimensions
from study.report.telling import Say, countdown, silent
from study.report.training import TrainingCurve, read_curves, training_curve
from study.report.tuned import TunedResult, tuned_results
from study.report.variations import Perturbed, Variation, perturbations, variations
from study.statistics.claims import ClaimSet
from study.statistics.results import Analysis
from study.statistics.trials import Trials


@dataclass(frozen=True, kw_only=True)
class ReportModel:
    """Everything that the report says: what was claimed and found, then what describes it."""

    name: str
    state: str
    families: tuple[str, ...]
    """In the study's order, then any that only the trial table names."""
    workloads: tuple[str, ...]
    """In the table's order; what follows by family stands once for each of them."""
    analysis: Analysis | None
    """The verdicts; None where no claim was registered or no trial is there."""
    num_registered: int
    """Claims of the file, judged or not."""
    limits: tuple[Limit, ...]
    """What the study does not show."""
    registration: Registration | None
    checklist: tuple[ChecklistItem, ...]
    tuned: tuple[TunedResult, ...]
    lr_curves: tuple[LrCurve, ...]
    tuning_curves: tuple[TuningCurve, ...]
    factor_slices: tuple[FactorSlice, ...]
    divergence_maps: tuple[DivergenceMap, ...]
    training_curves: tuple[TrainingCurve, ...]
    survival: tuple[Survival, ...]
    audits: tuple[Audit, ...]
    """What the search's first rung would have done to the space design."""
    plane: tuple[PlanePoint, ...]
    interactions: tuple[Interaction, ...]
    """For every pair of families that a claim names."""
    variations: tuple[Variation, ...]
    """Defaults and shifted learning rates; empty where none were confirmed."""
    perturbations: tuple[Perturbed, ...]
    descriptive: Descriptive
    """Further quantities that describe and decide nothing."""
    accounting: Accounting
    budget: Budget
    forecast: Forecast | None
    """What the launch predicted, beside what it was; None where nothing was calibrated."""
    spaces: tuple[SpaceDimension, ...]
    protocol: tuple[ProtocolStep, ...]
    trials: tuple[TrialRow, ...]
    spec: Mapping[str, Any]
    manifest: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]


def build(snapshot: Snapshot, say: Say = silent) -> ReportModel:
    """Compute a report's content.

    Works on any moment of a study: what is not there yet is listed in `accounting.missing`.

    Args:
        snapshot: the study.
        say: told what takes more than a moment, one sentence each.

    Raises:
        SpecError: the trial table lacks a column, names an unknown phase or outcome, or contradicts itself.
    """
    checked = checked_trials(snapshot.trials, snapshot.curves)
    rows = trial_rows(checked)
    families = tuple(dict.fromkeys([*(snapshot.spec.get("families") or ()), *(r.family for r in rows)]))
    workloads = tuple(dict.fromkeys(r.workload for r in rows)) or ("",)
    analysis = _analysis(checked, snapshot.claims, say)
    spent = budget(rows, families=families, spec=snapshot.spec)
    registered = registration(analysis, snapshot.phase_starts)
    return ReportModel(
        name=snapshot.name,
        state=snapshot.state,
        families=families,
        workloads=workloads,
        analysis=analysis,
        num_registered=len(snapshot.claims.claims) if snapshot.claims else 0,
        limits=limits(analysis, spec=snapshot.spec, workloads=workloads, families=families),
        registration=registered,
        checklist=checklist(analysis, registered, spent, rows=rows, snapshot=snapshot),
        interactions=interactions(rows, analysis),
        descriptive=describe(checked, analysis, families),
        accounting=account(
            rows, families=families, spec=snapshot.spec, plan=snapshot.plan, state=snapshot.state
        ),
        budget=spent,
        forecast=forecast(rows, snapshot),
        spaces=dimensions(families, _designed(rows), manifest=snapshot.manifest, spec=snapshot.spec),
        protocol=protocol(snapshot.spec),
        trials=rows,
        spec=snapshot.spec,
        manifest=snapshot.manifest,
        events=snapshot.events,
        **_by_family(snapshot, rows, families, workloads),
    )


def by_workload(model: ReportModel) -> tuple[ReportModel, ...]:
    """The model once per workload, each with the families' results there alone."""
    return tuple(_only(model, workload) for workload in model.workloads)


def _analysis(trials: Trials | None, claims: ClaimSet | None, say: Say) -> Analysis | None:
    """The verdicts; the engine's imports are slow, so a report without claims does without."""
    if trials is None or claims is None:
        return None
    from study.statistics.analysis import analyze
    from study.statistics.stability import stability

    say(f"Judging {len(claims.claims)} claims on {len(trials.frame):,} trials.")
    again = stability(trials, claims, analyze, countdown(len(claims.claims), say))
    say("Drawing up the rest of the report.")
    return replace(analyze(trials, claims), stability=again)


def _designed(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials of the design; what stands beside it must not bend a curve."""
    return [r for r in rows if not r.extra]


Found = TypeVar("Found")


def _by_family(
    snapshot: Snapshot, rows: Sequence[TrialRow], families: Sequence[str], workloads: Sequence[str]
) -> dict[str, Any]:
    """What describes one family on one workload, over all of them."""
    measured = read_curves(snapshot.curves)
    cells = [
        (w, f, [r for r in rows if r.workload == w and r.family == f]) for w in workloads for f in families
    ]
    designed = [(w, f, _designed(mine)) for w, f, mine in cells]

    def each(make: Callable[[str, list[TrialRow]], Found]) -> tuple[Found, ...]:
        return tuple(_on(w, make(f, mine)) for w, f, mine in designed)

    def there(make: Callable[[str, list[TrialRow]], Found | None]) -> tuple[Found, ...]:
        made = ((w, make(f, mine)) for w, f, mine in designed)
        return tuple(_on(w, found) for w, found in made if found is not None)

    return {
        "tuned": tuple(_on(w, t) for w, f, mine in designed for t in tuned_results(mine, [f])),
        "lr_curves": each(lr_curve),
        "tuning_curves": each(tuning_curve),
        "factor_slices": tuple(_on(w, s) for w, f, mine in designed for s in factor_slices(f, mine)),
        "divergence_maps": each(divergence_map),
        "training_curves": each(lambda f, mine: training_curve(f, mine, measured)),
        "survival": each(lambda f, mine: survival(f, mine, snapshot.rungs)),
        "audits": there(lambda f, mine: audit(f, mine, measured, snapshot.spec)),
        "plane": there(plane_point),
        "variations": tuple(v for w, f, mine in cells for v in variations(f, mine, w)),
        "perturbations": tuple(p for w, f, mine in cells for p in perturbations(f, mine, w)),
    }


def _on(workload: str, found: Found) -> Found:
    return replace(found, workload=workload)  # type: ignore[type-var]


class _OfWorkload(Protocol):
    @property
    def workload(self) -> str: ...


def _only(model: ReportModel, workload: str) -> ReportModel:
    def here(items: Sequence[_OfWorkload]) -> tuple[Any, ...]:
        return tuple(item for item in items if item.workload == workload)

    fields: dict[str, Any] = {name: here(getattr(model, name)) for name in BY_WORKLOAD}
    return replace(
        model,
        workloads=(workload,),
        trials=here(model.trials),
        descriptive=model.descriptive.on(workload),
        **fields,
    )


BY_WORKLOAD = (
    "tuned",
    "lr_curves",
    "tuning_curves",
    "factor_slices",
    "divergence_maps",
    "training_curves",
    "survival",
    "audits",
    "plane",
    "interactions",
    "variations",
    "perturbations",
)
"""Fields that hold one entry or more per workload and family."""
