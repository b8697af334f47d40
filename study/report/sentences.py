"""What a result says, in one plain sentence, the same in every format of the report.

An estimate above its value of no difference favours the claimed family. A sentence tells the difference as a positive
size with its direction in words, and turns the interval the same way.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from study.report.words import number
from study.statistics.claims import Direction, Role
from study.statistics.results import Analysis, ClaimResult, Grade, PartResult, Verdict

POINTS = 100
"""A fraction is told in percentage points."""
SHARE = "fraction"
"""Unit of rates, shares and probabilities."""
LONGEST = 5
"""Decimals at the most."""


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """What a metric's difference means; fields a, b, size, factor and at are filled in."""

    better: str
    worse: str


def _phrase(text: str, better: str, worse: str) -> Phrase:
    return Phrase(better=text.replace("{turn}", better), worse=text.replace("{turn}", worse))


PHRASES: Mapping[str, Phrase] = MappingProxyType(
    {
        "tuned_loss": _phrase("tuned, {a} reaches a report loss {size} {turn} that of {b}", "below", "above"),
        "win_probability": _phrase("{a} has a lower loss than {b} on {share} of the seeds", "", ""),
        "space_score": _phrase(
            "averaged over its space, {a} scores {size} {turn} than {b}", "higher", "lower"
        ),
        "usable_mass": _phrase(
            "the share of its space on which {a} reaches the target loss is {size} {turn} than that of {b}",
            "larger",
            "smaller",
        ),
        "lr_width": _phrase(
            "{a} tolerates a {width} {turn} range of learning rates than {b}", "wider", "narrower"
        ),
        "basin_area": _phrase(
            "the basin of {a} over the learning rate is {size} {turn} than that of {b}", "larger", "smaller"
        ),
        "misspecification_cost": _phrase(
            "a wrong learning rate costs {a} {size} {turn} than {b}", "less", "more"
        ),
        "divergence_rate": _phrase(
            "{a} diverges {size} {turn} often over its space than {b}", "less", "more"
        ),
        "factor_sd": _phrase(
            "over {factor}, the loss of {a} spreads {size} {turn} than that of {b}", "less", "more"
        ),
        "factor_worst": _phrase(
            "at its worst {factor}, {a} has a loss {size} {turn} that of {b}", "below", "above"
        ),
        "factor_trend": _phrase(
            "along {factor}, the loss of {a} falls {size} {turn} than that of {b}", "faster", "slower"
        ),
        "seed_abs_dev": _phrase(
            "from seed to seed, the loss of {a} deviates {size} {turn} than that of {b}", "less", "more"
        ),
        "tuning_curve": _phrase("a short search of {a} ends {size} {turn} one of {b}", "below", "above"),
        "steps_to_target": _phrase("{a} reaches the target loss {size} {turn} than {b}", "earlier", "later"),
        "matched_loss": _phrase("{a} has a loss {size} {turn} that of {b}{at}", "below", "above"),
        "perturbation_drop": _phrase("when perturbed, {a} loses {size} {turn} than {b}", "less", "more"),
    }
)
"""Metric → its phrases."""
ALONE: Mapping[str, Phrase] = MappingProxyType(
    {"factor_trend": _phrase("along {factor}, the loss of {a} {turn} by {size}", "falls", "rises")}
)
"""The same for a claim on one family."""
OTHER = _phrase("in {title}, {a} is {size} {turn} than {b}", "better", "worse")
OTHER_ALONE = _phrase("in {title}, {a} is {size} {turn} than nothing", "better", "worse")


def claim_sentence(claim: ClaimResult) -> str:
    """The claim's finding, interval, sample and verdict.

    A conjunction is told by the part that decides it: the weakest one that holds, else the one that breaks it.
    """
    if claim.verdict is Verdict.NOT_EVALUABLE:
        return f"Not evaluable. {claim.reason}".strip()
    part = deciding(claim)
    return f"{_capital(finding(part, claim.at))}{_others(claim, part)}: {verdict_words(claim)}."


def part_sentence(part: PartResult, at: str = "") -> str:
    """One endpoint's finding, interval, sample and verdict; `at` is the claim's transformation."""
    if part.verdict is Verdict.NOT_EVALUABLE or part.estimate is None:
        return f"Not evaluable. {part.reason}".strip()
    return f"{_capital(finding(part, at))}: {_part_words(part)}."


