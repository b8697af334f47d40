"""The pairs of families under which every metric is tried, and the question that is asked of each metric.

A question's truth is what its contrast estimates, oriented as the contrast is. Where the families differ in noise or
shape, that truth is not exactly 0, and the test of "no difference" becomes the test of the truth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from study.statistics.claims import Comparison, Direction, Part
from study.statistics.metrics import METRICS, Question
from tests.validation import estimands
from tests.validation.surface import Surface
from tests.validation.tables import EVALUATED, WORKLOAD, Layout

TARGET = 1.15
"""Target loss in nats: 7 % of the way from the floor to the loss at initialisation."""
STEPS_TARGET = 1.3
"""Reached at the fourth or the fifth of the six evaluations, as the seed has it."""
DECADES = 1.0
K = 2
"""Budget of the tuning curve."""
MATCHED = "matched"
"""Claim whose slice holds family b at family a's hyperparameters."""
PERTURBATION = "dropped"
LAYOUT = Layout(
    matched={MATCHED: ("a", "b", lambda lr: lr)},
    perturbations={PERTURBATION: {"a": 0.2, "b": 0.2}},
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One metric's question."""

    metric: str
    truth: Callable[[Surface, Surface], float]
    """What the mean difference estimates, minus the value of no difference."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the part."""
    tau: float | None = None
    curves: bool = False
    whole: bool = True
    """Whether a unit's value depends on that unit alone, so that many studies may be measured as one table."""
    conservative: bool = False
    """Whether it may reject less often than its level: few values or many ties, or the largest p of several tests."""
    at: bool = False
    flat: bool = False
    """Whether its truth is known only without terms in the other hyperparameters."""

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases that must be simulated."""
        own = str(METRICS[self.metric].phase)
        needs_tuned = self.metric in {"space_score", "misspecification_cost"}
        return (own, "confirmation") if needs_tuned else (own,)

    def question(self) -> Question:
        """Family a against family b."""
        better = METRICS[self.metric].better
        part = Part(metric=self.metric, direction=Direction(better), **self.settings)
        comparison = Comparison(a="a", b="b", at=(lambda params: params) if self.at else None)
        return Question(comparison=comparison, part=part, workload=WORKLOAD, claim=MATCHED, tau=self.tau)


def _less(estimand: Callable[[Surface], float]) -> Callable[[Surface, Surface], float]:
    return lambda a, b: estimand(b) - estimand(a)


def _greater(estimand: Callable[[Surface], float]) -> Callable[[Surface, Surface], float]:
    return lambda a, b: estimand(a) - estimand(b)


def _score(a: Surface, b: Surface) -> float:
    reference = estimands.tuned_loss(b)
    return estimands.space_score(a, reference) - estimands.space_score(b, reference)


def _factor_sd(surface: Surface) -> float:
    return float(estimands.factor_losses(surface, "rank").std(ddof=1))


def _steps(surface: Surface) -> float:
    """Curves end at the select loss, whose own noise is normal."""
    noisier = replace(surface, shared_noise=float(np.hypot(surface.shared_noise, surface.select_noise)))
    return estimands.steps_to_target(noisier, STEPS_TARGET, EVALUATED)


def _none(_a: Surface, _b: Surface) -> float:
    return 0.0


def _win(a: Surface, b: Surface) -> float:
    return estimands.win_probability(a, b) - 0.5


ASKED: Mapping[str, Asked] = MappingProxyType(
    {
        asked.metric: asked
        for asked in (
            Asked(metric="tuned_loss", truth=_less(estimands.tuned_loss)),
            Asked(metric="win_probability", truth=_win, conservative=True),
            Asked(metric="space_score", truth=_score, whole=False),
            Asked(
                metric="usable_mass",
                truth=_greater(lambda s: estimands.usable_mass(s, TARGET)),
                tau=TARGET,
                conservative=True,
            ),
            Asked(
                metric="lr_width",
                truth=_greater(lambda s: estimands.lr_width(s, TARGET, LAYOUT.window)),
                tau=TARGET,
                conservative=True,
            ),
            Asked(metric="basin_area", truth=_greater(lambda s: estimands.basin_area(s, LAYOUT.window))),
            Asked(
                metric="misspecification_cost",
                truth=_less(lambda s: estimands.misspecification(s, DECADES, LAYOUT.step_decades)),
                settings={"decades": DECADES},
                conservative=True,
            ),
            Asked(metric="divergence_rate", truth=_less(estimands.divergence_rate), conservative=True),
            Asked(
                metric="factor_sd",
                truth=_less(_factor_sd),
                settings={"factor": "rank"},
                whole=False,
                conservative=True,
            ),
            Asked(
                metric="factor_worst",
                truth=_less(lambda s: float(estimands.factor_losses(s, "rank").max())),
                settings={"factor": "rank"},
                whole=False,
                conservative=True,
            ),
            Asked(
                metric="factor_trend",
                truth=_less(lambda s: estimands.factor_trend(s, "rank")),
                settings={"factor": "rank"},
            ),
            Asked(metric="seed_abs_dev", truth=_none, whole=False),
            Asked(
                metric="tuning_curve",
                truth=_less(estimands.tuning_curve_of_two),
                settings={"k": K},
                flat=True,
                conservative=True,
            ),
            Asked(
                metric="steps_to_target",
                truth=_less(_steps),
                tau=STEPS_TARGET,
                curves=True,
                conservative=True,
            ),
            Asked(metric="matched_loss", truth=_less(estimands.space_loss), at=True),
            Asked(
                metric="perturbation_drop",
                truth=_none,
                settings={"perturbation": PERTURBATION},
            ),
        )
    }
)
"""One question a testable metric."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Two families, and which metrics have a known truth under them."""

    name: str
    a: Surface
    b: Surface
    without: frozenset[str] = frozenset()
    """Metrics without a known truth here, or whose question has another sense."""
    skewed: frozenset[str] = frozenset()
    """Metrics whose differences are so skewed that the t-test is known to be off its level."""
    tied: frozenset[str] = frozenset()
    """Metrics of which five differences may all be equal, which makes an interval a point."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those that are judged."""
        return tuple(name for name in ASKED if name not in self.without)

    def surfaces(self, asked: Asked) -> tuple[Surface, Surface]:
        """The families as a metric meets them."""
        if not asked.flat:
            return self.a, self.b
        return replace(self.a, slopes={}), replace(self.b, slopes={})

    def truth(self, asked: Asked) -> float:
        """What the mean difference estimates, minus the value of no difference."""
        a, b = self.surfaces(asked)
        if replace(a, name="", center=0.0) == replace(b, name="", center=0.0):
            return 0.0
        return float(asked.truth(a, b))


_A = Surface(name="a", slopes={"num_experts": 0.02, "rank": -0.03, "top_k": 0.01})


def _twin(surface: Surface, **changes: Any) -> Surface:
    return replace(surface, name="b", **changes)


_CLIFF = replace(_A, shape="cliff", diverge_above=0.4)
_OF_LEARNING_RATES = frozenset(
    {
        "usable_mass",
        "lr_width",
        "basin_area",
        "misspecification_cost",
        "divergence_rate",
        "tuning_curve",
        "space_score",
    }
)
_T5 = replace(_A, noise=0.15, noise_kind="t5")
_LOGNORMAL = replace(_A, noise=0.15, noise_kind="lognormal")
SAME = Scenario(name="same family twice", a=_A, b=_twin(_A))
NULLS: tuple[Scenario, ...] = (
    SAME,
    Scenario(
        name="shifted learning rate",
        a=_A,
        b=_twin(_A, center=_A.center + 0.33),
        without=frozenset({"matched_loss"}),
    ),
    Scenario(
        name="cliff, shifted",
        a=_CLIFF,
        b=_twin(_CLIFF, center=_CLIFF.center + 0.33),
        without=frozenset(ASKED) - _OF_LEARNING_RATES,
    ),
    Scenario(
        name="unequal noise",
        a=_A,
        b=_twin(_A, noise=0.15),
        without=frozenset({"seed_abs_dev", "factor_worst"}),
    ),
    Scenario(name="heavy tails (t5)", a=_T5, b=_twin(_T5)),
    Scenario(name="skewed noise (lognormal)", a=_LOGNORMAL, b=_twin(_LOGNORMAL)),
)
"""Cell V1."""

_WIDE = replace(_A, width=2.6, floor=0.97, diverge_above=1.9)
_COVERED = frozenset(ASKED) - {
    "tuned_loss",
    "win_probability",
    "space_score",
    "usable_mass",
    "lr_width",
    "basin_area",
    "divergence_rate",
    "tuning_curve",
}
DIFFERENT = Scenario(
    name="wider basin, lower floor",
    a=_WIDE,
    b=_twin(_A),
    without=_COVERED,
    skewed=frozenset({"tuning_curve"}),
    tied=frozenset({"lr_width"}),
)
SKEWED = Scenario(
    name="wider basin, lognormal noise against normal",
    a=replace(_WIDE, noise=0.3, noise_kind="lognormal"),
    b=_twin(_A),
    without=_COVERED | {"tuning_curve"},
    skewed=frozenset({"tuned_loss"}),
)
COVERED: tuple[Scenario, ...] = (DIFFERENT, SKEWED)
"""Cell V2."""
