"""What a claims file must say for its claims to have a meaning: known families, metrics, units and settings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces import FAMILIES, ROLES, Space
from search_spaces.errors import SpecError, unknown
from study.claims.arithmetic import parse_transform
from study.claims.parts import ClaimSection, CompareSection, PartSection
from study.claims.sections import FamilySection
from study.records import Phase

if TYPE_CHECKING:
    from study.claims.file import ClaimsFile
    from study.statistics.metrics import Metric

SETTINGS = ("tau", "factor", "k", "decades", "perturbation")
"""What some metrics need and the others have no use for."""
SEVERAL_PHASES: Mapping[str, frozenset[str]] = {
    "divergence_rate": frozenset({Phase.SENSITIVITY, Phase.CONFIRMATION}),
    "matched_loss": frozenset({Phase.SENSITIVITY, Phase.CONFIRMATION}),
    "factor_trend": frozenset({Phase.FACTOR_SLICE, Phase.SENSITIVITY}),
}
"""Metrics that can be read in more phases than their own."""
ONE_FAMILY = frozenset({"factor_trend", "factor_sd"})
"""Metrics that say something of a family alone."""
BOTH_WORDS = frozenset({"tuning_curve"})
"""Metrics that may be called better with either word: a loss that is less, an improvement that is greater."""
AT_PHASES = frozenset({Phase.SENSITIVITY, Phase.CONFIRMATION})
"""Phases in which family b is trained at a's transformed hyperparameters."""
WHERE_PHASES = frozenset({Phase.SENSITIVITY, Phase.FACTOR_SLICE})
"""Phases in which hyperparameters vary, so that some trials can be left out."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A part of a claim with what it is about."""

    claim: ClaimSection
    compare: CompareSection
    part: PartSection
    number: int
    """Place among the claim's parts, from 1."""
    metric: "Metric"

    @property
    def phase(self) -> str:
        """Where it is read."""
        return self.part.phase or str(self.metric.phase)

    @property
    def unit(self) -> str:
        """What one difference is: `seed` or `replicate`."""
        return "seed" if self.phase == Phase.CONFIRMATION else "replicate"

    @property
    def place(self) -> str:
        """For messages."""
        several = len(self.claim.parts) > 1
        return f"claim {self.claim.id}, part {self.number}" if several else f"claim {self.claim.id}"


def endpoints(file: "ClaimsFile", metrics: "Mapping[str, Metric] | None" = None) -> list[Endpoint]:
    """Every part of every claim.

    Raises:
        SpecError: a metric is unknown.
    """
    if metrics is None:
        from study.statistics.metrics import METRICS

        metrics = METRICS
    found = []
    for claim in file.claims:
        for number, part in enumerate(claim.parts, start=1):
            if part.metric not in metrics:
                raise SpecError(f"claim {claim.id}: {unknown('metric', part.metric, metrics)}")
            found.append(
                Endpoint(
                    claim=claim,
                    compare=file.comparisons[claim.id],
                    part=part,
                    number=number,
                    metric=metrics[part.metric],
                )
            )
    return found


def check_rules(file: "ClaimsFile", source: str, metrics: "Mapping[str, Metric] | None" = None) -> None:
    """Refuse a file whose claims have no meaning.

    Raises:
        SpecError: one sentence that begins with `source`.
    """
    try:
        for name, section in file.families.items():
            _check_family(name, section, file)
        _check_names(file)
        for claim in file.claims:
            _check_compare(claim, file)
        found = endpoints(file, metrics)
        for endpoint in found:
            _check_endpoint(endpoint, file)
        for claim in file.claims:
            _check_plan(claim, [one for one in found if one.claim is claim])
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from None


def space_of(name: str, file: "ClaimsFile") -> Space | None:
    """The search space of a family as far as Trialwright knows it; a variant has that of its own entry."""
    section = file.families.get(name)
    known = section.space.partition("@")[0] if section and section.space else name
    return FAMILIES[known].space if known in FAMILIES else None


def _check_family(name: str, section: FamilySection, file: "ClaimsFile") -> None:
    space = section.space
    if space is not None:
        named, _, version = space.partition("@")
        expected = FAMILIES[name].space.name if name in FAMILIES else named
        if named != expected:
            raise SpecError(
                f"family {name}: space is {space!r}, but the space of {name} is {expected!r}: correct it."
            )
        if named in FAMILIES and int(version) != FAMILIES[named].space.version:
            raise SpecError(
                f"family {name}: space is {space!r}, but this Trialwright has version "
                f"{FAMILIES[named].space.version} of it: write '{named}@{FAMILIES[named].space.version}'."
            )
    dimensions = _roles(name, file)
    for role in section.defaults:
        if dimensions is not None and role not in dimensions:
            raise SpecError(f"family {name}: defaults: {unknown('hyperparameter', role, dimensions)}")
    if section.inclusion_of is not None:
        if section.inclusion_of not in file.families:
            raise SpecError(
                f"family {name}: inclusion_of: {unknown('family', section.inclusion_of, file.families)}"
            )
        if section.inclusion_of == name:
            raise SpecError(f"family {name} is said to contain itself: name the other one in inclusion_of.")


