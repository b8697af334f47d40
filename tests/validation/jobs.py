"""The long run's pieces of work, each of which one process does alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from study.statistics.results import Verdict
from tests.validation import familywise, methods, traps
from tests.validation.bands import LONG_SIGMAS, Rate
from tests.validation.level_cells import (
    coverage_rates,
    level_rates,
    p_values,
    rates_of_level,
    sample,
)
from tests.validation.scenarios import ASKED, COVERED, LAYOUT, NULLS, Scenario
from tests.validation.verdict_cells import (
    SUPERIORITY_ONLY,
    skewed_verdict_rates,
    support_power,
    verdict_rates,
    verdict_shares,
)

SEED = 2026
"""Of the design points, which all jobs share, and of everything else by adding to it."""
EFFECTS = tuple(round(0.1 * step, 1) for step in range(-4, 13))
RATIOS = (1.0, 2.0, 3.0, 4.5, 6.0)
BUDGETS = (1, 2, 4, 8, 12, 16, 20)
SEARCH = 20
"""Trials of the one search whose tuning curve is bootstrapped."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a job found."""

    rates: list[Rate] = field(default_factory=list)
    data: Mapping[str, Any] = field(default_factory=dict)
    """For figures and for cells of several jobs."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work."""

    name: str
    run: Callable[[], Found]
    seconds: float
    """About how long it takes for 2000 studies on one core, for the estimate of the time left."""


