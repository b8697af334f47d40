"""Successive halving of many studies at once, and what one would estimate from its trials."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.validation.surface import INIT, STEPS, Array, Surface, draw_noise

RUNGS = (1, 3, 9)
"""Optimizer steps at which a trial may be stopped, of `STEPS`."""
REDUCTION = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Searched:
    """The search trials of one family in many studies; every array is (studies, trials)."""

    losses: Array
    """Loss at each rung and at the end, (studies, trials, rungs + 1), whether or not the trial got there."""
    reached: NDArray[np.int64]
    """Index of the last of those that the trial reached."""

    @property
    def final(self) -> Array:
        """Loss at full budget, known of a stopped trial only to the simulator."""
        return self.losses[:, :, -1]

    @property
    def survived(self) -> NDArray[np.bool_]:
        """Which trials had their full budget."""
        return self.reached == self.losses.shape[2] - 1

    @property
    def last_reported(self) -> Array:
        """Loss at the last rung reached."""
        return np.take_along_axis(self.losses, self.reached[:, :, None], axis=2)[:, :, 0]


def search_losses(surface: Surface, num_studies: int, trials: int, rng: np.random.Generator) -> Array:
    """Capped losses of random search trials at the rungs and at the end, (studies, trials, rungs + 1)."""
    shape = (num_studies, trials)
    decade = surface.center + rng.uniform(*surface.span, shape)
    noise = surface.noise * draw_noise(surface.noise_kind, shape, rng)
    final = np.minimum(surface.expected(decade) + noise, INIT)
    final[rng.random(shape) < surface.divergence(decade)] = INIT
    progress = surface.progress(np.array([*RUNGS, STEPS]))
    wobble = surface.noise * draw_noise(surface.noise_kind, (*shape, len(progress)), rng)
    wobble[:, :, -1] = 0.0
    return np.minimum(INIT - (INIT - final[:, :, None]) * progress + wobble, INIT)


def halve(losses: Array, reduction: int = REDUCTION) -> Searched:
    """Stop trials as `study.halving` does, in planned order.

    At a rung a trial is compared with those before it that were let through the rungs below: it is stopped where its
    loss exceeds their (100 / reduction) percentile. The first one always goes on.

    Args:
        losses: (studies, trials, rungs + 1).
        reduction: one in `reduction` trials goes on.
    """
    num_studies, trials, points = losses.shape
    reached = np.zeros((num_studies, trials), dtype=np.int64)
    recorded = np.full((points - 1, num_studies, trials), np.inf)
    counts = np.zeros((points - 1, num_studies), dtype=np.int64)
    everyone = np.arange(num_studies)
    for trial in range(trials):
        alive = np.ones(num_studies, dtype=bool)
        for rung in range(points - 1):
            value = losses[:, trial, rung]
            cutoff = _percentile(recorded[rung, :, :trial], counts[rung], 1 / reduction)
            recorded[rung, everyone[alive], counts[rung, alive]] = value[alive]
            counts[rung, alive] += 1
            alive &= ~(value > cutoff)
            reached[alive, trial] = rung + 1
    return Searched(losses=losses, reached=reached)


def _percentile(values: Array, counts: NDArray[np.int64], q: float) -> Array:
    """Linear percentile of each row's first `counts` values; infinite where there are none."""
    if values.shape[1] == 0:
        return np.full(len(counts), np.inf)
    ordered = np.sort(values, axis=1)
    at = np.maximum(counts - 1, 0) * q
    low = np.floor(at).astype(int)[:, None]
    high = np.minimum(low + 1, np.maximum(counts - 1, 0)[:, None])
    below, above = (np.take_along_axis(ordered, index, axis=1)[:, 0] for index in (low, high))
    with np.errstate(invalid="ignore"):
        between = below + (above - below) * (at - low[:, 0])
    return np.where(counts > 0, between, np.inf)


def estimates(found: Searched, audit: float, rng: np.random.Generator) -> dict[str, Array]:
    """A family's mean loss by each analysis of its search, one figure a study; NaN where nobody survived.

    Args:
        found: the searched trials.
        audit: probability with which a stopped trial is trained on to its full budget all the same.
        rng: decides who is audited.
    """
    survived = found.survived
    audited = ~survived & (rng.random(survived.shape) < audit)
    weights = np.where(survived, 1.0, np.where(audited, 1 / audit, 0.0))
    with np.errstate(invalid="ignore"):
        survivors = np.where(survived, found.final, 0.0).sum(axis=1) / survived.sum(axis=1)
    return {
        "last reported loss": found.last_reported.mean(axis=1),
        "survivors only": survivors,
        "common rung": found.losses[:, :, 0].mean(axis=1),
        "audit": (weights * found.final).sum(axis=1) / weights.sum(axis=1),
        "full budget": found.final.mean(axis=1),
    }