def finding(part: PartResult, at: str = "") -> str:
    """What was found, with interval and sample, without a verdict and without a full stop."""
    if part.estimate is None:
        return part.reason
    null = part.thresholds.null if part.thresholds else 0.0
    sign = 1.0 if part.metric == "win_probability" or part.estimate >= null else -1.0
    known = ALONE.get(part.metric, OTHER_ALONE) if not part.b else PHRASES.get(part.metric, OTHER)
    text = known.better if sign > 0 else known.worse
    size = abs(part.estimate - null)
    words = text.format(
        a=part.a,
        b=part.b,
        size=quantity(size, part),
        share=f"{number(POINTS * part.estimate, 0)} %",
        width=f"{number(size, places(part))}-decade",
        factor=part.factor or "the factor",
        at=f" at {at}" if at else "",
        title=part.title,
    )
    return f"{words} ({_bracket(part, sign)})"


def quantity(size: float, part: PartResult) -> str:
    """A size with its unit: fractions in percentage points."""
    if part.unit == SHARE:
        return f"{number(POINTS * size, places(part))} percentage points"
    return f"{number(size, places(part))} {part.unit}" if part.unit != "score" else number(size, places(part))


def interval_words(part: PartResult, sign: float = 1.0) -> str:
    """`0.18 to 0.66`, in percent for a fraction; one-sided where an end is not finite."""
    factor = sign * (POINTS if part.unit == SHARE else 1)
    ends = [None if end is None else factor * end for end in (part.ci_low, part.ci_high)]
    low, high = ends if sign > 0 else ends[::-1]
    if low is None or high is None:
        known = low if low is not None else high
        side = "from" if low is not None else "up to"
        return f"{side} {number(known, places(part))}" if known is not None else "without bound"
    return f"{number(low, places(part))} to {number(high, places(part))}"


def places(part: PartResult) -> int:
    """Decimals that give the interval's half-width two significant digits, and up to two more for an end near null."""
    factor = POINTS if part.unit == SHARE else 1
    if part.ci_low is None or part.ci_high is None or part.ci_high <= part.ci_low:
        return 0 if part.unit == SHARE else 3
    least = max(0, min(LONGEST, 1 - math.floor(math.log10(factor * (part.ci_high - part.ci_low) / 2))))
    null = part.thresholds.null if part.thresholds else 0.0
    ends = [factor * (end - null) for end in (part.ci_low, part.ci_high) if end != null]
    enough = (n for n in range(least, LONGEST + 1) if all(round(end, n) for end in ends))
    return min(next(enough, least), least + 2)


def sample_words(part: PartResult) -> str:
    """`n = 20 of 30 seeds`."""
    planned = f" of {part.n_planned}" if part.n_planned is not None and part.n_planned != part.n else ""
    plural = "" if part.n == 1 and not planned else "s"
    return f"n = {part.n}{planned} {part.n_unit}{plural}"


def level_words(level: float | None) -> str:
    """`95 %`; levels after correction keep a decimal."""
    return "" if level is None else f"{POINTS * level:.3g} %"


def verdict_words(claim: ClaimResult) -> str:
    """A claim's verdict with what qualifies it."""
    return _words(claim.verdict, claim.grade, claim.extra, deciding(claim))


def label(verdict: Verdict, grade: Grade) -> str:
    """Verdict and grade as short as a chip: `supported, detectable`."""
    if grade is Grade.NONE:
        return verdict.value
    return f"{verdict.value}, {'but better' if grade is Grade.SMALLER_THAN_SESOI else grade.value}"


def deciding(claim: ClaimResult) -> PartResult:
    """The part by which a claim is told: of those with its verdict the first endpoint's least certain one."""
    same = [part for part in claim.parts if part.verdict is claim.verdict] or list(claim.parts)
    first = [part for part in same if (part.metric, part.title) == (same[0].metric, same[0].title)]
    pick = min if claim.workloads == "any" else max
    return pick(first, key=lambda part: part.p_t if part.p_t is not None else -1.0)


