"""Whether a design can decide its claims: enough units for the corrected level, and power where it is needed.

Planned with the upper 80 % bound of the pilot's spread and at the smallest effect of interest, never at an effect that
was seen.
"""

from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING

from search_spaces.errors import SpecError
from study.claims.rules import Endpoint, endpoints
from study.records import Phase

if TYPE_CHECKING:
    from study.claims.file import ClaimsFile
    from study.statistics.metrics import Metric

PILOT_LEVEL = 0.8
"""Confidence of the bound of the pilot's spread."""
SEEDS = ("pilot", "search", "sensitivity", "confirmation")
"""Phases in the order in which they use up seeds."""


def check_plan(
    file: "ClaimsFile",
    metrics: "Mapping[str, Metric] | None" = None,
    exempt: frozenset[str] = frozenset(),
) -> None:
    """Refuse a design that cannot decide its claims.

    Args:
        file: claims that keep the rules of reading.
        metrics: the metrics that a claim may name; None: those of the engine.
        exempt: ids of claims that are exploratory whatever the file says.

    Raises:
        SpecError: one sentence: an endpoint lacks a smallest effect, its phase is not planned, its smallest
            attainable p is too large, its power is too low or unknown, seeds are used twice, or an inclusion check
            is missing.
    """
    confirmatory = [
        endpoint
        for endpoint in endpoints(file, metrics)
        if endpoint.claim.role != "exploratory" and endpoint.claim.id not in exempt
    ]
    for endpoint in confirmatory:
        try:
            _check_effect(endpoint)
            _check_phase(endpoint, file)
            _check_attainable(endpoint, file)
            _check_power(endpoint, file)
        except SpecError as error:
            raise SpecError(f"{endpoint.place}: {error}") from None
    _check_seeds(file)
    _check_inclusion(file)


def planned_level(endpoint: Endpoint, file: "ClaimsFile") -> float:
    """Two-sided level at which an endpoint must be decided in the worst case.

    Both corrections may leave a claim alpha over the number of claims of its role; where one workload suffices, each
    has its share of that.
    """
    alike = sum(claim.role == endpoint.claim.role for claim in file.claims)
    shares = max(1, len(file.workloads)) if endpoint.claim.workloads == "any" else 1
    return file.alpha / alike / shares


def planned_units(endpoint: Endpoint, file: "ClaimsFile") -> int:
    """Seeds or replicates on which an endpoint will be read at the end.

    Raises:
        SpecError: the design does not say it.
    """
    design = file.design
    if endpoint.unit == "seed":
        number = design.confirmation.num_seeds if design.confirmation else None
        key = "design.confirmation.seeds_max"
    else:
        number = design.sensitivity.replicates if design.sensitivity else None
        key = "design.sensitivity.replicates"
    if number is None:
        raise SpecError(
            f"{endpoint.metric.name} is decided over {endpoint.unit}s, and nothing says how many: write {key}."
        )
    return number


def planned_power(endpoint: Endpoint, file: "ClaimsFile", sd: float | None) -> float:
    """Probability of deciding an endpoint in favour of the claim, by the last look alone.

    The truth is taken to be the smallest effect of interest for a superiority, no difference for a
    non-inferiority or an equivalence.

    Args:
        endpoint: what is claimed.
        file: where it stands.
        sd: standard deviation of the paired differences to plan with, in the part's unit; a win probability, whose
            spread follows from its value, has no use for it.
    """
    from study.statistics.power import paired_power, tost_power

    part, level, n = endpoint.part, _last_level(endpoint, file), planned_units(endpoint, file)
    bound = part.equivalence or part.sesoi or 0.0
    margin, sesoi = part.margin or 0.0, part.sesoi or 0.0
    if endpoint.metric.name == "win_probability":
        return _win_power(endpoint, n, level)
    if sd is None:
        raise ValueError("Only a win probability is planned without a spread.")
    if part.direction == "equivalent":
        return tost_power(bound, sd, n, level)
    return paired_power(margin if part.direction == "noninferior" else sesoi - margin, sd, n, level)


def planning_sd(endpoint: Endpoint, file: "ClaimsFile") -> float | None:
    """The spread to plan with, in the part's unit; None where the file has none.

    `plan.sd` as written, or else the upper 80 % bound of the pilot's: sd * sqrt((n - 1) / chi-square quantile).
    """
    from scipy import stats

    name, written = endpoint.metric.name, endpoint.claim.plan.sd
    own = written.get(name) if isinstance(written, dict) else written
    if own is not None:
        return own
    pilot = file.design.pilot
    if pilot is None or name not in pilot.sd:
        return None
    df = pilot.num_seeds - 1
    return pilot.sd[name] * sqrt(df / float(stats.chi2.ppf(1 - PILOT_LEVEL, df)))


def _last_level(endpoint: Endpoint, file: "ClaimsFile") -> float:
    """What earlier looks leave of the level for the last one."""
    from study.statistics.sequential import nominal_levels

    level, confirmation = planned_level(endpoint, file), file.design.confirmation
    if endpoint.unit != "seed" or confirmation is None or len(confirmation.looks) < 2:  # noqa: PLR2004
        return level
    return nominal_levels(confirmation.looks, level, confirmation.spending)[-1]


