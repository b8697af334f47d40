"""Expected best of k trials of one random search, by V- and U-statistics: descriptive only.

Both weigh the order statistics of n independent trials. The V-statistic resamples with replacement and is biased; the
U-statistic averages over all subsets of k trials and is unbiased for k <= n. Their bootstrap intervals cover .38
to .91 instead of .95 unless k is far below n, so none is given: where the budget matters, the claim is read over
replicates of the design (metric tuning_curve).

Source: Dodge et al. 2019 (V); Tang et al. 2020 (U). Lourie et al. 2024 compare them.
Shapes: N trials of one search, K budgets.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

Weights = NDArray[np.float64]
Weigh = Callable[[int, int], Weights]


def v_weights(num_trials: int, k: int) -> Weights:
    """Weight of the j-th worst trial in the V-statistic, (j/n)^k - ((j-1)/n)^k, shape (N,), worst first.

    Args:
        num_trials: n, 1 or more.
        k: trials that may be spent, 1 or more.

    Raises:
        ValueError: a number is below 1.
    """
    _check(num_trials, k)
    share = np.arange(num_trials + 1) / num_trials
    weights: Weights = np.diff(share**k)
    return weights


def u_weights(num_trials: int, k: int) -> Weights:
    """Weight of the j-th worst trial in the U-statistic, C(j-1, k-1) / C(n, k), shape (N,), worst first.

    A budget beyond n puts all weight on the best trial seen, which is no longer unbiased.

    Args:
        num_trials: n, 1 or more.
        k: trials that may be spent, 1 or more.

    Raises:
        ValueError: a number is below 1.
    """
    _check(num_trials, k)
    k = min(k, num_trials)
    j = np.arange(k, num_trials + 1)
    log_subsets = gammaln(j) - gammaln(j - k + 1)  # of C(j-1, k-1), up to a constant
    subsets: Weights = np.exp(log_subsets - log_subsets.max())
    return np.concatenate([np.zeros(k - 1), subsets / subsets.sum()])


def v_curve(scores: ArrayLike, ks: Sequence[int], *, better: str) -> NDArray[np.float64]:
    """Expected best of k trials drawn with replacement, shape (K,), in the scores' unit.

    Args:
        scores: one finite number per trial of a random search, shape (N,).
        ks: budgets in trials.
        better: `less` for losses, `greater` for scores.
    """
    return _curve(scores, ks, better, v_weights)


def u_curve(scores: ArrayLike, ks: Sequence[int], *, better: str) -> NDArray[np.float64]:
    """Expected best of k trials drawn without replacement, shape (K,), in the scores' unit.

    Args:
        scores: one finite number per trial of a random search, shape (N,).
        ks: budgets in trials.
        better: `less` for losses, `greater` for scores.
    """
    return _curve(scores, ks, better, u_weights)


def _curve(scores: ArrayLike, ks: Sequence[int], better: str, weigh: Weigh) -> NDArray[np.float64]:
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    worst_first = ordered[::-1] if better == "less" else ordered
    return np.array([weigh(worst_first.size, k) @ worst_first for k in ks])


def _check(num_trials: int, k: int) -> None:
    if num_trials < 1 or k < 1:
        raise ValueError(
            f"n = {num_trials}, k = {k}: a tuning curve needs one trial and a budget of one, at least."
        )