def headline(analysis: Analysis) -> str:
    """How many claims came out which way."""
    roles = Counter(claim.role for claim in analysis.claims)
    counted = roles.most_common(1)[0][0] if roles and not roles[Role.PRIMARY] else Role.PRIMARY
    found = Counter(claim.verdict for claim in analysis.claims if claim.role is counted)
    total = sum(found.values())
    if not total:
        return "No claim was registered."
    told = [f"{found[verdict]} {verdict.value}" for verdict in Verdict if found[verdict]]
    first, *rest = told
    verb = "is" if first.startswith("1 ") else "are"
    text = f"Of {_count(total, f'{counted.value} claim')}, {_series([first.replace(' ', f' {verb} ', 1), *rest])}."
    beside = [
        _count(roles[role], f"{role.value} claim") for role in Role if roles[role] and role is not counted
    ]
    return f"{text} Beside {'it' if total == 1 else 'them'} {_stand(beside)}." if beside else text


def _words(verdict: Verdict, grade: Grade, extra: int | None, part: PartResult) -> str:
    text = label(verdict, grade)
    match verdict:
        case Verdict.SUPPORTED if part.direction is Direction.NONINFERIOR and grade is Grade.NONE:
            text = "supported, not inferior"
        case Verdict.REFUTED if part.direction is Direction.NONINFERIOR:
            text = "refuted, inferior"
        case Verdict.REFUTED if part.direction is Direction.EQUIVALENT:
            text = f"refuted, not equivalent{_bound(part)}"
        case Verdict.REFUTED if grade is Grade.NONE and part.thresholds and part.thresholds.margin > 0:
            text = f"refuted, since the claim asks for more than {_amount(part.thresholds.margin, part)}"
        case Verdict.EQUIVALENT:
            less = ", better only by less than the smallest effect of interest"
            text = f"equivalent{_bound(part)}{less if grade is Grade.SMALLER_THAN_SESOI else ''}"
        case Verdict.INCONCLUSIVE if extra:
            units = f"{part.n_unit}{'' if extra == 1 else 's'}"
            text = f"inconclusive, about {extra:,} further {units} would give the planned power"
    return text


def _part_words(part: PartResult) -> str:
    return _words(part.verdict, part.grade, part.extra, part)


def _bound(part: PartResult) -> str:
    bound = part.thresholds.equivalence if part.thresholds else None
    return "" if bound is None else f" within {_amount(bound, part)}"


def _amount(size: float, part: PartResult) -> str:
    """A registered size as it was written, with its unit."""
    return f"{POINTS * size:.3g} percentage points" if part.unit == SHARE else f"{size:.3g} {part.unit}"


def _bracket(part: PartResult, sign: float) -> str:
    percent = " %" if part.metric == "win_probability" else ""
    title = (
        f"{part.title}; "
        if part.metric in ("tuning_curve", "misspecification_cost", "perturbation_drop")
        else ""
    )
    return f"{title}{level_words(part.level)} interval {interval_words(part, sign)}{percent}; {sample_words(part)}"


def _others(claim: ClaimResult, part: PartResult) -> str:
    """What a conjunction's other parts say."""
    workloads = len({one.workload for one in claim.parts})
    endpoints = len({(one.metric, one.title) for one in claim.parts}) - 1
    holds = claim.verdict is Verdict.SUPPORTED and claim.workloads != "any"
    text = ""
    if workloads > 1:
        text = f" on {part.workload}, {'the least certain' if holds else 'one'} of {workloads} workloads"
    if endpoints:
        noun = f"{'' if endpoints == 1 else f'{endpoints} '}other endpoint{'' if endpoints == 1 else 's'}"
        verb = ("holds" if endpoints == 1 else "hold") if holds else ("is" if endpoints == 1 else "are")
        text += f", and its {noun} {verb} {'too' if holds else 'in the table'}"
    return text


def _capital(text: str) -> str:
    """A sentence's first letter as a capital, unless a family's own name begins it."""
    first = text.split(" ", 1)[0]
    return text if first not in FIRST_WORDS else f"{text[0].upper()}{text[1:]}"


FIRST_WORDS = frozenset(
    phrase.better.split(" ", 1)[0]
    for phrase in (*PHRASES.values(), *ALONE.values(), OTHER)
    if not phrase.better.startswith("{")
)
"""Words that begin a phrase, as opposed to the name of a family."""


def _count(total: int, noun: str) -> str:
    return f"{total} {noun}{'' if total == 1 else 's'}"


def _series(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _stand(items: Sequence[str]) -> str:
    return f"{'stands' if len(items) == 1 and items[0].startswith('1 ') else 'stand'} {_series(items)}"
