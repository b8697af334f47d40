"""An analysis made by hand: one claim for each verdict and grade, on two workloads, with all that can accompany one.

The numbers of a part follow from its differences by scipy, so that figures and tables agree with each other; verdict
and grade are set by hand.
"""

from collections.abc import Sequence

from study.statistics.claims import Claim, ClaimSet, Comparison, Design, Direction, Part, Role, Tau
from study.statistics.results import (
    Analysis,
    ClaimResult,
    Grade,
    PartResult,
    Stability,
    Thresholds,
    Verdict,
)
from tests.study.report.made_results import WORKLOADS, claim, part, spread

REGISTERED = {
    "sha256": "5f0c1f6a3c0d9a47b3f3cbb1de0e2a8d7c65b4a39281706f5e4d3c2b1a09f8e7",
    "at": "2026-11-20T16:00:00Z",
    "commit": "4d7481532096bef1b959bbc78e744f06651d1aac",
}
AMENDMENT = {
    "claim": "C11",
    "at": "2026-11-23T09:30:00Z",
    "reason": "The margin was read off the first look.",
}


def _widths(workload: str, seed: int) -> tuple[PartResult, PartResult]:
    wide = part(
        "lr_width",
        "usable learning-rate width",
        "decades",
        spread(0.42, 0.21, 10, seed),
        verdict=Verdict.SUPPORTED,
        grade=Grade.DETECTABLE,
        thresholds=Thresholds(null=0.0, margin=0.0, sesoi=0.25, equivalence=0.25),
        base=1.9,
        better="greater",
        workload=workload,
    )
    tuned = part(
        "tuned_loss",
        "loss of the tuned configuration",
        "nats",
        spread(0.004, 0.009, 20, seed + 1),
        verdict=Verdict.SUPPORTED,
        direction=Direction.NONINFERIOR,
        thresholds=Thresholds(null=0.0, margin=0.0094, sesoi=0.0094, equivalence=None),
        base=0.47,
        n_unit="seed",
        n_planned=30,
        look=2,
        ci_kind="t over seeds at look 2 of 3",
        workload=workload,
    )
    return wide, tuned


def supported_detectable() -> ClaimResult:
    """C1: a conjunction of two endpoints on two workloads."""
    parts = [one for index, name in enumerate(WORKLOADS) for one in _widths(name, 10 * index)]
    title = "gradamw tolerates a wider learning-rate range than adamw"
    return claim("C1", title, *parts, verdict=Verdict.SUPPORTED, grade=Grade.DETECTABLE)


def supported_meaningful() -> ClaimResult:
    """C2: a large difference."""
    found = part(
        "tuned_loss",
        "loss of the tuned configuration",
        "nats",
        spread(0.031, 0.014, 30, 3),
        verdict=Verdict.SUPPORTED,
        grade=Grade.MEANINGFUL,
        direction=Direction.LESS,
        thresholds=Thresholds(null=0.0, margin=0.0, sesoi=0.01, equivalence=0.01),
        a="grsgd",
        b="rsgd",
        base=0.48,
        n_unit="seed",
        n_planned=30,
        look=3,
        ci_kind="t over seeds at look 3 of 3",
    )
    title = "grsgd reaches a lower tuned loss than rsgd"
    return claim("C2", title, found, verdict=Verdict.SUPPORTED, grade=Grade.MEANINGFUL)


def refuted() -> ClaimResult:
    """C3: better, but by less than the registered margin."""
    found = part(
        "lr_width",
        "usable learning-rate width",
        "decades",
        spread(0.16, 0.12, 10, 4),
        verdict=Verdict.REFUTED,
        thresholds=Thresholds(null=0.0, margin=0.5, sesoi=0.75, equivalence=0.1),
        a="radamw",
        base=1.9,
        better="greater",
        reason="The whole interval lies below the margin of 0.5 decades.",
    )
    title = "radamw tolerates half a decade more than adamw"
    return claim("C3", title, found, verdict=Verdict.REFUTED, reason=found.reason)


def refuted_reversed() -> ClaimResult:
    """C4: the other family is the better one."""
    found = part(
        "divergence_rate",
        "divergence rate",
        "fraction",
        spread(-0.14, 0.06, 10, 5),
        verdict=Verdict.REFUTED,
        grade=Grade.REVERSED,
        direction=Direction.LESS,
        thresholds=Thresholds(null=0.0, margin=0.0, sesoi=0.1, equivalence=0.1),
        a="grsgd",
        b="rsgd",
        base=0.2,
        reason="The whole interval lies below no difference.",
    )
    title = "grsgd diverges less often over its space than rsgd"
    return claim("C4", title, found, verdict=Verdict.REFUTED, grade=Grade.REVERSED, reason=found.reason)


