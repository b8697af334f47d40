"""A study file: what is asked, on which workload, over which spaces, in which phases.

`load_spec` reads one; every mistake in it is one SpecError. A tier fills in the phases and sizes that the
file leaves out, so a loaded spec says everything: `canonical` writes it out in full, and reads back as the
same spec.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from search_spaces import FAMILIES, ROLES, Family, Param, Space, dimension_to_json, fitting_dimension
from search_spaces.errors import SpecError, unknown
from study.phases import Phases, Tier, default_grace_steps, fill_phases
from study.spec_checks import (
    ALL_FAMILIES,
    NAME,
    check_evaluations,
    check_matched,
    check_phases,
    check_sizes,
    check_spaces,
    check_variants,
)
from study.spec_dimensions import DimensionField
from study.spec_errors import SpecValueError, as_sentence, first_mistake, shown
from study.spec_file import check_plain, read_mapping
from study.spec_matched import Matched
from trainers.workload import Adapter, Base, Section, Task, Training, Variant, Workload

STUDY_TEMPLATE = Path(__file__).with_name("template.yaml").read_text(encoding="utf-8")
"""A commented study file to begin with."""

_LATER = ("variants", "matched")
_LATER_CONFIRMATION = ("default_seeds", "perturbed_seeds", "perturbations")
"""Fields that count in a digest where they say something, so that studies without them keep theirs."""


class Resources(Section):
    """What the study may use; it changes what a trial measures by rounding at the most."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    packs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Processes that each hold one copy of the base; auto: as many as fit, on a cluster as it is at the time, or
    as TRIALWRIGHT_MAY_GROW_TO says that it may grow. A number is asked for there even where fewer fit."""
    cpus_per_pack: int = Field(default=1, ge=1)
    gpus_per_pack: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Whole accelerators only: a fraction would not keep two packs apart. auto: one where there are any, or may
    come."""
    lanes: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Trials that share one copy of the base; auto: as many as a short calibration finds useful."""
    max_packs: int | None = Field(default=None, ge=1)
    """Upper limit for `packs: auto`."""
    max_device_hours: float | None = Field(default=None, gt=0)
    """Hours of packs, over the study's whole life, at which it stops in order; null: no limit."""
    max_hours: float | None = Field(default=None, gt=0)
    """Hours by the clock at which one launch stops in order; null: no limit."""

    @field_validator("packs", "lanes", mode="before")
    @classmethod
    def _auto_or_number(cls, written: Any) -> Any:
        number = isinstance(written, int) and not isinstance(written, bool) and written >= 1
        if written != "auto" and not number:
            raise ValueError(f"is {shown(written)}, but must be auto or a whole number from 1 on: correct it")
        return written


