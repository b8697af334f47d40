"""What each metric estimates on a known surface, by quadrature: no simulation but where it says so."""

from itertools import product

import numpy as np
from scipy import special

from tests.validation.surface import (
    BASE,
    INIT,
    LEVELS,
    STEPS,
    Array,
    Surface,
    capped_cdf,
    capped_mean,
    noise_cdf,
    noise_quantile,
)

NUM_DECADES = 3001
"""Nodes of the trapezoidal rule along the learning rate; the integrands are smooth at the scale of the noise."""


def loss_at(surface: Surface, decade: Array | float, **params: float) -> Array:
    """Expected capped loss in nats at 10**decade, a diverged trial counting as INIT."""
    decade = np.asarray(decade, dtype=float)
    expected = surface.expected(decade, {name: np.asarray(value) for name, value in params.items()})
    diverged = surface.divergence(decade)
    return diverged * INIT + (1 - diverged) * capped_mean(surface, expected)


def reach_at(surface: Surface, decade: Array | float, target: float, **params: float) -> Array:
    """Probability that a trial at 10**decade ends at or below `target` nats."""
    decade = np.asarray(decade, dtype=float)
    expected = surface.expected(decade, {name: np.asarray(value) for name, value in params.items()})
    return (1 - surface.divergence(decade)) * capped_cdf(surface, expected, target)


def cells() -> list[tuple[float, dict[str, float]]]:
    """Combinations of the discrete hyperparameters and their probabilities in the design."""
    found = []
    for experts, rank in product(LEVELS["num_experts"], LEVELS["rank"]):
        allowed = [k for k in LEVELS["top_k"] if k <= experts]
        weight = 1 / len(LEVELS["num_experts"]) / len(LEVELS["rank"]) / len(allowed)
        found += [(weight, {"num_experts": experts, "top_k": k, "rank": rank}) for k in allowed]
    return found


def _space(surface: Surface) -> Array:
    return np.linspace(surface.center + surface.span[0], surface.center + surface.span[1], NUM_DECADES)


def _mean(values: Array) -> float:
    return float(np.trapezoid(values) / (len(values) - 1))


def tuned_loss(surface: Surface) -> float:
    """Expected capped loss in nats of the tuned configuration (the centre)."""
    return float(loss_at(surface, surface.center))


def space_loss(surface: Surface) -> float:
    """Expected capped loss in nats over the space: V(1) of the tuning curve."""
    x = _space(surface)
    return sum(weight * _mean(loss_at(surface, x, **cell)) for weight, cell in cells())


def space_score(surface: Surface, reference: float) -> float:
    """Expected (INIT - loss) / (INIT - reference) over the space."""
    return (INIT - space_loss(surface)) / (INIT - reference)


def usable_mass(surface: Surface, target: float) -> float:
    """Share of the space and its seeds that ends at or below `target` nats."""
    x = _space(surface)
    return sum(weight * _mean(reach_at(surface, x, target, **cell)) for weight, cell in cells())


def divergence_rate(surface: Surface) -> float:
    """Share of the space that diverges."""
    return _mean(surface.divergence(_space(surface)))


def _window(window: tuple[float, float]) -> tuple[Array, float]:
    return np.linspace(*window, NUM_DECADES), window[1] - window[0]


def lr_width(surface: Surface, target: float, window: tuple[float, float]) -> float:
    """Expected usable width in decades: a grid with a uniform offset is unbiased for the integral."""
    x, length = _window(window)
    return length * _mean(reach_at(surface, x, target))


def basin_area(surface: Surface, window: tuple[float, float]) -> float:
    """Expected capped gain over initialisation, integrated over the window, in nats·decades."""
    x, length = _window(window)
    return length * _mean(INIT - loss_at(surface, x))


def misspecification(surface: Surface, decades: float, step: float) -> float:
    """Second difference of the learning-rate curve at the centre, as read off a grid with a uniform offset, in nats.

    Losses between grid points are interpolated linearly, which over the offset averages the curve with a triangle of
    half-width `step` decades.
    """
    t = np.linspace(-1.0, 1.0, 2001)
    weights = (1 - np.abs(t)) / (1 - np.abs(t)).sum()

    def read_off(distance: float) -> float:
        return float(weights @ loss_at(surface, surface.center + distance + step * t))

    off = (read_off(decades) + read_off(-decades)) / 2
    return off - (read_off(-step) + read_off(0.0) + read_off(step)) / 3


