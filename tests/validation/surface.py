"""The ground truth of the validation: trials whose expected loss is known exactly.

A family's loss is a basin in the logarithm of the learning rate, mild terms in the other hyperparameters, and noise:

    loss = floor + (INIT - floor) * rise((log10 lr - center) / width) + terms + noise,  capped at INIT by the analysis

`rise` is z^2, and for a cliff (4 z)^2 above the centre. Beyond a random learning rate a trial diverges. Noise has three
parts: one shared by the families of a pair (the seed's), one of the replicate, and one of the trial, which alone may be
heavy-tailed. Expectations under the cap have closed forms here; `estimands` integrates them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]
INIT = 3.0
"""Loss in nats at initialisation, the cap."""
STEPS = 27
"""Optimizer steps of a trial; rungs of successive halving at 1, 3 and 9."""
BASE = {"num_experts": 8.0, "top_k": 2.0, "rank": 8.0}
"""Where the terms of the other hyperparameters are 0."""
LEVELS: Mapping[str, tuple[int, ...]] = {
    "num_experts": (2, 4, 8, 16),
    "top_k": (2, 4, 8),
    "rank": (4, 8, 16, 32),
}
"""Choices of the other hyperparameters; top_k never exceeds num_experts."""
CLIFF = 4.0
"""How much faster a cliff rises above its centre."""
LOG_SD = 0.8
"""Standard deviation of the logarithm of lognormal noise."""
T_NU = 5.0
"""Degrees of freedom of heavy-tailed noise."""
NoiseKind = Literal["normal", "t5", "lognormal"]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """One family's ground truth. Losses and noises in nats, learning rates in decades (log10)."""

    name: str
    center: float = -2.0
    """Decade of the best learning rate."""
    width: float = 2.0
    """Decades from the centre to where the expected loss reaches the loss at initialisation."""
    shape: Literal["quadratic", "cliff"] = "quadratic"
    floor: float = 1.0
    slopes: Mapping[str, float] = field(default_factory=lambda: {"num_experts": 0.01, "rank": -0.01})
    """Nats per doubling of another hyperparameter."""
    noise: float = 0.05
    """Standard deviation of the trial's own noise."""
    noise_kind: NoiseKind = "normal"
    shared_noise: float = 0.03
    """Standard deviation of what the families of a pair share."""
    replicate_noise: float = 0.0
    """Standard deviation of what the trials of a family share within a replicate."""
    select_noise: float = 0.02
    """Standard deviation by which the select split's loss differs from the report split's."""
    diverge_above: float = 1.5
    """Decades above the centre at which half of the trials diverge; infinite: none does."""
    diverge_spread: float = 0.15
    """Scale in decades of the logistic threshold."""
    speed: float = 3.0
    """How fast a trial learns: the loss falls as exp(-speed * step / STEPS), rescaled to end at the final loss."""
    span: tuple[float, float] = (-3.0, 3.0)
    """The family's space around its centre, in decades."""

    def expected(self, decade: Array, params: Mapping[str, Array] | None = None) -> Array:
        """Expected loss in nats without cap and divergence, at learning rates 10**decade."""
        z = (decade - self.center) / self.width
        steep = CLIFF if self.shape == "cliff" else 1.0
        loss = self.floor + (INIT - self.floor) * np.where(z > 0, steep * z, z) ** 2
        for name, values in (params or {}).items():
            loss = loss + self.slopes.get(name, 0.0) * np.log2(values / BASE[name])
        return np.asarray(loss)

    def divergence(self, decade: Array) -> Array:
        """Probability that a trial diverges."""
        distance = np.asarray(decade) - self.center - self.diverge_above
        return np.asarray(special.expit(distance / self.diverge_spread))

    def progress(self, step: Array | float) -> Array:
        """Share of the way from the loss at initialisation to the final loss that is done after `step` steps."""
        done = np.asarray(step, dtype=float) / STEPS
        return np.asarray(np.expm1(-self.speed * done) / np.expm1(-self.speed))

    @property
    def normal_sd(self) -> float:
        """Standard deviation of the normal part of the noise, in nats."""
        return float(np.hypot(self.shared_noise, self.replicate_noise))