class StudySpec(Section):
    """One study, complete: every phase and size that will run is written in it."""

    model_config = ConfigDict(use_attribute_docstrings=True, title="Trialwright study")

    name: str
    """Letters, digits, dots, dashes and underscores; names the study in the ledger and in MLflow."""
    seed: int = Field(ge=0, lt=2**63)
    """Everything random derives from it."""
    base: Base
    task: Task
    adapter: Adapter = Adapter()
    training: Training
    variants: dict[str, Variant] = Field(default_factory=dict)
    """Families with settings fixed otherwise, by a name that `families` lists too."""
    families: tuple[str, ...] = Field(json_schema_extra={"minItems": 1})
    """Optimizer families and variants to compare."""
    spaces: dict[str, dict[str, DimensionField]] = Field(default_factory=dict)
    """Overrides of a family's own space, by family, or under `all` for every family that has it."""
    phases: Phases = Phases()
    resources: Resources = Resources()
    claims: str | None = None
    """Claims file whose verdicts the report gives."""
    tier: Tier | None = None
    """Sizes for what `phases` leaves out; without a tier, a phase that is absent is not run."""
    matched: tuple[Matched, ...] = ()
    """What the claims file lays out; written at launch, never by hand."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, written: Any) -> Any:
        return _filled(written) if isinstance(written, Mapping) else written

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"is {shown(name)}, but a name is 1 to 64 letters, digits, '.', '-' or '_', the first a "
                "letter or digit: rename it"
            )
        return name

    @field_validator("families")
    @classmethod
    def _known_families(cls, families: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not families:
            raise ValueError("is empty, but a study compares families: write at least one")
        known = [*FAMILIES, *info.data.get("variants", {})]
        for name in families:
            if name not in known:
                raise SpecValueError(unknown("family", name, known))
        repeated = sorted({name for name in families if families.count(name) > 1})
        if repeated:
            raise ValueError(f"holds {repeated[0]!r} twice: write each family once")
        return families

    @model_validator(mode="after")
    def _consistent(self) -> "StudySpec":
        check_variants(self)
        check_spaces(self)
        check_phases(self)
        check_sizes(self)
        check_evaluations(self)
        check_matched(self)
        return self

    @property
    def workload(self) -> Workload:
        """What every trial shares."""
        return Workload(base=self.base, task=self.task, adapter=self.adapter, training=self.training)

    def family(self, name: str) -> Family:
        """One of the study's families; a variant is its family under its own name, with its own gate exponent."""
        if name not in self.families:
            raise unknown(f"family of study {self.name}", name, self.families)
        variant = self.variants.get(name)
        if variant is None:
            return FAMILIES[name]
        whole = FAMILIES[variant.of]
        exponent = whole.gate_exponent if variant.gate_exponent is None else variant.gate_exponent
        return replace(whole, name=name, gate_exponent=exponent, reductions=(), paper=False)

    def summary(self, name: str) -> str:
        """What a family of the study is, in a few words."""
        variant = self.variants.get(name)
        if variant is None:
            return FAMILIES[name].summary
        return f"{variant.of} with " + ", ".join(f"{key} {value}" for key, value in variant.settings.items())

    def space(self, family_name: str) -> Space:
        """The space of one of the study's families: its own, overrides for all applied, then those by name.

        A variant takes those of its family too, so that both are searched over the same space.
        """
        own = self.family(family_name).space
        shared = self.spaces.get(ALL_FAMILIES, {})
        overrides = {role: dimension for role, dimension in shared.items() if role in own.dimensions}
        if family_name in self.variants:
            overrides.update(self.spaces.get(self.variants[family_name].of, {}))
        overrides.update(self.spaces.get(family_name, {}))
        return own.override(
            {role: fitting_dimension(role, dimension) for role, dimension in overrides.items()}
        )

    def defaults(self, family_name: str) -> dict[str, Param]:
        """A family's default configuration, moved into its space in this study."""
        return self.space(family_name).nearest(self.family(family_name).defaults)

    def canonical(self) -> dict[str, Any]:
        """The study as plain JSON data with every default and every space written out."""
        written = self.model_dump(mode="json", exclude=None if self.matched else {"matched"})
        written["spaces"] = {
            name: {role: dimension_to_json(d) for role, d in self.space(name).dimensions.items()}
            for name in self.families
        }
        return written

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all that decides which trials run and what they measure.

        Resources and the place of the claims file are left out: a study may move to other hardware. So is the limit
        on evaluations, which refuses studies and changes none. Of the claims, only the trials that they lay out count.
        """
        decisive = {
            key: value for key, value in self.canonical().items() if key not in {"resources", "claims"}
        }
        del decisive["training"]["max_evaluation_share"]
        decisive["base"] = self.base.decisive
        _drop_empty(decisive, _LATER)
        _drop_empty(decisive["phases"]["confirmation"] or {}, _LATER_CONFIRMATION)
        decisive["space_digests"] = {name: self.space(name).digest for name in self.families}
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def load_spec(path: str | Path) -> StudySpec:
    """Read a study file; relative paths in it start from its folder.

    Raises:
        SpecError: one sentence with the file, the key, the value, the rule and the way out.
    """
    path = Path(path)
    written = read_mapping(path)
    if "matched" in written:
        raise SpecError(f"{path}: the key 'matched' is written at launch, from the claims file: remove it.")
    check_plain(written, str(path))
    try:
        anchored = _anchored(written, path.parent.absolute())
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    spec = parse_spec(anchored, source=str(path))
    if spec.claims is not None and not Path(spec.claims).is_file():
        raise SpecError(
            f"{path}: claims is {spec.claims!r}, but there is no such file: correct or remove it."
        )
    return spec


def parse_spec(written: Mapping[str, Any], source: str) -> StudySpec:
    """A study from plain data; `source` names it in messages.

    Raises:
        SpecError: one sentence with the source, the key, the value, the rule and the way out.
    """
    check_plain(written, source)
    try:
        spec = StudySpec.model_validate(written)
    except ValidationError as error:
        raise SpecError(as_sentence(f"{source}: {first_mistake(error, StudySpec)}")) from None
    _refuse_bool_as_number(written, spec.model_dump(), source, "")
    return spec


def json_schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors."""
    schema = StudySpec.model_json_schema()
    known, sections = sorted(FAMILIES), schema["properties"]
    del sections["matched"], schema["$defs"]["Matched"]  # not for people
    own_name = {"pattern": f"^{NAME.pattern}$", "not": {"enum": [ALL_FAMILIES, *known]}}
    sections["variants"]["propertyNames"] = own_name
    schema["$defs"]["Variant"]["properties"]["of"]["enum"] = known
    sections["families"].update(items={"anyOf": [{"enum": known}, {"type": "string"}]}, uniqueItems=True)
    sections["spaces"]["additionalProperties"]["propertyNames"] = {"enum": list(ROLES)}
    schema["if"] = {"required": ["variants"], "properties": {"variants": {"minProperties": 1}}}
    schema["else"] = {
        "properties": {
            "families": {"items": {"enum": known}},
            "spaces": {"propertyNames": {"enum": [ALL_FAMILIES, *known]}},
        }
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _filled(written: Mapping[str, Any]) -> dict[str, Any]:
    """`written` with the tier's sizes, and the grace period that follows from the training section."""
    phases = written.get("phases")
    phases = {} if phases is None else phases
    tier = written.get("tier")
    if not isinstance(phases, Mapping):
        return dict(written)
    if tier in ("smoke", "standard", "strong"):
        phases = fill_phases(phases, tier)
    search = phases.get("search")
    if isinstance(search, Mapping) and search.get("grace_steps") is None:
        try:
            training = Training.model_validate(written.get("training"))
        except ValidationError:
            return {**written, "phases": phases}
        grace = default_grace_steps(training.steps, training.warmup, training.eval_every)
        phases = {**phases, "search": {**search, "grace_steps": grace}}
    return {**written, "phases": phases}


def _drop_empty(section: dict[str, Any], fields: Iterable[str]) -> None:
    for field in fields:
        if not section.get(field):
            section.pop(field, None)


def _anchored(written: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths made absolute: workers do not share the folder of whoever launches the study.

    Raises:
        SpecError: a path is none.
    """
    anchored = dict(written)
    base, task, claims = written.get("base"), written.get("task"), written.get("claims")
    if isinstance(base, dict) and str(base.get("model")).startswith("path:"):
        anchored["base"] = {**base, "model": f"path:{_absolute(base['model'].removeprefix('path:'), folder)}"}
    if isinstance(task, dict) and isinstance(task.get("path"), str):
        anchored["task"] = {**task, "path": _absolute(task["path"], folder)}
    if isinstance(claims, str):
        anchored["claims"] = _absolute(claims, folder)
    return anchored


def _absolute(path: str, folder: Path) -> str:
    try:
        whole = folder / Path(path).expanduser()
        whole.is_file()  # raises where no file could have this name
    except RuntimeError:
        raise SpecError(
            f"The path {shown(path)} begins with a user that is not known here: write it in full."
        ) from None
    except OSError as error:
        raise SpecError(
            f"The path {shown(path)} cannot be looked at ({error.strerror}): correct it."
        ) from None
    return str(whole)


def _refuse_bool_as_number(written: Any, read: Any, source: str, key: str) -> None:
    """Refuse true where a number was read from it, as in `steps: true`."""
    if isinstance(written, bool) and not isinstance(read, bool):
        raise SpecError(f"{source}: {key} is {shown(written)}, but must be a number: correct it.")
    if isinstance(written, Mapping) and isinstance(read, Mapping):
        for name in written.keys() & read.keys():
            _refuse_bool_as_number(written[name], read[name], source, f"{key}.{name}" if key else name)
    if isinstance(written, list) and isinstance(read, tuple):
        for place, (inner, inner_read) in enumerate(zip(written, read, strict=False)):
            _refuse_bool_as_number(inner, inner_read, source, f"{key}.{place}")
