"""Methods that the engine uses beside those that it leaves: intervals of a mean, bands of a tuning curve, peeking."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from scipy import special, stats

from study.statistics.intervals import bootstrap_t_interval
from study.statistics.sequential import nominal_levels, t_mixture_log_e
from tests.validation.bands import Rate, around, at_most
from tests.validation.surface import Array, NoiseKind, Surface, draw_noise

ALPHA = 0.05
LOOKS = (10, 20, 30)
RESAMPLES = 1000
LEFT_OUT = frozenset({"percentile", "BCa"})
FEW = frozenset({5, 10})
"""Units with which those must be seen to cover too rarely."""
NEARLY = 0.02
"""How far below its level the bootstrap-t, which is approximate, may cover."""


def interval_coverage(kind: NoiseKind, n: int, *, num_studies: int, seed: int) -> dict[str, float]:
    """Share of 95 % intervals of a mean of n units that hold it, by method."""
    rng = np.random.default_rng(seed)
    drawn = draw_noise(kind, (num_studies, n), rng)
    error = drawn.std(axis=1, ddof=1) / np.sqrt(n)
    half = special.stdtrit(n - 1, 1 - ALPHA / 2) * error
    boot_t = [bootstrap_t_interval(row, 1 - ALPHA) for row in drawn]
    return {
        "t": float((np.abs(drawn.mean(axis=1)) <= half).mean()),
        "bootstrap-t": float(np.mean([one.low <= 0 <= one.high for one in boot_t])),
        "percentile": _scipy_coverage(drawn, "percentile", rng),
        "BCa": _scipy_coverage(drawn, "BCa", rng),
    }


def _scipy_coverage(drawn: Array, method: str, rng: np.random.Generator) -> float:
    hits = []
    for rows in np.array_split(drawn, max(1, len(drawn) // 100)):
        found = stats.bootstrap(
            (rows,),
            np.mean,
            axis=1,
            n_resamples=RESAMPLES,
            confidence_level=1 - ALPHA,
            method=method,
            rng=rng,
        ).confidence_interval
        hits.append((found.low <= 0) & (found.high >= 0))
    return float(np.concatenate(hits).mean())


def interval_rates(
    coverage: Mapping[int, Mapping[str, float]], num_studies: int, sigmas: float
) -> list[Rate]:
    """V2 for the methods themselves, on normal differences: t covers, percentile and BCa do not."""
    rates = []
    for n, by_method in coverage.items():
        for method, share in by_method.items():
            low, high = around(1 - ALPHA, num_studies, sigmas)
            note = ""
            if method in LEFT_OUT:
                low, high, note = (0.0, low, "left out of the engine for it") if n in FEW else (0.0, 1.0, "")
            elif method == "bootstrap-t":
                low, note = low - NEARLY, f"approximate: up to {NEARLY} lower"
            rates.append(
                Rate(
                    cell="V2",
                    scenario="methods, normal differences",
                    what=f"coverage of the {method} interval",
                    observed=share,
                    low=low,
                    high=high,
                    num=num_studies,
                    n=n,
                    note=note,
                )
            )
    return rates


def sequential_errors(*, num_studies: int, seed: int) -> dict[str, Array]:
    """False rejections among studies read again and again up to 30 seeds: (studies,) booleans by rule."""
    rng = np.random.default_rng(seed)
    n_max = LOOKS[-1]
    drawn = rng.standard_normal((num_studies, n_max))
    count = np.arange(1, n_max + 1)
    mean = np.cumsum(drawn, axis=1) / count
    squares = np.cumsum(drawn**2, axis=1) - count * mean**2
    sd = np.sqrt(np.maximum(squares[:, 1:], 1e-300) / count[:-1])
    t = np.abs(mean[:, 1:]) * np.sqrt(count[1:]) / sd
    p = 2 * special.stdtr(count[:-1], -t)
    at = [look - 2 for look in LOOKS]
    levels = np.array(nominal_levels(LOOKS, ALPHA, "obf"))
    log_e = np.array(
        [[t_mixture_log_e(row[:k]) for k in range(5, n_max + 1)] for row in drawn[: num_studies // 4]]
    )
    return {
        "one look at 30": p[:, -1] <= ALPHA,
        "peeking after every seed from 5": (p[:, 3:] <= ALPHA).any(axis=1),
        "peeking at 10, 20 and 30": (p[:, at] <= ALPHA).any(axis=1),
        "O'Brien-Fleming at 10, 20 and 30": (p[:, at] <= levels).any(axis=1),
        "e-value after every seed from 5": (log_e >= np.log(1 / ALPHA)).any(axis=1),
    }


def sequential_rates(errors: Mapping[str, Array], sigmas: float) -> list[Rate]:
    """V6: registered looks and the e-value keep the level, peeking does not."""
    rates = []
    for what, hit in errors.items():
        wrong = what.startswith("peeking")
        bound = at_most if what.startswith("e-value") else around
        low, high = bound(ALPHA, len(hit), sigmas)
        rates.append(
            Rate(
                cell="V6",
                scenario="no effect, up to 30 seeds",
                what=what,
                observed=float(hit.mean()),
                low=high if wrong else low,
                high=1.0 if wrong else high,
                num=len(hit),
                note="wrong on purpose" if wrong else "",
            )
        )
    return rates


def tuning_coverage(
    ks: tuple[int, ...], n: int, *, num_studies: int, seed: int, replicates: int = 10
) -> dict[str, dict[int, float]]:
    """Coverage of 95 % intervals of the expected best of k random trials, by method and k.

    `bootstrap` resamples the n trials of one search, as is usual for expected validation performance;
    `replicates` takes the t-interval of the best of k over independent searches of k trials each.
    """
    rng = np.random.default_rng(seed)
    population = np.sort(_search_losses(rng, 400_000))
    bootstrap, over_replicates = {}, {}
    for k in ks:
        truth = _expected_best(population, k)
        hits = []
        for _ in range(num_studies):
            losses = rng.choice(population, n)
            drawn = np.sort(rng.choice(losses, (RESAMPLES, n)), axis=1)
            curve = drawn @ _best_weights(n, k)
            low, high = np.quantile(curve, [ALPHA / 2, 1 - ALPHA / 2])
            hits.append(low <= truth <= high)
        bootstrap[k] = float(np.mean(hits))
        best = rng.choice(population, (num_studies, replicates, k)).min(axis=2)
        half = special.stdtrit(replicates - 1, 1 - ALPHA / 2) * best.std(axis=1, ddof=1) / np.sqrt(replicates)
        over_replicates[k] = float((np.abs(best.mean(axis=1) - truth) <= half).mean())
    return {"bootstrap of one search": bootstrap, "replicated searches": over_replicates}


def _search_losses(rng: np.random.Generator, number: int) -> Array:
    surface = Surface(name="a", slopes={})
    decade = surface.center + rng.uniform(*surface.span, number)
    losses = surface.expected(decade) + surface.noise * rng.standard_normal(number)
    losses[rng.random(number) < surface.divergence(decade)] = np.inf
    return np.minimum(losses, 3.0)


def _expected_best(ordered: Array, k: int) -> float:
    """E[least of k draws] from a large ordered population."""
    n = len(ordered)
    above = (1 - np.arange(n + 1) / n) ** k
    return float(ordered @ (above[:-1] - above[1:]))


@lru_cache(maxsize=64)
def _best_weights(n: int, k: int) -> Array:
    """Weights of the ordered losses in the expected least of k draws with replacement."""
    above = (1 - np.arange(n + 1) / n) ** k
    return np.asarray(above[:-1] - above[1:])
