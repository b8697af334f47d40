"""How much a factor matters (M9): spread of the loss over its levels, and the loss at its worst level.

Spread. With y_r the capped losses over the L levels in replicate r, the variance over levels of the expected loss is
estimated without the noise, by covariances between different replicates,

    sigma2_E = mean over r != s of cov_E(y_r, y_s) = (MS_levels - MS_levels:replicates) / R,

since the noise of two replicates is independent; the variance of level means would count noise as an effect of the
factor. cov_E divides by L - 1, as a balanced analysis of variance does; a Sobol' index has (L - 1)/L of it. The
values per replicate are the jackknife's pseudo-values, whose mean is the estimate.

The test is on variances, the scale is that of standard deviations. Differences are (pseudo-value of b - pseudo-value
of a) / D with D = sd_b + sd_a, so their mean is sd_b - sd_a in nats, and against 0 their t is that of the variances,
whatever D. D is no smaller than the root of the standard error, below which no spread can be told from none.
Measured, two-sided at 5 %, noise .3 against .05 nats, both sd .09: type-I error at R = 8, 10, 20 of .033, .044, .077
over four levels and .045, .058, .096 over three; at equal noise .013 to .055; without any effect of the factor at most
.04. Pseudo-values of signed roots, which seem simpler, reject .12 to .40 there, for a root has no slope at 0. The 95 %
intervals cover a true sd_b - sd_a of 0 or .1 in .93 to 1.00, and a difference as large as the bound of equivalence is
called equivalent in about .05, at noise .3 against .05 in up to .11.

Worst level. The level with the greatest mean over replicates, and the losses there. The choice on the same
replicates makes the noisier family look worse by a little, yet it is the best of what was tried: a level chosen on
the other replicates has no such bias, but its values depend on each other across replicates, so that a t-test
rejects .15 to .30 of true nulls. Here it is .01 to .05, and .05 to .08 where noise differs six-fold and no level is
worse than another.

Source: Sobol' 1993 (variance of a conditional expectation); Efron 1982 (jackknife); Searle et al. 1992, ch. 4.
"""

import numpy as np
import pandas as pd

from study.records import Phase
from study.statistics.contrast import Contrast, NotEvaluableError, difference
from study.statistics.metrics.factor_slice import by_level, slice_losses
from study.statistics.metrics.metric import Metric, Question
from study.statistics.trials import Trials

_FEWEST = 3
"""Replicates below which the covariance cannot be jackknifed."""


def factor_variance(rows: pd.DataFrame, *, factor: str) -> pd.Series:
    """Jackknife pseudo-values of the noise-free variance over a factor's levels.

    Args:
        rows: checked rows of one family's factor slice, every level in every replicate.
        factor: the hyperparameter that was varied.

    Returns:
        One value per replicate, in nats squared; the mean is the estimate, which may be negative.

    Raises:
        NotEvaluableError: fewer than three replicates.
    """
    return _pseudo_values(by_level(rows, factor))


def worst_level_loss(rows: pd.DataFrame, *, factor: str) -> pd.Series:
    """Loss in nats per replicate at the level whose mean loss over the replicates is greatest.

    Args:
        rows: checked rows of one family's factor slice, every level in every replicate.
        factor: the hyperparameter that was varied.
    """
    return _at_worst(by_level(rows, factor))


def _pseudo_values(losses_RL: pd.DataFrame) -> pd.Series:
    num_replicates, num_levels = losses_RL.shape
    if num_replicates < _FEWEST:
        raise NotEvaluableError(
            f"the spread over a factor needs {_FEWEST} replicates at least, and there are {num_replicates}"
        )
    values_RL = losses_RL.to_numpy(dtype=float)
    centred_RL = values_RL - values_RL.mean(axis=1, keepdims=True)
    total_L = centred_RL.sum(axis=0)
    squares_R = (centred_RL**2).sum(axis=1)

    def covariance(total: np.ndarray, squares: np.ndarray, number: int) -> np.ndarray:
        pairs = number * (number - 1) * (num_levels - 1)
        return np.asarray(((total**2).sum(axis=-1) - squares) / pairs)

    whole = covariance(total_L, squares_R.sum(), num_replicates)
    without_R = covariance(total_L - centred_RL, squares_R.sum() - squares_R, num_replicates - 1)
    return pd.Series(num_replicates * whole - (num_replicates - 1) * without_R, index=losses_RL.index)


def _at_worst(losses_RL: pd.DataFrame) -> pd.Series:
    return losses_RL[losses_RL.mean(axis=0).idxmax()]


def _sd_contrast(trials: Trials, question: Question) -> Contrast:
    losses = slice_losses(trials, question)
    a = _pseudo_values(losses.a)
    b = _pseudo_values(losses.b) if question.comparison.b else 0.0 * a
    sd_a, sd_b = (float(np.sqrt(max(0.0, values.mean()))) for values in (a, b))
    error = float((b - a).std(ddof=1)) / float(np.sqrt(len(a)))
    scale = max(sd_a + sd_b, float(np.sqrt(error)))
    if not scale > 0:
        scale = 1.0  # the losses are exactly equal over levels and replicates
    shift = sd_a * sd_b / scale  # moves each family's mean to its own sd and leaves the differences alone
    values = [v / scale + shift for v in (a, b)]
    return Contrast(
        differences=(b - a) / scale,
        unit="replicate",
        a_values=values[0],
        b_values=values[1] if question.comparison.b else None,
        notes=losses.notes,
    )


def _worst_contrast(trials: Trials, question: Question) -> Contrast:
    if not question.comparison.b:
        raise NotEvaluableError("the loss at the worst level is compared between two families")
    losses = slice_losses(trials, question)
    a, b = _at_worst(losses.a), _at_worst(losses.b)
    levels = (losses.a.mean(axis=0).idxmax(), losses.b.mean(axis=0).idxmax())
    words = [f"{level:g}" if isinstance(level, float) else str(level) for level in levels]
    comparison = question.comparison
    note = f"The worst level of {losses.factor} is {words[0]} for {comparison.a} and {words[1]} for {comparison.b}."
    return Contrast(
        differences=difference(a, b, better="less"),
        unit="replicate",
        a_values=a,
        b_values=b,
        notes=(*losses.notes, note),
    )


FACTOR_SD = Metric(
    name="factor_sd",
    title="spread of the loss",
    unit="nats",
    better="less",
    phase=Phase.FACTOR_SLICE,
    formula="sd over levels E of E[capped loss | E], from covariances between replicates",
    source="Sobol' 1993; Efron 1982; Searle, Casella, McCulloch 1992",
    needs=("factor",),
    contrast=_sd_contrast,
)
FACTOR_WORST = Metric(
    name="factor_worst",
    title="loss at the worst level",
    unit="nats",
    better="less",
    phase=Phase.FACTOR_SLICE,
    formula="max over levels E of E[capped loss | E]",
    source="Wald 1950 (minimax); this engine's choice of the plug-in level",
    needs=("factor",),
    contrast=_worst_contrast,
)