def jobs(num: int) -> list[Job]:
    """Every piece of work for `num` studies a cell, the longest first."""
    whole = tuple(name for name, asked in ASKED.items() if asked.whole)
    single = tuple(name for name, asked in ASKED.items() if not asked.whole)
    found = [
        _job(f"V1 {scenario.name}: {name}", partial(_levels, scenario, (name,), num), 25)
        for scenario in NULLS
        for name in single
        if name in scenario.metrics
    ]
    found += [_job(f"V1 {scenario.name}", partial(_levels, scenario, whole, num), 30) for scenario in NULLS]
    for scenario in COVERED:
        for name in scenario.metrics:
            found.append(_job(f"V2 {scenario.name}: {name}", partial(_coverage, scenario, name, num), 15))
    found += [_job(f"V5 part {part}", partial(_familywise, part, num // 4), 12) for part in range(4)]
    found += [
        _job("V4 boundaries", partial(_verdicts, num), 15),
        _job("V4 map", partial(_verdict_map, num), 20),
        _job("V6 looks", partial(_sequential, num), 5),
        _job("V7 search", partial(_search, num), 10),
        _job("V8 noise", partial(_noise, num), 30),
        _job("V9 designs", partial(_designs, num), 15),
        _job("tuning curves", partial(_tuning, num), 30),
    ]
    for kind in ("normal", "lognormal"):
        for n in (5, 10, 20, 40):
            found.append(
                _job(f"intervals, {kind}, n = {n}", partial(_intervals, kind, n, num), 2.0 + 0.4 * n)
            )
    return sorted(found, key=lambda job: -job.seconds)


def _job(name: str, run: Callable[[], Found], seconds: float) -> Job:
    return Job(name=name, run=run, seconds=seconds)


def _levels(scenario: Scenario, names: tuple[str, ...], num: int) -> Found:
    rates, ps = [], {}
    for name in names:
        if name not in scenario.metrics:
            continue
        asked = ASKED[name]
        by_test = p_values(
            sample(scenario, asked, num_studies=num, layout=LAYOUT, seed=SEED), scenario.truth(asked)
        )
        first = rates_of_level(scenario, asked, by_test, sigmas=LONG_SIGMAS)
        rates += _settled(first, partial(level_rates, scenario, metrics=[name]), num)
        ps[name] = by_test
    return Found(rates=rates, data={"p": {scenario.name: ps}})


def _coverage(scenario: Scenario, name: str, num: int) -> Found:
    first = coverage_rates(scenario, num_studies=num, seed=SEED, sigmas=LONG_SIGMAS, metrics=[name])
    return Found(rates=_settled(first, partial(coverage_rates, scenario, metrics=[name]), num))


def _settled(first: list[Rate], rerun: Callable[..., list[Rate]], num: int) -> list[Rate]:
    """Figures outside their band are simulated anew, twice as often, and the second sample counts.

    Of some two hundred figures, one in every second run lies outside three standard deviations by chance.
    """
    if all(rate.passed for rate in first):
        return first
    second = rerun(num_studies=2 * num, seed=SEED + 1, sigmas=LONG_SIGMAS)
    return [
        old
        if old.passed
        else replace(new, note=f"second sample; the first of {old.num} gave {old.observed:.3f}")
        for old, new in zip(first, second, strict=True)
    ]


def _familywise(part: int, num: int) -> Found:
    hits = familywise.familywise_hits(num_studies=num, seed=SEED + 1 + part)
    return Found(data={"familywise": {part: hits}})


def _verdicts(num: int) -> Found:
    rates = verdict_rates(num_studies=num, seed=SEED, sigmas=LONG_SIGMAS)
    return Found(rates=rates + skewed_verdict_rates(num_studies=num, seed=SEED, sigmas=LONG_SIGMAS))


def _verdict_map(num: int) -> Found:
    """Verdict probabilities over the true effect, and the share of supported claims without a bound of equivalence."""
    shares: dict[int, dict[float, dict[Verdict, float]]] = {}
    power: dict[int, dict[float, tuple[float, float]]] = {}
    for n in (10, 20, 30):
        shares[n], power[n] = {}, {}
        for place, effect in enumerate(EFFECTS):
            seed = SEED + 1000 * n + place
            shares[n][effect] = verdict_shares(effect, n, num_studies=num // 2, seed=seed)
            alone = verdict_shares(effect, n, num_studies=num // 2, seed=seed, thresholds=SUPERIORITY_ONLY)
            power[n][effect] = (alone[Verdict.SUPPORTED], support_power(effect, n))
    return Found(data={"verdicts": shares, "power": power})


def _sequential(num: int) -> Found:
    errors = methods.sequential_errors(num_studies=4 * num, seed=SEED)
    return Found(rates=methods.sequential_rates(errors, LONG_SIGMAS), data={"sequential": errors})


def _search(num: int) -> Found:
    rates = traps.search_rates(num_studies=num, seed=SEED, sigmas=LONG_SIGMAS)
    return Found(rates=rates, data={"search": traps.searches(num_studies=num, seed=SEED).differences})


def _noise(num: int) -> Found:
    rates = traps.sensitivity_rates(num_studies=num, seed=SEED, sigmas=LONG_SIGMAS)
    rates += traps.grid_rates(num_studies=num, seed=SEED, sigmas=LONG_SIGMAS)
    rates += traps.anchor_rates(num_studies=num, seed=SEED, sigmas=LONG_SIGMAS)
    by_ratio: dict[float, dict[str, float]] = {}
    for ratio in RATIOS:
        scenario = traps.noisy_scenario(ratio)
        by_ratio[ratio] = traps.false_positives(scenario, num_studies=num // 2, seed=SEED + 7)
    return Found(rates=rates, data={"noise": by_ratio})


def _designs(num: int) -> Found:
    return Found(rates=traps.design_rates(num_studies=num, seed=SEED, sigmas=LONG_SIGMAS, design_seed=SEED))


def _tuning(num: int) -> Found:
    return Found(data={"tuning": methods.tuning_coverage(BUDGETS, SEARCH, num_studies=num // 4, seed=SEED)})


def _intervals(kind: Any, n: int, num: int) -> Found:
    coverage = methods.interval_coverage(kind, n, num_studies=num, seed=SEED + n)
    rates = methods.interval_rates({n: coverage}, num, LONG_SIGMAS) if kind == "normal" else []
    return Found(rates=rates, data={"intervals": {kind: {n: coverage}}})


def warm(num: int) -> None:
    """Draw the design points of all jobs, for processes that are forked afterwards."""
    from tests.validation.tables import designs

    designs(20 * num, LAYOUT.points, SEED)