def _check_names(file: "ClaimsFile") -> None:
    seen: set[str] = set()
    for claim in file.claims:
        if claim.id in seen:
            raise SpecError(f"claim {claim.id} stands twice: rename one.")
        if claim.id in ROLES:
            raise SpecError(f"claim {claim.id} has the name of a hyperparameter's slice: rename it.")
        seen.add(claim.id)


def _check_compare(claim: ClaimSection, file: "ClaimsFile") -> None:
    compare = file.comparisons.get(claim.id)
    if compare is None:
        raise SpecError(
            f"claim {claim.id} has no compare, nor has one before it: write compare: {{a: …, b: …}}."
        )
    declared = bool(file.families)
    known = file.families if declared else FAMILIES
    for side, name in (("a", compare.a), ("b", compare.b)):
        if name is not None and name not in known:
            kind = "family of this file" if declared else "family"
            raise SpecError(f"claim {claim.id}: compare.{side}: {unknown(kind, name, known)}")
    if compare.a == compare.b and compare.at is None:
        raise SpecError(f"claim {claim.id} compares {compare.a} with itself: name another b, or write at.")
    if compare.at is not None:
        _check_transform(claim, compare, file)


def _check_transform(claim: ClaimSection, compare: CompareSection, file: "ClaimsFile") -> None:
    if compare.b is None:
        raise SpecError(f"claim {claim.id}: compare.at says where b is trained, but there is no b: write it.")
    of_a, of_b = _roles(compare.a, file), _roles(compare.b, file)
    known = None if of_a is None or of_b is None else [role for role in ROLES if role in {*of_a, *of_b}]
    try:
        transform = parse_transform(compare.at, roles=known)
    except SpecError as error:
        raise SpecError(f"claim {claim.id}, compare: {error}") from None
    if of_a is None or of_b is None:
        return
    for role in sorted(transform.names - set(of_a)):
        raise SpecError(
            f"claim {claim.id}: compare.at reads {role} of {compare.a}: {unknown('hyperparameter', role, of_a)}"
        )
    for role in sorted(transform.targets - set(of_b)):
        raise SpecError(
            f"claim {claim.id}: compare.at sets {role} of {compare.b}: {unknown('hyperparameter', role, of_b)}"
        )
    lacking = [role for role in of_b if role not in of_a and role not in transform.targets]
    if lacking:
        raise SpecError(
            f"claim {claim.id}: {compare.b} has {lacking[0]}, which {compare.a} has not: "
            f'write at: {{{lacking[0]}: "b.{lacking[0]} = <number>"}} too.'
        )


def _check_endpoint(endpoint: Endpoint, file: "ClaimsFile") -> None:
    try:
        _check_settings(endpoint, file)
        _check_direction(endpoint)
        _check_unit(endpoint)
        _check_place(endpoint, file)
    except SpecError as error:
        raise SpecError(f"{endpoint.place}: {error}") from None


def _check_settings(endpoint: Endpoint, file: "ClaimsFile") -> None:
    part, metric = endpoint.part, endpoint.metric
    for setting in SETTINGS:
        given = getattr(part, setting) is not None
        if setting in metric.needs and not given:
            raise SpecError(f"metric {metric.name} needs {setting}: add it.")
        if given and setting not in metric.needs:
            raise SpecError(f"metric {metric.name} has no use for {setting}: remove it.")
    if part.of is not None and "perturbation" not in metric.needs:
        raise SpecError(f"metric {metric.name} has no use for of: remove it.")
    if part.factor == "lr":
        raise SpecError(
            "factor is 'lr', but learning rates have metrics of their own: write lr_width or basin_area."
        )
    for name in (endpoint.compare.a, endpoint.compare.b):
        dimensions = None if name is None else _roles(name, file)
        if part.factor is not None and dimensions is not None and part.factor not in dimensions:
            raise SpecError(f"factor of {name}: {unknown('hyperparameter', part.factor, dimensions)}")
    known = file.families or FAMILIES
    if part.tau and part.tau.family and part.tau.family not in known:
        raise SpecError(f"tau.ref: {unknown('family', part.tau.family, known)}")