def draw_noise(kind: NoiseKind, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Noise with mean 0 and standard deviation 1."""
    if kind == "normal":
        return rng.standard_normal(shape)
    if kind == "t5":
        return np.asarray(rng.standard_t(T_NU, shape) * np.sqrt((T_NU - 2) / T_NU))
    mean, sd = _lognormal_moments()
    return (np.exp(LOG_SD * rng.standard_normal(shape)) - mean) / sd


def noise_cdf(kind: NoiseKind, z: Array) -> Array:
    """P(noise <= z) for noise with mean 0 and standard deviation 1."""
    if kind == "normal":
        return np.asarray(special.ndtr(z))
    if kind == "t5":
        return np.asarray(stats.t.cdf(z * np.sqrt(T_NU / (T_NU - 2)), T_NU))
    mean, sd = _lognormal_moments()
    x = mean + sd * np.asarray(z)
    return np.where(x > 0, special.ndtr(np.log(np.maximum(x, 1e-300)) / LOG_SD), 0.0)


def noise_quantile(kind: NoiseKind, q: Array) -> Array:
    """Inverse of `noise_cdf`."""
    if kind == "normal":
        return np.asarray(special.ndtri(q))
    if kind == "t5":
        return np.asarray(stats.t.ppf(q, T_NU) * np.sqrt((T_NU - 2) / T_NU))
    mean, sd = _lognormal_moments()
    return (np.exp(LOG_SD * special.ndtri(q)) - mean) / sd


def noise_shortfall(kind: NoiseKind, k: Array) -> Array:
    """E[max(k - noise, 0)] for noise with mean 0 and standard deviation 1, in closed form."""
    k = np.asarray(k, dtype=float)
    if kind == "normal":
        return np.asarray(k * special.ndtr(k) + stats.norm.pdf(k))
    if kind == "t5":
        scale = np.sqrt((T_NU - 2) / T_NU)
        t = k / scale
        return np.asarray(
            scale * (t * stats.t.cdf(t, T_NU) + stats.t.pdf(t, T_NU) * (T_NU + t**2) / (T_NU - 1))
        )
    mean, sd = _lognormal_moments()
    x = mean + sd * k
    d = np.log(np.maximum(x, 1e-300)) / LOG_SD
    inside = x * special.ndtr(d) - mean * special.ndtr(d - LOG_SD)
    return np.where(x > 0, inside / sd, 0.0)


def _lognormal_moments() -> tuple[float, float]:
    mean = float(np.exp(LOG_SD**2 / 2))
    return mean, float(mean * np.sqrt(np.expm1(LOG_SD**2)))


def capped_mean(surface: Surface, expected: Array) -> Array:
    """E[min(loss, INIT)] of trials that do not diverge, from their expected uncapped loss."""
    return _over_normal_part(surface, expected, _capped_inner)


def capped_cdf(surface: Surface, expected: Array, target: float) -> Array:
    """P(loss <= target) of trials that do not diverge, for a target below the cap."""

    def inner(kind: NoiseKind, scale: float, mean: Array) -> Array:
        return noise_cdf(kind, (target - mean) / scale)

    return _over_normal_part(surface, expected, inner)


def _capped_inner(kind: NoiseKind, scale: float, mean: Array) -> Array:
    return INIT - scale * noise_shortfall(kind, (INIT - mean) / scale)


def _over_normal_part(surface: Surface, expected: Array, inner: object) -> Array:
    """Average `inner(kind, scale, mean)` over the normal part of the noise; one call where all of it is normal."""
    expected = np.asarray(expected, dtype=float)
    if surface.noise_kind == "normal" or surface.noise == 0:
        scale = max(float(np.hypot(surface.noise, surface.normal_sd)), 1e-12)
        return np.asarray(inner("normal", scale, expected))  # type: ignore[operator]
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    parts = [
        weight * inner(surface.noise_kind, surface.noise, expected + surface.normal_sd * node)  # type: ignore[operator]
        for node, weight in zip(nodes, weights / weights.sum(), strict=True)
    ]
    return np.asarray(np.sum(parts, axis=0))