def equivalent() -> ClaimResult:
    """C5: one family at another's transformed learning rate."""
    found = part(
        "matched_loss",
        "loss at matched hyperparameters",
        "nats",
        spread(0.0003, 0.004, 10, 6),
        verdict=Verdict.EQUIVALENT,
        direction=Direction.EQUIVALENT,
        thresholds=Thresholds(null=0.0, margin=0.0, sesoi=0.01, equivalence=0.01),
        a="grsgd",
        b="rsgd",
        base=0.52,
    )
    title = "grsgd is rsgd at a learning rate times the root of k"
    return claim("C5", title, found, verdict=Verdict.EQUIVALENT, at="lr * sqrt(top_k)")


def equivalent_but_better() -> ClaimResult:
    """C6: above zero, and too small to matter."""
    found = part(
        "tuned_loss",
        "loss of the tuned configuration",
        "nats",
        spread(0.004, 0.004, 30, 7),
        verdict=Verdict.EQUIVALENT,
        grade=Grade.SMALLER_THAN_SESOI,
        direction=Direction.LESS,
        thresholds=Thresholds(null=0.0, margin=0.0, sesoi=0.02, equivalence=0.02),
        b="radamw",
        base=0.44,
        n_unit="seed",
        n_planned=30,
        look=3,
        ci_kind="t over seeds at look 3 of 3",
    )
    title = "gradamw reaches a lower tuned loss than radamw"
    return claim("C6", title, found, verdict=Verdict.EQUIVALENT, grade=Grade.SMALLER_THAN_SESOI)


def inconclusive() -> ClaimResult:
    """C7: too few replicates for what was registered."""
    found = part(
        "factor_sd",
        "spread of the loss over num_experts",
        "nats",
        spread(0.006, 0.018, 10, 8),
        verdict=Verdict.INCONCLUSIVE,
        direction=Direction.LESS,
        factor="num_experts",
        thresholds=Thresholds(null=0.0, margin=0.0, sesoi=0.01, equivalence=0.01),
        base=0.03,
        extra=34,
        half_sesoi_n=61,
        reason="The interval holds both no difference and the smallest effect of interest.",
    )
    title = "gradamw depends less on the number of experts than adamw"
    return claim("C7", title, found, verdict=Verdict.INCONCLUSIVE, extra=34, reason=found.reason)


def not_evaluable() -> ClaimResult:
    """C8: a broken rule, so no number."""
    reason = "No family reaches the target loss of 0.41 nats, so there is nothing to compare."
    found = PartResult(
        metric="steps_to_target",
        title="steps to the target loss",
        unit="steps",
        direction=Direction.LESS,
        factor="",
        workload=WORKLOADS[0],
        a="grsgd",
        b="rsgd",
        verdict=Verdict.NOT_EVALUABLE,
        reason=reason,
        n_unit="seed",
        n_planned=30,
    )
    title = "grsgd needs fewer steps to the target loss than rsgd"
    return claim("C8", title, found, verdict=Verdict.NOT_EVALUABLE, reason=reason)


def secondary() -> ClaimResult:
    """C9: supported at its own level, while t and sign-flip disagree."""
    found = part(
        "tuning_curve",
        "tuning curve after 4 trials",
        "nats",
        spread(0.021, 0.026, 10, 11),
        verdict=Verdict.SUPPORTED,
        grade=Grade.DETECTABLE,
        thresholds=Thresholds(null=0.0, margin=0.0, sesoi=0.02, equivalence=0.02),
        base=0.5,
        level=0.95,
        fragile=True,
        notes=("One planned pair lacks a half and is left out.",),
        n_planned=11,
    )
    title = "gradamw is cheaper to tune than adamw"
    return claim(
        "C9",
        title,
        found,
        verdict=Verdict.SUPPORTED,
        grade=Grade.DETECTABLE,
        role=Role.SECONDARY,
        alpha=0.05,
    )


