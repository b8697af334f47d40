"""Quantities that describe and decide nothing, computed by the engine and kept as plain numbers.

A rule of integrity that is broken leaves an entry out: what is missing here is judged elsewhere.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from study.records import Phase
from study.report.agreement import MixedRow, RopeRow, mixed_rows, rope_rows
from study.report.importance import METHODS, Importance, Method, family_importance
from study.report.targets import ArrivalCurve, Target, TimeScore, arrivals, lr_targets, time_scores
from study.statistics.contrast import NotEvaluableError
from study.statistics.results import Analysis
from study.statistics.trials import Trials

NUM_TARGETS = 60
NUM_TREES = 16
"""Of fANOVA's forests: replicates differ by more than such a forest and a larger one."""
FEWEST_WORKLOADS, FEWEST_FAMILIES = 5, 3
"""Below these a diagram of ranks says nothing."""


@dataclass(frozen=True, kw_only=True)
class ProfileCurve:
    """Share of one family's space that reaches each loss, with a band that holds the whole curve."""

    family: str
    workload: str
    tau: tuple[float, ...]
    """Losses in nats, ascending."""
    fraction: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    level: float
    num_replicates: int


@dataclass(frozen=True, kw_only=True)
class LrSensitivityRow:
    """Wortsman's learning-rate sensitivity of one family, in nats, with what bends it."""

    family: str
    workload: str
    plug_in: float
    plug_in_se: float | None
    cross_fit: float | None
    """The best learning rate chosen on the other seeds."""
    cross_fit_se: float | None
    num_replicates: int
    note: str


@dataclass(frozen=True, kw_only=True)
class PlaneRow:
    """One family over several workloads: how well it does when tuned, and how much that needs tuning anew."""

    family: str
    score: tuple[float, float, float]
    """Normalised score of the setting tuned on each workload, with the ends of its interval."""
    sensitivity: tuple[float, float, float]
    """Score lost by one setting for all workloads, with the ends of its interval."""
    dimension: int
    """Hyperparameters that must be tuned anew for .95 of the score."""
    num_hyperparameters: int
    level: float


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Families ranked over workloads."""

    mean_ranks: tuple[tuple[str, float], ...]
    """Best first."""
    num_workloads: int
    chi_square: float
    p: float
    critical_difference: float
    alpha: float
    groups: tuple[tuple[str, ...], ...]
    """Families that the critical difference does not tell apart."""


@dataclass(frozen=True, kw_only=True)
class Descriptive:
    """Everything of the kind; empty where the data do not give it."""

    targets: tuple[Target, ...] = ()
    profiles: tuple[ProfileCurve, ...] = ()
    lr_sensitivities: tuple[LrSensitivityRow, ...] = ()
    arrivals: tuple[ArrivalCurve, ...] = ()
    importances: tuple[Importance, ...] = ()
    """Only beside claims: it takes a while."""
    mixed: tuple[MixedRow, ...] = ()
    rope: tuple[RopeRow, ...] = ()
    time_scores: tuple[TimeScore, ...] = ()
    """Over all workloads; empty for fewer than three."""
    plane: tuple[PlaneRow, ...] = ()
    """Over all workloads; empty for a single one."""
    ranking: Ranking | None = None
    """Over all workloads; None for fewer than five, or fewer than three families."""

    def on(self, workload: str) -> "Descriptive":
        """What is of one workload."""
        return replace(
            self,
            targets=_here(self.targets, workload),
            profiles=_here(self.profiles, workload),
            lr_sensitivities=_here(self.lr_sensitivities, workload),
            arrivals=_here(self.arrivals, workload),
            importances=_here(self.importances, workload),
            mixed=_here(self.mixed, workload),
        )


def describe(trials: Trials | None, analysis: Analysis | None, families: Sequence[str]) -> Descriptive:
    """Compute whatever the table allows."""
    if trials is None:
        return Descriptive()
    return Descriptive(
        targets=lr_targets(trials, analysis),
        profiles=tuple(p for w in trials.workloads for p in _profiles(trials, families, w)),
        lr_sensitivities=tuple(
            s for w in trials.workloads for f in families for s in _allowed(_lr_sensitivity, trials, f, w)
        ),
        arrivals=arrivals(trials, analysis, families),
        importances=_importances(trials, families) if analysis else (),
        mixed=mixed_rows(trials, analysis),
        rope=rope_rows(analysis),
        time_scores=time_scores(trials, analysis, families),
        plane=_allowed_plane(trials, families),
        ranking=next(iter(_allowed(_ranking, trials, tuple(families))), None),
    )


class _OfWorkload(Protocol):
    @property
    def workload(self) -> str: ...


Entry = TypeVar("Entry", bound=_OfWorkload)
Found = TypeVar("Found")


def _here(entries: Iterable[Entry], workload: str) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry.workload == workload)


def _allowed(make: Callable[..., Found], *arguments: object) -> list[Found]:
    """What `make` gives, or nothing where the data break a rule."""
    try:
        return [make(*arguments)]
    except NotEvaluableError:
        return []


def _profiles(trials: Trials, families: Sequence[str], workload: str) -> list[ProfileCurve]:
    """The families' profiles over the same losses."""
    frame = trials.frame
    own = (frame["workload"] == workload) & (frame["phase"] == Phase.SENSITIVITY) & (frame["slice"] == "")
    losses = frame.loc[own, "capped"].dropna()
    if losses.nunique() < 2:  # noqa: PLR2004 - one loss alone has no profile
        return []
    taus = np.linspace(losses.min(), losses.max(), NUM_TARGETS).tolist()
    return [p for family in families for p in _allowed(_profile, trials, family, workload, taus)]


