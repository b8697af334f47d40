"""V1, level of every testable metric under a true null, and V2, coverage of intervals where families differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from search_spaces import derived_seed
from study.statistics.claims import Direction, Part
from study.statistics.contrast import Contrast
from study.statistics.endpoint import Endpoint, Plan, _fixed
from study.statistics.intervals import Interval, t_interval
from study.statistics.metrics import METRICS
from study.statistics.paired import binomial_p, sign_flip_p, t_p
from study.statistics.trials import Trials
from tests.validation.bands import Rate, around, at_least, at_most
from tests.validation.scenarios import ASKED, LAYOUT, Asked, Scenario
from tests.validation.surface import Array
from tests.validation.tables import Layout, study_of, trials_of

ALPHA = 0.05
SIZES = (5, 10, 20)
"""Units at which coverage is measured."""
SKEW_FLOOR = 0.80
"""Least coverage that is accepted at 5 to 20 units where differences are skewed; it is reported, not hidden."""
TIED_FLOOR = 0.90
"""The same for five units that may all be equal; five can never decide a claim at 5 %."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampled:
    """Differences of one metric in many studies, minus the value of no difference."""

    differences: Array
    """(studies, units)."""
    anchors: tuple[Array, ...]
    """Further differences that must agree."""
    binary: bool
    may_be_skewed: bool
    """Whether the engine gives skewed samples of this metric the bootstrap-t."""

    def head(self, studies: int) -> "Sampled":
        """The first studies."""
        return replace(
            self, differences=self.differences[:studies], anchors=tuple(one[:studies] for one in self.anchors)
        )


def sample(scenario: Scenario, asked: Asked, *, num_studies: int, layout: Layout, seed: int) -> Sampled:
    """The differences of one metric in many independent studies, by the metric's own contrast.

    A metric whose units do not look at each other measures all studies as one table, which gives the same numbers.
    """
    matched = layout.matched if asked.at else {}
    layout = replace(layout, phases=asked.phases, matched=matched, design_seed=seed)
    trials = trials_of(
        scenario.surfaces(asked),
        layout,
        seed=derived_seed(scenario.name, seed),
        num_studies=num_studies,
        curves=asked.curves,
    )
    return measure(asked, trials, layout, num_studies)


