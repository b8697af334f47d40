"""The report's content as data: everything a writer prints, computed once from a snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.report.accounting import Accounting, account
from study.report.budget import Budget, budget
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
from study.report.protocol import ProtocolStep, protocol
from study.report.search import Survival, survival
from study.report.snapshot import Snapshot, TrialRow, read_trials
from study.report.spaces import SpaceDimension, dimensions
from study.report.training import TrainingCurve, read_curves, training_curve
from study.report.tuned import TunedResult, tuned_results


@dataclass(frozen=True, kw_only=True)
class ReportModel:
    """Everything that the report says. It describes; it holds no test, no claim and no verdict."""

    name: str
    state: str
    families: tuple[str, ...]
    """In the study's order, then any that only the trial table names."""
    tuned: tuple[TunedResult, ...]
    lr_curves: tuple[LrCurve, ...]
    tuning_curves: tuple[TuningCurve, ...]
    factor_slices: tuple[FactorSlice, ...]
    divergence_maps: tuple[DivergenceMap, ...]
    training_curves: tuple[TrainingCurve, ...]
    survival: tuple[Survival, ...]
    accounting: Accounting
    budget: Budget
    spaces: tuple[SpaceDimension, ...]
    protocol: tuple[ProtocolStep, ...]
    trials: tuple[TrialRow, ...]
    spec: Mapping[str, Any]
    manifest: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]


def build(snapshot: Snapshot) -> ReportModel:
    """Compute a report's content.

    Works on any moment of a study: what is not there yet is listed in `accounting.missing`.

    Raises:
        SpecError: the trial table lacks a column, or names an unknown phase or outcome.
    """
    rows = read_trials(snapshot.trials)
    families = tuple(dict.fromkeys([*(snapshot.spec.get("families") or ()), *(r.family for r in rows)]))
    of = {family: [r for r in rows if r.family == family] for family in families}
    measured = read_curves(snapshot.curves)
    return ReportModel(
        name=snapshot.name,
        state=snapshot.state,
        families=families,
        tuned=tuned_results(rows, families),
        lr_curves=tuple(lr_curve(f, of[f]) for f in families),
        tuning_curves=tuple(tuning_curve(f, of[f]) for f in families),
        factor_slices=tuple(s for f in families for s in factor_slices(f, of[f])),
        divergence_maps=tuple(divergence_map(f, of[f]) for f in families),
        training_curves=tuple(training_curve(f, of[f], measured) for f in families),
        survival=tuple(survival(f, of[f], snapshot.rungs) for f in families),
        accounting=account(
            rows, families=families, spec=snapshot.spec, plan=snapshot.plan, state=snapshot.state
        ),
        budget=budget(rows, families=families, spec=snapshot.spec),
        spaces=dimensions(families, rows, manifest=snapshot.manifest, spec=snapshot.spec),
        protocol=protocol(snapshot.spec),
        trials=rows,
        spec=snapshot.spec,
        manifest=snapshot.manifest,
        events=snapshot.events,
    )