def _profile(trials: Trials, family: str, workload: str, taus: Sequence[float]) -> ProfileCurve:
    from study.statistics.descriptive.performance_profile import performance_profile

    found = performance_profile(trials, family, workload, taus=taus)
    return ProfileCurve(
        family=family,
        workload=workload,
        tau=tuple(found.tau.tolist()),
        fraction=tuple(found.fraction.tolist()),
        low=tuple(found.low.tolist()),
        high=tuple(found.high.tolist()),
        level=found.level,
        num_replicates=found.num_replicates,
    )


def _lr_sensitivity(trials: Trials, family: str, workload: str) -> LrSensitivityRow:
    from study.statistics.descriptive.lr_sensitivity import lr_sensitivity

    found = lr_sensitivity(trials, family, workload)
    return LrSensitivityRow(
        family=family,
        workload=workload,
        plug_in=found.plug_in,
        plug_in_se=found.plug_in_se,
        cross_fit=found.cross_fit,
        cross_fit_se=found.cross_fit_se,
        num_replicates=found.num_replicates,
        note=found.note,
    )


def _importances(trials: Trials, families: Sequence[str]) -> tuple[Importance, ...]:
    return tuple(
        one
        for workload in trials.workloads
        for family in families
        for method in METHODS
        for one in _allowed(_importance, trials, family, workload, method)
    )


def _importance(trials: Trials, family: str, workload: str, method: Method) -> Importance:
    return family_importance(trials, family, workload, method=method, num_trees=NUM_TREES)


def _allowed_plane(trials: Trials, families: Sequence[str]) -> tuple[PlaneRow, ...]:
    if len(trials.workloads) < 2:  # noqa: PLR2004 - sensitivity is between workloads
        return ()
    from study.statistics.descriptive.cross_workload import shared_grid

    grids = {f: g for f in families for g in _allowed(shared_grid, trials, f, Phase.SENSITIVITY.value)}
    return tuple(row for rows in _allowed(_plane, grids) for row in rows) if len(grids) > 1 else ()


def _plane(grids: dict[str, object]) -> list[PlaneRow]:
    from study.statistics.descriptive.cross_workload import plane

    return [
        PlaneRow(
            family=one.family,
            score=(one.tuned_score, one.tuned_interval.low, one.tuned_interval.high),
            sensitivity=(one.sensitivity, one.sensitivity_interval.low, one.sensitivity_interval.high),
            dimension=one.dimension,
            num_hyperparameters=one.num_hyperparameters,
            level=one.level,
        )
        for one in plane(grids)  # type: ignore[arg-type]
    ]


def _ranking(trials: Trials, families: tuple[str, ...]) -> Ranking:
    if len(trials.workloads) < FEWEST_WORKLOADS or len(families) < FEWEST_FAMILIES:
        raise NotEvaluableError("too few workloads or families to rank")
    from study.statistics.descriptive.ranks import rank_families, workload_losses

    found = rank_families(workload_losses(trials, families))
    return Ranking(
        mean_ranks=tuple(found.mean_ranks.items()),
        num_workloads=found.num_workloads,
        chi_square=found.chi_square,
        p=found.p,
        critical_difference=found.critical_difference,
        alpha=found.alpha,
        groups=found.groups,
    )