def measure(asked: Asked, trials: Trials, layout: Layout, num_studies: int) -> Sampled:
    """The differences of one metric in a table of many studies."""
    metric, question = METRICS[asked.metric], asked.question()
    studies = [trials] if asked.whole else split(trials, layout, num_studies)
    contrasts = [metric.contrast(study, question) for study in studies]
    return Sampled(
        differences=np.concatenate([_matrix(c.differences, num_studies // len(studies)) for c in contrasts])
        - contrasts[0].null,
        anchors=tuple(
            np.concatenate([_matrix(c.anchors[i], num_studies // len(studies)) for c in contrasts])
            for i in range(len(contrasts[0].anchors))
        ),
        binary=contrasts[0].binary,
        may_be_skewed=metric.may_be_skewed,
    )


def split(trials: Trials, layout: Layout, num_studies: int) -> list[Trials]:
    """One table a study."""
    frame = trials.frame
    confirmation = (frame["phase"] == "confirmation").to_numpy()
    study = np.where(
        confirmation,
        study_of(frame["replicate"], layout, seeds=True),
        study_of(frame["replicate"], layout),
    )
    order = np.argsort(study, kind="stable")
    ends = np.cumsum(np.bincount(study, minlength=num_studies))
    return [
        Trials(frame=frame.iloc[rows].reset_index(drop=True), curves=trials.curves, num_duplicates=0)
        for rows in np.split(order, ends[:-1])
    ]


def _matrix(series: pd.Series, num_studies: int) -> Array:
    """Differences by study and unit; units ascend with their study."""
    return np.asarray(series.sort_index().to_numpy(dtype=float).reshape(num_studies, -1))


def p_values(sampled: Sampled, truth: float) -> dict[str, Array]:
    """Two-sided p of every study against the truth, by test; over anchors the largest."""
    if sampled.binary:
        p = [_binary_p(row, truth) for row in sampled.differences]
        return {"exact binomial": np.array(p)}
    series = (sampled.differences, *sampled.anchors)
    tests = {"t": t_p, "sign-flip": sign_flip_p}
    return {
        name: np.max([[test(row, truth) for row in values] for values in series], axis=0)
        for name, test in tests.items()
    }


def _binary_p(row: Array, truth: float) -> float:
    hits, n = float((row + 0.5).sum()), len(row)
    if truth == 0.0:
        return binomial_p(hits, n)
    return float(stats.binomtest(round(hits), n, 0.5 + truth).pvalue)


def engine_interval(
    values: Array, level: float, *, binary: bool = False, may_be_skewed: bool = False
) -> Interval:
    """The interval on which a verdict rests at a planned number of units, about no difference = 0."""
    null = 0.5 if binary else 0.0
    found, _ = _fixed(_endpoint(binary, may_be_skewed), values + null, level)
    return Interval(found.low - null, found.high - null)


@cache
def _endpoint(binary: bool, may_be_skewed: bool) -> Endpoint:
    """An endpoint that says which interval its differences take; it has none of its own."""
    return Endpoint(
        contrast=Contrast(differences=pd.Series(dtype=float), unit="seed", binary=binary),
        part=Part(metric="tuned_loss", direction=Direction.LESS),
        plan=Plan(looks=(), num_planned=None, spending="obf", power=0.8),
        may_be_skewed=may_be_skewed,
    )


def covered(sampled: Sampled, truth: float, size: int) -> dict[str, NDArray[np.bool_]]:
    """Whether each study's 95 % interval from its first units holds the truth, by interval."""
    rows = sampled.differences[:, :size]
    kind = {"binary": sampled.binary, "may_be_skewed": sampled.may_be_skewed}
    found = {"engine": [engine_interval(row, 1 - ALPHA, **kind) for row in rows]}
    if sampled.may_be_skewed:
        found["t"] = [t_interval(row, 1 - ALPHA) for row in rows]
    slack = 1e-12
    return {
        name: np.array([one.low - slack <= truth <= one.high + slack for one in intervals])
        for name, intervals in found.items()
    }


def level_rates(
    scenario: Scenario, *, num_studies: int, seed: int, sigmas: float, metrics: Sequence[str] = ()
) -> list[Rate]:
    """V1: how often each metric's tests reject the truth at 5 %."""
    rates = []
    for name in metrics or scenario.metrics:
        asked = ASKED[name]
        found = sample(scenario, asked, num_studies=num_studies, layout=LAYOUT, seed=seed)
        rates += rates_of_level(scenario, asked, p_values(found, scenario.truth(asked)), sigmas=sigmas)
    return rates


def rates_of_level(scenario: Scenario, asked: Asked, ps: dict[str, Array], *, sigmas: float) -> list[Rate]:
    """One rate a test; discrete tests and tests that take the largest p may reject less often than 5 %.

    A sign-flip test is discrete with few units, and exact under symmetry alone.
    """
    rates = []
    for test, p in ps.items():
        bound = at_most if asked.conservative or test != "t" else around
        low, high = bound(ALPHA, len(p), sigmas)
        rates.append(
            Rate(
                cell="V1",
                scenario=scenario.name,
                what=f"{asked.metric}, {test}",
                observed=float((p <= ALPHA).mean()),
                low=low,
                high=high,
                num=len(p),
                n=LAYOUT.seeds if METRICS[asked.metric].phase == "confirmation" else LAYOUT.replicates,
            )
        )
    return rates


def coverage_rates(
    scenario: Scenario, *, num_studies: int, seed: int, sigmas: float, metrics: Sequence[str] = ()
) -> list[Rate]:
    """V2: how often the engine's 95 % intervals hold the truth, at 5, 10 and 20 units."""
    rates = []
    for name in metrics or scenario.metrics:
        asked = ASKED[name]
        found = sample(
            scenario, asked, num_studies=num_studies, layout=replace(LAYOUT, replicates=20), seed=seed
        )
        truth = scenario.truth(asked)
        rates += [
            rate
            for size in SIZES
            for rate in rates_of_coverage(
                scenario, asked, covered(found, truth, size), size=size, sigmas=sigmas
            )
        ]
    return rates


def rates_of_coverage(
    scenario: Scenario, asked: Asked, hits: dict[str, NDArray[np.bool_]], *, size: int, sigmas: float
) -> list[Rate]:
    """One rate an interval."""
    skewed = asked.metric in scenario.skewed
    tied = asked.metric in scenario.tied and size == SIZES[0]
    rates = []
    for interval, hit in hits.items():
        bound = at_least if asked.conservative else around
        low, high = bound(1 - ALPHA, len(hit), sigmas)
        note = ""
        if skewed or tied:
            floor, why = (SKEW_FLOOR, "skewed") if skewed else (TIED_FLOOR, "five that may all tie")
            low, high = at_least(floor, len(hit), sigmas)
            note = f"{why}: at least {floor:.2f}"
        rates.append(
            Rate(
                cell="V2",
                scenario=scenario.name,
                what=f"{asked.metric}, {interval}",
                observed=float(hit.mean()),
                low=low,
                high=high,
                num=len(hit),
                n=size,
                note=note,
            )
        )
    return rates
