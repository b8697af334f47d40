"""A claims file: read, checked, and turned into what the engine reads.

The file is plain YAML with the rules of a study file. Every mistake in it is one SpecError that names the claim.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from search_spaces.errors import SpecError, cut
from study.claims.arithmetic import parse_transform
from study.claims.parts import ClaimSection, CompareSection, ConjunctiveClaim, PartSection, SimpleClaim
from study.claims.rules import check_rules
from study.claims.sections import (
    AmendmentSection,
    ClaimsSection,
    CorrectionSection,
    DesignSection,
    FamilySection,
    OutcomeSection,
    RegisteredSection,
)
from study.spec_errors import as_sentence, first_mistake, shown
from study.spec_file import check_plain, read_mapping
from study.statistics.claims import Claim, ClaimSet, Comparison, Design, Direction, Part, Range, Role, Tau

if TYPE_CHECKING:
    from study.statistics.metrics import Metric

CLAIMS_TEMPLATE = Path(__file__).with_name("template.yaml").read_text(encoding="utf-8")
"""A commented claims file to begin with."""

Model = TypeVar("Model", bound=BaseModel)


class ClaimsFile(ClaimsSection):
    """Claims with the families, sizes and rules by which they are judged."""

    claims_version: Literal[1]
    study: str = ""
    """Name of the study whose trials decide."""
    registered: RegisteredSection | None = None
    """Written by `trialwright claims lock`."""
    amendments: tuple[AmendmentSection, ...] = ()
    """Written by `trialwright claims amend`."""
    families: dict[str, FamilySection] = Field(default_factory=dict)
    """Families by name; absent: those of `trialwright families`."""
    workloads: tuple[str, ...] = ()
    """Absent: those of the trial table."""
    design: DesignSection = DesignSection()
    outcome: OutcomeSection | None = None
    alpha: Annotated[float, Field(strict=True, gt=0, lt=0.5)] = 0.05
    """Two-sided level for all primary claims together."""
    correction: CorrectionSection = CorrectionSection()
    claims: tuple[ClaimSection, ...] = Field(json_schema_extra={"minItems": 1})
    exploratory: Literal["allowed_but_labelled"] = "allowed_but_labelled"
    """What is not registered may be reported, and is called exploratory."""

    @field_validator("claims")
    @classmethod
    def _some(cls, claims: tuple[ClaimSection, ...]) -> tuple[ClaimSection, ...]:
        if not claims:
            raise ValueError("is empty, but a claims file claims something: write a claim")
        return claims

    @property
    def comparisons(self) -> dict[str, CompareSection]:
        """Who is compared, by claim; a claim without `compare` has that of the claim before."""
        found: dict[str, CompareSection] = {}
        latest: CompareSection | None = None
        for claim in self.claims:
            latest = claim.compare or latest
            if latest is not None:
                found[claim.id] = latest
        return found

    @property
    def amended_after_data(self) -> dict[str, str]:
        """When and why, by the id of each claim that was changed after results had been seen."""
        notes: dict[str, list[str]] = {}
        for amendment in self.amendments:
            for claim in amendment.claims if amendment.after_data else ():
                notes.setdefault(claim, []).append(f"{amendment.at}: {amendment.reason}")
        return {claim: "; ".join(written) for claim, written in notes.items()}

    def claim_set(self) -> ClaimSet:
        """What the engine reads."""
        comparisons = {name: _comparison(written) for name, written in self.comparisons.items()}
        amended = self.amended_after_data
        return ClaimSet(
            claims=tuple(
                _claim(claim, comparisons[claim.id], amended.get(claim.id, "")) for claim in self.claims
            ),
            alpha=self.alpha,
            workloads=self.workloads,
            design=_design(self.design),
            study=self.study,
            registered=_registered(self.registered),
            amendments=tuple(_amendment(amendment) for amendment in self.amendments),
        )


def load_claims(path: str | Path, *, metrics: "Mapping[str, Metric] | None" = None) -> ClaimsFile:
    """Read a claims file.

    Args:
        path: the file.
        metrics: the metrics that a claim may name; None: those of the engine.

    Raises:
        SpecError: one sentence with the file, the claim, the key, the value, the rule and the way out.
    """
    return parse_claims(read_claims(path), source=str(path), metrics=metrics)


def read_claims(path: str | Path) -> dict[str, Any]:
    """The file as plain data.

    Raises:
        SpecError: it is missing, unreadable, no YAML, or no mapping.
    """
    return read_mapping(Path(path), kind="claims file", template="trialwright claims init")


def parse_claims(
    written: Mapping[str, Any], *, source: str, metrics: "Mapping[str, Metric] | None" = None
) -> ClaimsFile:
    """Claims from plain data; `source` names it in messages.

    Raises:
        SpecError: one sentence with the source, the claim, the key, the value, the rule and the way out.
    """
    check_plain(dict(written), source)
    data = dict(written)
    if isinstance(data.get("families"), Mapping):
        data["families"] = {
            name: _section(FamilySection, {} if inner is None else inner, f"{source}: family {name}")
            for name, inner in data["families"].items()
        }
    if isinstance(data.get("claims"), list):
        data["claims"] = tuple(
            _claim_section(inner, place, source) for place, inner in enumerate(data["claims"], start=1)
        )
    file = _section(ClaimsFile, data, source)
    check_rules(file, source, metrics)
    return file


def json_schema() -> dict[str, Any]:
    """JSON Schema of a claims file, for editors."""
    schema = ClaimsFile.model_json_schema()
    tau = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"$ref": "#/$defs/TauSection"}]}
    for name in ("PartSection", "SimpleClaim"):
        schema["$defs"][name]["properties"]["tau"].update(tau)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Trialwright claims",
    }


def _section(model: type[Model], written: Any, place: str) -> Model:
    """A section from plain data; its mistakes begin with `place`."""
    if not isinstance(written, Mapping):
        raise SpecError(f"{place} is {shown(written)}, but must be a mapping of keys to values: correct it.")
    try:
        return model.model_validate(dict(written))
    except ValidationError as error:
        raise SpecError(as_sentence(f"{place}: {first_mistake(error, model)}")) from None


def _claim_section(written: Any, number: int, source: str) -> ConjunctiveClaim | SimpleClaim:
    if not isinstance(written, Mapping):
        return _section(SimpleClaim, written, f"{source}: claim number {number}")
    name = written.get("id")
    named = isinstance(name, str) and name.strip()
    place = f"{source}: claim {cut(str(name))}" if named else f"{source}: claim number {number}"
    if "all_of" in written and "metric" in written:
        raise SpecError(f"{place} has both metric and all_of: move the metric into the list.")
    if "all_of" not in written:
        return _section(SimpleClaim, written, place)
    data = dict(written)
    if isinstance(data["all_of"], list):
        data["all_of"] = tuple(
            _section(PartSection, part, f"{place}, part {index}")
            for index, part in enumerate(data["all_of"], start=1)
        )
    return _section(ConjunctiveClaim, data, place)


def _comparison(written: CompareSection) -> Comparison:
    transform = None if written.at is None else parse_transform(written.at, roles=None)
    return Comparison(
        a=written.a, b=written.b or "", at=transform, at_text="" if transform is None else transform.text
    )


def _claim(claim: ConjunctiveClaim | SimpleClaim, comparison: Comparison, amended: str) -> Claim:
    return Claim(
        id=claim.id,
        title=claim.title,
        role=Role.EXPLORATORY if amended else Role(claim.role),
        comparison=comparison,
        parts=tuple(_part(part) for part in claim.parts),
        workloads=claim.workloads.removesuffix("(iqm)"),
        power=claim.plan.power,
        underpowered=claim.underpowered is not None,
        amended=amended,
        registered_role=Role(claim.role) if amended else None,
    )


def _part(part: PartSection) -> Part:
    sesoi = part.margin if part.sesoi is None and part.direction == "noninferior" else part.sesoi
    return Part(
        metric=part.metric,
        direction=Direction(part.direction),
        margin=part.margin or 0.0,
        sesoi=sesoi,
        equivalence=part.equivalence,
        relative=part.unit == "relative",
        factor=part.factor or "",
        tau=_tau(part),
        k=part.k,
        decades=part.decades,
        perturbation=part.perturbation or "",
        of=part.of or "loss",
        phase=part.phase or "",
        where={role: Range(low=low, high=high) for role, (low, high) in part.where.items()},
    )


def _tau(part: PartSection) -> Tau | None:
    if part.tau is None:
        return None
    return Tau(value=part.tau.value, ref=part.tau.family, within=part.tau.within)


def _design(design: DesignSection) -> Design:
    confirmation, sensitivity = design.confirmation, design.sensitivity
    return Design(
        seeds_max=confirmation.num_seeds if confirmation else None,
        looks=confirmation.looks if confirmation else (),
        spending=confirmation.spending if confirmation else "obf",
        replicates=sensitivity.replicates if sensitivity else None,
    )


def _registered(registered: RegisteredSection | None) -> dict[str, str]:
    if registered is None:
        return {}
    return {"sha256": registered.sha256, "at": registered.at, "commit": registered.commit}


def _amendment(amendment: AmendmentSection) -> dict[str, str]:
    return {
        "at": amendment.at,
        "reason": amendment.reason,
        "claims": ", ".join(amendment.claims),
        "after_data": "true" if amendment.after_data else "false",
        "previous": amendment.previous,
        "sha256": amendment.sha256,
    }