def exploratory() -> ClaimResult:
    """C10: asked after the fact."""
    found = part(
        "seed_abs_dev",
        "deviation from the median seed",
        "nats",
        spread(0.001, 0.006, 20, 12),
        verdict=Verdict.INCONCLUSIVE,
        direction=Direction.LESS,
        thresholds=Thresholds(null=0.0, margin=0.0, sesoi=0.002, equivalence=0.002),
        a="radamw",
        base=0.008,
        n_unit="seed",
        level=0.95,
        extra=121,
        half_sesoi_n=140,
        ci_kind="t-mixture confidence sequence",
        reason="The interval holds both no difference and the smallest effect of interest.",
    )
    title = "radamw varies less between seeds than adamw"
    return claim(
        "C10",
        title,
        found,
        verdict=Verdict.INCONCLUSIVE,
        extra=121,
        role=Role.EXPLORATORY,
        alpha=0.05,
        reason=found.reason,
    )


def amended() -> ClaimResult:
    """C11: changed after data were seen, therefore exploratory; a probability, whose null is one half."""
    found = part(
        "win_probability",
        "probability of the lower tuned loss",
        "fraction",
        (1.0,) * 25 + (0.0,) * 4 + (0.5,),
        verdict=Verdict.SUPPORTED,
        grade=Grade.MEANINGFUL,
        thresholds=Thresholds(null=0.5, margin=0.0, sesoi=0.25, equivalence=0.1),
        a="grsgd",
        b="rsgd",
        n_unit="seed",
        n_planned=30,
        level=0.95,
        ci_kind="Wilson over seeds",
        ci_low=0.681,
        ci_high=0.932,
    )
    text = f"{AMENDMENT['at']}: {AMENDMENT['reason']}"
    title = "grsgd beats rsgd on the same seed"
    return claim(
        "C11",
        title,
        found,
        verdict=Verdict.SUPPORTED,
        grade=Grade.MEANINGFUL,
        role=Role.EXPLORATORY,
        alpha=0.05,
        amended=text,
    )


def claims() -> tuple[ClaimResult, ...]:
    """Every sample."""
    return (
        supported_detectable(),
        supported_meaningful(),
        refuted(),
        refuted_reversed(),
        equivalent(),
        equivalent_but_better(),
        inconclusive(),
        not_evaluable(),
        secondary(),
        exploratory(),
        amended(),
    )


def claim_set(results: Sequence[ClaimResult] | None = None) -> ClaimSet:
    """The claims file that these results answer."""
    return ClaimSet(
        claims=tuple(_asked(one) for one in (claims() if results is None else results)),
        workloads=WORKLOADS,
        design=Design(seeds_max=30, looks=(10, 20, 30), replicates=10),
        study="reviews-smollm2",
        registered=REGISTERED,
        amendments=(AMENDMENT,),
    )


def _asked(result: ClaimResult) -> Claim:
    parts = {
        (one.metric, one.factor): Part(
            metric=one.metric,
            direction=one.direction,
            margin=one.thresholds.margin if one.thresholds else 0.0,
            sesoi=one.thresholds.sesoi if one.thresholds else 0.01,
            factor=one.factor,
            tau=Tau(ref="adamw") if one.metric in ("lr_width", "steps_to_target") else None,
            k=4 if one.metric == "tuning_curve" else None,
        )
        for one in result.parts
    }
    comparison = Comparison(a=result.a, b=result.b, at_text=result.at)
    return Claim(
        id=result.id,
        title=result.title,
        role=result.role,
        comparison=comparison,
        parts=tuple(parts.values()),
        amended=result.amended,
    )


CHOICES = ("as registered", "tau +50 %", "tau \u221250 %", "cap \u00d7 1.5", "without replicate 3")


def analysis(results: Sequence[ClaimResult] | None = None) -> Analysis:
    """The whole analysis; `results` replaces the samples."""
    found = tuple(claims() if results is None else results)
    stability = tuple(
        Stability(
            claim=one.id,
            choice=choice,
            verdict=Verdict.INCONCLUSIVE if one.id == "C1" and choice == CHOICES[2] else one.verdict,
            changed=one.id == "C1" and choice == CHOICES[2],
        )
        for one in found
        for choice in CHOICES
    )
    counts = {
        "search": {"adamw": {"finished": 9, "stopped": 20, "diverged": 3}},
        "sensitivity": {
            "adamw": {"finished": 120, "diverged": 40},
            "gradamw": {"finished": 128, "diverged": 32},
        },
        "confirmation": {"adamw": {"finished": 30}, "gradamw": {"finished": 29, "infra_failed": 1}},
    }
    return Analysis(
        claim_set=claim_set(found),
        claims=found,
        trial_counts=counts,
        num_duplicates=2,
        notes=("1 finished trial without a finite loss counts as diverged.",),
        stability=stability,
        provenance={"engine": "0.1.0", "numpy": "2.4.6", "scipy": "1.17.1"},
    )
