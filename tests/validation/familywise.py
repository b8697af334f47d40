"""V5: the error of a whole file of null claims, by p-values and by verdicts."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from study.statistics.claims import Direction
from study.statistics.multiplicity import HolmStep, holm_levels
from study.statistics.results import Verdict
from tests.validation.bands import Rate, at_most
from tests.validation.level_cells import ALPHA, Sampled, measure, p_values
from tests.validation.scenarios import ASKED, LAYOUT, SAME, Scenario
from tests.validation.tables import trials_of
from tests.validation.verdict_cells import SUPERIORITY_ONLY, verdict_of

FAMILY = (
    "tuned_loss",
    "win_probability",
    "usable_mass",
    "lr_width",
    "basin_area",
    "divergence_rate",
    "factor_trend",
    "tuning_curve",
    "matched_loss",
    "perturbation_drop",
)
"""Ten claims on one study."""
UNCORRECTED = 0.15
"""Without correction ten null claims must find something at least so often, or there were no need for one."""


def familywise_hits(
    *, num_studies: int, seed: int, scenario: Scenario = SAME
) -> dict[str, NDArray[np.bool_]]:
    """Which studies decide at least one of their ten null claims, with Holm's correction and without."""
    trials = trials_of((scenario.a, scenario.b), LAYOUT, seed=seed, num_studies=num_studies)
    sampled = [measure(ASKED[name], trials, LAYOUT, num_studies) for name in FAMILY]
    ps = np.array([next(iter(p_values(one, 0.0).values())) for one in sampled])
    steps = [holm_levels(list(column), ALPHA) for column in ps.T]
    return {
        "any p after Holm": np.array([any(step.rejected for step in one) for one in steps]),
        "any verdict but inconclusive": _decided(sampled, steps),
        "any p without correction": (ps <= ALPHA).any(axis=0),
    }


def familywise_rates(hits: Mapping[str, NDArray[np.bool_]], *, sigmas: float) -> list[Rate]:
    """V5: the shares of those studies."""
    rates = []
    for what, hit in hits.items():
        low, high = at_most(ALPHA, len(hit), sigmas)
        wrong = "without" in what
        rates.append(
            Rate(
                cell="V5",
                scenario="ten null claims",
                what=what,
                observed=float(hit.mean()),
                low=UNCORRECTED if wrong else low,
                high=1.0 if wrong else high,
                num=len(hit),
                note="wrong on purpose" if wrong else "",
            )
        )
    return rates


def _decided(sampled: list[Sampled], steps: list[tuple[HolmStep, ...]]) -> NDArray[np.bool_]:
    """Whether any claim of each study is supported or refuted at its corrected level."""
    wrong = {Verdict.SUPPORTED, Verdict.REFUTED}

    def verdict(claim: Sampled, study: int, level: float) -> Verdict:
        return verdict_of(
            claim.differences[study],
            SUPERIORITY_ONLY,
            Direction.GREATER,
            level,
            binary=claim.binary,
            may_be_skewed=claim.may_be_skewed,
        )[0]

    return np.array(
        [
            any(verdict(claim, i, step.level) in wrong for claim, step in zip(sampled, one, strict=True))
            for i, one in enumerate(steps)
        ]
    )