def tuning_curve_of_two(surface: Surface) -> float:
    """Expected capped loss in nats of the better of two design points by select loss: V(2) of the tuning curve.

    For a surface of the learning rate alone, with normal noise: the second point of a scrambled Sobol' net lies
    uniformly in that half of the learning rates in which the first one does not.
    """
    if any(surface.slopes.values()) or surface.noise_kind != "normal" or surface.replicate_noise:
        raise ValueError("The tuning curve of two points is known for normal noise and no other terms.")
    low, high = (surface.center + end for end in surface.span)
    x = np.linspace(low, high, 802)
    halves = [(part[:-1] + part[1:]) / 2 for part in (x[:402], x[401:])]
    (mean_1, lost_1), (mean_2, lost_2) = ((surface.expected(h), surface.divergence(h)) for h in halves)
    alone_1, alone_2 = (capped_mean(surface, mean) for mean in (mean_1, mean_2))
    won = _chosen(surface, mean_1[:, None], mean_2[None, :]) + _chosen(
        surface, mean_2[None, :], mean_1[:, None]
    )
    p_1, p_2 = 1 - lost_1[:, None], 1 - lost_2[None, :]
    loss = p_1 * p_2 * won + p_1 * (1 - p_2) * alone_1[:, None] + (1 - p_1) * p_2 * alone_2[None, :]
    return float((loss + (1 - p_1) * (1 - p_2) * INIT).mean())


def _chosen(surface: Surface, mean: Array, other: Array) -> Array:
    """E[capped loss; its select loss is below the other's] of independent trials with these expected losses."""
    sd = float(np.hypot(surface.noise, surface.normal_sd))
    rest = float(np.sqrt(sd**2 + 2 * surface.select_noise**2))
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    parts = [
        weight * np.minimum(mean + sd * node, INIT) * special.ndtr((other - mean - sd * node) / rest)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True)
    ]
    return np.asarray(np.sum(parts, axis=0))


def win_probability(a: Surface, b: Surface) -> float:
    """P(loss_a < loss_b) + P(loss_a = loss_b) / 2 at the tuned configurations, seed by seed.

    Both take the same draw of the shared noise; a trial that diverges or exceeds the cap has the loss INIT.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    weights = weights / weights.sum()
    q = (np.arange(2000) + 0.5) / 2000
    total = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        losses_b = np.concatenate(
            [
                b.floor + b.shared_noise * node + b.noise * noise_quantile(b.noise_kind, q) + extra
                for extra in _replicate_nodes(b)[0]
            ]
        )
        mass_b = np.repeat(_replicate_nodes(b)[1], len(q)) / len(q)
        total += weight * _win(a, b, node, losses_b, mass_b)
    return total


def _win(a: Surface, b: Surface, node: float, losses_b: Array, mass_b: Array) -> float:
    """The win probability given the shared noise."""
    extras, extra_weights = _replicate_nodes(a)

    def below(y: Array) -> Array:
        shift = a.floor + a.shared_noise * node
        parts = [
            w * noise_cdf(a.noise_kind, (y - shift - extra) / a.noise)
            for extra, w in zip(extras, extra_weights, strict=True)
        ]
        return np.asarray(np.sum(parts, axis=0))

    lost_a, lost_b = (float(s.divergence(np.asarray(s.center))) for s in (a, b))
    capped_b = lost_b + (1 - lost_b) * float(mass_b[losses_b >= INIT].sum())
    capped_a = lost_a + (1 - lost_a) * (1 - float(below(np.array([INIT]))[0]))
    inside = losses_b < INIT
    wins = (1 - lost_a) * (1 - lost_b) * float((mass_b[inside] * below(losses_b[inside])).sum())
    return wins + capped_b * (1 - capped_a) + capped_a * capped_b / 2


def _replicate_nodes(surface: Surface) -> tuple[Array, Array]:
    if surface.replicate_noise == 0:
        return np.zeros(1), np.ones(1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    return surface.replicate_noise * nodes, weights / weights.sum()


def factor_losses(surface: Surface, factor: str) -> Array:
    """Expected capped loss in nats at each level of a factor, all else tuned."""
    return np.array([float(loss_at(surface, surface.center, **{factor: level})) for level in LEVELS[factor]])


def factor_trend(surface: Surface, factor: str) -> float:
    """Least-squares slope of the expected capped loss per doubling of the factor, in nats."""
    x = np.log2(np.array(LEVELS[factor]) / BASE[factor])
    return float(np.polyfit(x, factor_losses(surface, factor), 1)[0])


def steps_to_target(surface: Surface, target: float, evaluated: Array) -> float:
    """Expected steps until the loss is first at or below `target` at an evaluation, at most STEPS.

    A curve without noise of its own falls from INIT to the final loss, so the loss at step t is at or below the target
    exactly where the final loss is at or below INIT - (INIT - target) / progress(t).
    """
    lost = float(surface.divergence(np.asarray(surface.center)))
    reached = [
        (1 - lost) * float(capped_cdf(surface, np.asarray(surface.floor), INIT - (INIT - target) / done))
        for done in surface.progress(evaluated)
    ]
    lengths = np.diff(np.concatenate([[0.0], evaluated]))
    not_yet = 1 - np.concatenate([[0.0], reached])[: len(lengths)]
    late = 1 - reached[-1]
    return float((lengths * not_yet).sum() + late * (STEPS - evaluated[-1]))
