"""M16: probabilities of practical difference, and almost stochastic order: descriptive only.

Neither controls an error rate that a claim could rest on. Where two families are alike, the larger of `a_better` and
`b_better` exceeds .95 in .1 to .2 of studies of 5 to 20 units; epsilon_min falls below .2, the threshold its authors
recommend, in .05, .03, .02 of studies of 5, 10, 20 units, and below .5 in .18, so .5 is never a threshold here.

Shapes: N units, S draws from the posterior or of the bootstrap.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from study.statistics.intervals import unit_values

_CHUNK = 5_000


@dataclass(frozen=True, kw_only=True)
class RopeProbabilities:
    """Posterior probability that each of three answers is the likeliest."""

    a_better: float
    """By more than the region of practical equivalence."""
    equal: float
    b_better: float
    rope: float
    """Half-width of the region, in the differences' unit."""


@dataclass(frozen=True, kw_only=True)
class StochasticOrder:
    """How far family a is from stochastically dominating family b."""

    violation: float
    """Share of the squared Wasserstein distance where a is worse: 0 is dominance, 1 is the reverse."""
    epsilon_min: float
    """Upper confidence limit of the violation, in [0, 1]; a is called almost dominant below .2."""
    level: float


def rope_probabilities(
    differences: ArrayLike, rope: float, *, prior: float = 0.5, seed: int = 0, draws: int = 50_000
) -> RopeProbabilities:
    """Bayesian signed-rank test with a region of practical equivalence.

    A Dirichlet process puts random weights on the differences z and on a pseudo-difference of 0; the answer of a draw
    is that with the most weight of pairs: (z_i + z_j)/2 above the region, in it, or below it.
    Source: Benavoli et al. 2014, 2017.

    Args:
        differences: one per unit, above 0 favours family a, shape (N,).
        rope: half-width of the region, 0 or more; with 0 no draw is called equal.
        prior: weight of the pseudo-difference.
        seed: of the draws.
        draws: number of draws, S.

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = np.concatenate([[0.0], unit_values(differences)])
    means_NN = (units[:, None] + units[None, :]) / 2
    above, below = (_beyond(sign * means_NN, rope) for sign in (1.0, -1.0))
    rng = np.random.default_rng(seed)
    strength = np.r_[prior, np.ones(units.size - 1)]
    wins = np.zeros(3)
    for start in range(0, draws, _CHUNK):
        weights_SN = rng.dirichlet(strength, min(_CHUNK, draws - start))
        shares = [
            np.einsum("sn,nm,sm->s", weights_SN, side, weights_SN, optimize=True) for side in (above, below)
        ]
        answers = np.column_stack(
            [shares[0], 1 - shares[0] - shares[1] if rope > 0 else -shares[0], shares[1]]
        )
        wins += np.bincount(answers.argmax(axis=1), minlength=3)
    a_better, equal, b_better = (float(count) / draws for count in wins)
    return RopeProbabilities(a_better=a_better, equal=equal, b_better=b_better, rope=rope)


def almost_stochastic_order(
    losses_a: ArrayLike, losses_b: ArrayLike, *, level: float = 0.95, seed: int = 0, resamples: int = 1_000
) -> StochasticOrder:
    """epsilon_min of almost stochastic order, families taken as independent samples.

    violation = integral over t with Q_a(t) > Q_b(t) of (Q_a - Q_b)^2, over the integral over all t, Q the quantile
    functions of the losses; epsilon_min adds the normal upper limit with a bootstrap standard error.
    Source: del Barrio et al. 2018; Dror et al. 2019; Ulmer et al. 2022.

    Args:
        losses_a: one loss per unit, lower is better.
        losses_b: the same for family b; the numbers of units may differ.
        level: confidence of the upper limit.
        seed: of the bootstrap.
        resamples: number of resamples, S.

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    a, b = unit_values(losses_a), unit_values(losses_b)
    violation = _violation(np.sort(a), np.sort(b))
    rng = np.random.default_rng(seed)
    factor = sqrt(a.size * b.size / (a.size + b.size))
    drawn = [
        _violation(np.sort(rng.choice(a, a.size)), np.sort(rng.choice(b, b.size))) for _ in range(resamples)
    ]
    error = float(np.std(factor * (np.array(drawn) - violation))) / factor
    upper = violation + float(stats.norm.ppf(level)) * error
    return StochasticOrder(violation=violation, epsilon_min=float(np.clip(upper, 0.0, 1.0)), level=level)


def _beyond(values: NDArray[np.float64], rope: float) -> NDArray[np.float64]:
    """1 above the region, 1/2 on its edge, 0 elsewhere."""
    return np.where(values == rope, 0.5, (values > rope).astype(np.float64))


def _violation(sorted_a: NDArray[np.float64], sorted_b: NDArray[np.float64]) -> float:
    """The violation ratio of two step quantile functions, exact; 1/2 for equal ones."""
    n, m = sorted_a.size, sorted_b.size
    ticks = np.unique(np.r_[np.arange(n + 1) * m, np.arange(m + 1) * n])  # in units of 1 / (n m)
    left = ticks[:-1]
    squared = (sorted_a[left // m] - sorted_b[left // n]) ** 2 * np.diff(ticks)
    whole = float(squared.sum())
    if whole == 0.0:
        return 0.5
    return float(squared[sorted_a[left // m] > sorted_b[left // n]].sum()) / whole