def _win_power(endpoint: Endpoint, n: int, level: float) -> float:
    """Exact power of the two-sided sign test of a win probability against 1/2 and its margin."""
    from scipy import stats

    part = endpoint.part
    if part.direction == "equivalent":
        from study.statistics.power import tost_power

        return tost_power(part.equivalence or part.sesoi or 0.0, 0.5, n, level)
    margin = part.margin or 0.0
    edge, truth = 0.5 + margin, 0.5 + (part.sesoi or 0.0)
    if part.direction == "noninferior":
        edge, truth = 0.5 - margin, 0.5
    if not (0 < edge < 1 and 0 < truth < 1):
        raise SpecError(
            f"margin or sesoi leads beyond a probability of {max(edge, truth):g}: keep them below 0.5."
        )
    fewest = next((wins for wins in range(n + 1) if stats.binom.sf(wins - 1, n, edge) <= level / 2), n + 1)
    return float(stats.binom.sf(fewest - 1, n, truth))


def _check_effect(endpoint: Endpoint) -> None:
    part = endpoint.part
    if part.sesoi is None and part.direction in {"less", "greater"}:
        raise SpecError(
            f"{endpoint.metric.name} has no smallest effect of interest, without which nothing can be planned: "
            "write sesoi."
        )
    if part.direction == "equivalent" and part.equivalence is None and part.sesoi is None:
        raise SpecError(
            f"{endpoint.metric.name} has no bound within which differences count as none: write equivalence."
        )


def _check_phase(endpoint: Endpoint, file: "ClaimsFile") -> None:
    """What a metric reads is in the design."""
    planned_units(endpoint, file)
    sensitivity = file.design.sensitivity
    if sensitivity is None:
        return
    k, points = endpoint.part.k, sensitivity.points
    if k is not None and points is not None and k > points:
        raise SpecError(f"k is {k}, but design.sensitivity.points is {points}: lower k.")
    if endpoint.phase == Phase.LR_SLICE and sensitivity.lr_slice is None:
        raise SpecError(
            f"{endpoint.metric.name} reads the learning-rate slice, which is not planned: "
            "write design.sensitivity.lr_slice."
        )
    if endpoint.phase == Phase.FACTOR_SLICE and endpoint.part.factor not in sensitivity.factor_slices:
        raise SpecError(
            f"{endpoint.metric.name} reads the slice of {endpoint.part.factor}, which is not planned: "
            f"add it to design.sensitivity.factor_slices."
        )


def _check_attainable(endpoint: Endpoint, file: "ClaimsFile") -> None:
    """The first look must be able to reject: a sign-flip test over n units has no p below 2^(1-n)."""
    from study.statistics.power import smallest_p, units_for

    level, n = planned_level(endpoint, file), planned_units(endpoint, file)
    confirmation = file.design.confirmation
    where = ""
    if endpoint.unit == "seed" and confirmation is not None and confirmation.looks:
        n, where = confirmation.looks[0], "at the first look, "
    if smallest_p(n) > level:
        key = "design.confirmation" if endpoint.unit == "seed" else "design.sensitivity.replicates"
        raise SpecError(
            f"{where}{n} {endpoint.unit}s give no p below 2^(1-{n}) = {smallest_p(n):.2g}, above the level of "
            f"{level:.2g} after correction: plan {units_for(level)} or more in {key}, "
            f"or make fewer claims {endpoint.claim.role}."
        )


def _check_power(endpoint: Endpoint, file: "ClaimsFile") -> None:
    if endpoint.claim.underpowered is not None:
        return
    name, plan = endpoint.metric.name, endpoint.claim.plan
    sd = planning_sd(endpoint, file)
    if sd is None and name != "win_probability":
        raise SpecError(
            f"the power for {name} is unknown: write the spread that the pilot gave as design.pilot.sd.{name} or as "
            "plan.sd, or `underpowered: accepted`."
        )
    power = planned_power(endpoint, file, sd)
    if not power >= plan.power:
        n = planned_units(endpoint, file)
        more = "design.confirmation" if endpoint.unit == "seed" else "design.sensitivity.replicates"
        raise SpecError(
            f"the planned power for {name} is {power:.2f} with {n} {endpoint.unit}s, below {plan.power:g}: "
            f"raise {more} or the smallest effect of interest, or write `underpowered: accepted`."
        )


def _check_seeds(file: "ClaimsFile") -> None:
    """Seeds that tests read are fresh; those that a study derives are so by construction."""
    used: dict[int, str] = {}
    for phase in SEEDS:
        section = getattr(file.design, phase)
        seeds = getattr(section, "seeds", ())
        for seed in seeds if isinstance(seeds, tuple) else ():
            if seed in used and not {phase, used[seed]} <= {"pilot", "search"}:
                raise SpecError(
                    f"seed {seed} stands in design.{used[seed]} and in design.{phase}, but tests need seeds that "
                    "nothing has used: replace it."
                )
            used[seed] = phase


def _check_inclusion(file: "ClaimsFile") -> None:
    """A family that contains another must not lose to it when both are tuned, or the tuning has failed."""
    checked = {
        (file.comparisons[claim.id].a, file.comparisons[claim.id].b)
        for claim in file.claims
        if any(part.metric == "tuned_loss" for part in claim.parts)
    }
    for name, section in file.families.items():
        if section.inclusion_of is not None and (name, section.inclusion_of) not in checked:
            raise SpecError(
                f"family {name} contains {section.inclusion_of}, but no claim checks that it does not lose to it "
                f"when both are tuned: add one with compare: {{a: {name}, b: {section.inclusion_of}}}, "
                "metric: tuned_loss, direction: noninferior."
            )
