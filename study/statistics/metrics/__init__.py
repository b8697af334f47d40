"""The testable metrics, one quantity a file. Being in `METRICS` is being tested."""

from collections.abc import Mapping
from types import MappingProxyType

from study.statistics.metrics.divergence_rate import DIVERGENCE_RATE
from study.statistics.metrics.factor_trend import FACTOR_TREND
from study.statistics.metrics.factors import FACTOR_SD, FACTOR_WORST
from study.statistics.metrics.lr_basin import BASIN_AREA, LR_WIDTH
from study.statistics.metrics.matched_loss import MATCHED_LOSS
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.misspecification import MISSPECIFICATION_COST
from study.statistics.metrics.perturbation import PERTURBATION_DROP
from study.statistics.metrics.seed_variability import SEED_ABS_DEV
from study.statistics.metrics.space_score import SPACE_SCORE
from study.statistics.metrics.steps_to_target import STEPS_TO_TARGET
from study.statistics.metrics.tuned_loss import TUNED_LOSS
from study.statistics.metrics.tuning_curve import TUNING_CURVE
from study.statistics.metrics.usable_mass import USABLE_MASS
from study.statistics.metrics.win_probability import WIN_PROBABILITY

__all__ = ["METRICS", "Metric", "Question"]

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            TUNED_LOSS,
            WIN_PROBABILITY,
            SPACE_SCORE,
            USABLE_MASS,
            LR_WIDTH,
            BASIN_AREA,
            MISSPECIFICATION_COST,
            DIVERGENCE_RATE,
            FACTOR_SD,
            FACTOR_WORST,
            FACTOR_TREND,
            SEED_ABS_DEV,
            TUNING_CURVE,
            STEPS_TO_TARGET,
            MATCHED_LOSS,
            PERTURBATION_DROP,
        )
    }
)
"""Every metric that a claim may name."""