def _check_direction(endpoint: Endpoint) -> None:
    part, metric = endpoint.part, endpoint.metric
    if part.direction == "noninferior" and not part.margin:
        raise SpecError("direction noninferior needs the loss that is accepted: write a margin above 0.")
    if part.direction == "equivalent" and part.margin:
        raise SpecError(
            f"margin is {part.margin:g}, but an equivalence has a bound instead: write it as equivalence."
        )
    if part.direction in {"less", "greater"} and part.sesoi is not None and part.sesoi <= (part.margin or 0):
        raise SpecError(
            f"sesoi is {part.sesoi:g}, but the smallest effect of interest exceeds the margin of {part.margin:g}: "
            "raise it."
        )
    if part.direction in {"less", "greater"} and part.direction != metric.better:
        if metric.name in BOTH_WORDS:
            return
        raise SpecError(
            f"direction is {part.direction!r}, but of {metric.name} {metric.better} is better: write "
            f"{metric.better}, noninferior or equivalent, or let a and b change places."
        )


def _check_unit(endpoint: Endpoint) -> None:
    part, metric = endpoint.part, endpoint.metric
    own = _own_unit(part, metric)
    if part.unit not in {None, own, "relative"}:
        raise SpecError(f"unit is {part.unit!r}, but {metric.name} is in {own!r}: write that or relative.")
    if part.unit == "relative" and endpoint.compare.b is None:
        raise SpecError(f"unit is 'relative', but there is no b to relate to: write {own!r}.")
    if part.unit == "relative" and metric.name == "win_probability":
        raise SpecError("unit is 'relative', but a probability is a fraction already: write 'fraction'.")
    if endpoint.compare.b is None and metric.name not in ONE_FAMILY:
        raise SpecError(f"metric {metric.name} compares two families, but compare has no b: write it.")


def _check_place(endpoint: Endpoint, file: "ClaimsFile") -> None:
    part, metric, phase = endpoint.part, endpoint.metric, endpoint.phase
    phases = SEVERAL_PHASES.get(metric.name, frozenset({str(metric.phase)}))
    if phase not in phases:
        raise SpecError(f"phase is {phase!r}, but {metric.name} is read in {_or(phases)}: write that.")
    if metric.name == "matched_loss" and endpoint.compare.at is None:
        raise SpecError(
            'matched_loss needs compare.at: write at: {lr: "b.lr = a.lr"} for equal learning rates.'
        )
    if endpoint.compare.at is not None and phase not in AT_PHASES:
        raise SpecError(
            f"metric {metric.name} is read in {phase}, where nothing is trained at transformed hyperparameters: "
            "remove compare.at, or choose a metric of sensitivity or confirmation."
        )
    if part.where and phase not in WHERE_PHASES:
        raise SpecError(
            f"where chooses among trials whose hyperparameters vary, and in {phase} none do: remove it."
        )
    dimensions = _roles(endpoint.compare.a, file)
    for role in part.where:
        if dimensions is not None and role not in dimensions:
            raise SpecError(f"where: {unknown('hyperparameter', role, dimensions)}")


def _check_plan(claim: ClaimSection, parts: list[Endpoint]) -> None:
    measured = {one.metric.name for one in parts}
    units = {one.unit for one in parts}
    for key, written in (("equivalence", claim.equivalence), ("plan.sd", claim.plan.sd)):
        for name in written if isinstance(written, dict) else ():
            if name not in measured:
                raise SpecError(f"claim {claim.id}: {key}: {unknown('metric of this claim', name, measured)}")
    if claim.plan.n_unit is not None and claim.plan.n_unit not in units:
        raise SpecError(
            f"claim {claim.id}: plan.n_unit is {claim.plan.n_unit!r}, but its metrics are counted in "
            f"{_or(f'{unit}s' for unit in units)}: write {min(units)}."
        )


def _roles(name: str, file: "ClaimsFile") -> tuple[str, ...] | None:
    """The hyperparameters of a family; None where its space is not known."""
    space = space_of(name, file)
    return None if space is None else tuple(space.dimensions)


def _own_unit(part: PartSection, metric: "Metric") -> str:
    """A metric's unit, which for two of them depends on a setting."""
    if part.of == "accuracy":
        return "fraction"
    real = any(part.factor == role and not rule.whole for role, rule in ROLES.items())
    return "nats per decade" if metric.name == "factor_trend" and real else metric.unit


def _or(words: Iterable[str]) -> str:
    return " or ".join(sorted(words))
