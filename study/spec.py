"""A study file: what is asked, on which workload, over which spaces, in which phases.

`load_spec` reads one; every mistake in it is one SpecError. A tier fills in the phases and sizes that the
file leaves out, so a loaded spec says everything: `canonical` writes it out in full, and reads back as the
same spec.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from search_spaces import FAMILIES, ROLES, Space, dimension_to_json, family, fitting_dimension
from search_spaces.errors import SpecError, unknown
from study.phases import Phases, Tier, default_grace_steps, fill_phases
from study.spec_dimensions import DimensionField
from study.spec_errors import SpecValueError, first_mistake, shown
from study.spec_file import check_plain, read_mapping
from trainers.workload import Adapter, Base, Section, Task, Training, Workload

STUDY_TEMPLATE = Path(__file__).with_name("template.yaml").read_text(encoding="utf-8")
"""A commented study file to begin with."""

ALL_FAMILIES = "all"
"""Key of `spaces` whose overrides hold for every family that has the hyperparameter."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Resources(Section):
    """What the study may use; it changes what a trial measures by rounding at the most."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    packs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Processes that each hold one copy of the base; auto: as many as fit."""
    cpus_per_pack: int = Field(default=1, ge=1)
    gpus_per_pack: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Whole accelerators only: a fraction would not keep two packs apart. auto: one where there are any."""
    lanes: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Trials that share one copy of the base; auto: as many as a short calibration finds useful."""
    max_packs: int | None = Field(default=None, ge=1)
    """Upper limit for `packs: auto`."""

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
    families: tuple[str, ...] = Field(json_schema_extra={"minItems": 1})
    """Optimizer families to compare."""
    spaces: dict[str, dict[str, DimensionField]] = Field(default_factory=dict)
    """Overrides of a family's own space, by family, or under `all` for every family that has it."""
    phases: Phases = Phases()
    resources: Resources = Resources()
    claims: str | None = None
    """Claims file whose verdicts the report gives."""
    tier: Tier | None = None
    """Sizes for what `phases` leaves out; without a tier, a phase that is absent is not run."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, written: Any) -> Any:
        return _filled(written) if isinstance(written, Mapping) else written

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"is {shown(name)}, but a name is 1 to 64 letters, digits, '.', '-' or '_', the first a "
                "letter or digit: rename it"
            )
        return name

    @field_validator("families")
    @classmethod
    def _known_families(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        if not families:
            raise ValueError("is empty, but a study compares families: write at least one")
        for name in families:
            if name not in FAMILIES:
                raise SpecValueError(unknown("family", name, FAMILIES))
        repeated = sorted({name for name in families if families.count(name) > 1})
        if repeated:
            raise ValueError(f"holds {repeated[0]!r} twice: write each family once")
        return families

    @model_validator(mode="after")
    def _consistent(self) -> "StudySpec":
        _check_spaces(self)
        _check_phases(self)
        return self

    @property
    def workload(self) -> Workload:
        """What every trial shares."""
        return Workload(base=self.base, task=self.task, adapter=self.adapter, training=self.training)

    def space(self, family_name: str) -> Space:
        """The space of one of the study's families, overrides applied."""
        if family_name not in self.families:
            raise unknown(f"family of study {self.name}", family_name, self.families)
        own = family(family_name).space
        shared = self.spaces.get(ALL_FAMILIES, {})
        overrides = {role: dimension for role, dimension in shared.items() if role in own.dimensions}
        overrides.update(self.spaces.get(family_name, {}))
        return own.override(
            {role: fitting_dimension(role, dimension) for role, dimension in overrides.items()}
        )

    def canonical(self) -> dict[str, Any]:
        """The study as plain JSON data with every default and every space written out."""
        written = self.model_dump(mode="json")
        written["spaces"] = {
            name: {role: dimension_to_json(d) for role, d in self.space(name).dimensions.items()}
            for name in self.families
        }
        return written

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all that decides which trials run and what they measure.

        Resources and the place of the claims file are left out: a study may move to other hardware.
        """
        decisive = {
            key: value for key, value in self.canonical().items() if key not in {"resources", "claims"}
        }
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
    spec = parse_spec(_anchored(written, path.parent.absolute()), source=str(path))
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
        raise SpecError(f"{source}: {first_mistake(error, StudySpec)}.") from None
    _refuse_bool_as_number(written, spec.model_dump(), source, "")
    return spec


def json_schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors."""
    schema = StudySpec.model_json_schema()
    names = {"enum": sorted(FAMILIES)}
    schema["properties"]["families"].update(items=names, uniqueItems=True)
    schema["properties"]["spaces"]["propertyNames"] = {"enum": [ALL_FAMILIES, *sorted(FAMILIES)]}
    schema["properties"]["spaces"]["additionalProperties"]["propertyNames"] = {"enum": list(ROLES)}
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


def _check_spaces(spec: StudySpec) -> None:
    for name, overrides in spec.spaces.items():
        if name != ALL_FAMILIES and name not in spec.families:
            error = unknown("family of this study", name, [ALL_FAMILIES, *spec.families])
            raise ValueError(f"spaces.{name}: {error}")
        owners = spec.families if name == ALL_FAMILIES else (name,)
        for role, dimension in overrides.items():
            known = {known: None for owner in owners for known in family(owner).space.dimensions}
            if role not in known:
                kind = (
                    "hyperparameter of these families"
                    if len(owners) > 1
                    else f"hyperparameter of {owners[0]}"
                )
                raise ValueError(f"spaces.{name}: {unknown(kind, role, known)}")
            try:
                fitting_dimension(role, dimension)
            except SpecError as error:
                raise ValueError(f"spaces.{name}.{role}: {error}") from None
    for name in spec.families:
        try:
            spec.space(name)
        except SpecError as error:
            blamed = name if name in spec.spaces else ALL_FAMILIES
            raise ValueError(f"spaces.{blamed}: {error}") from None


def _check_phases(spec: StudySpec) -> None:
    phases, steps = spec.phases, spec.training.steps
    if not (phases.search or phases.sensitivity or phases.confirmation):
        raise ValueError("phases is empty, but a study needs one: write `tier: standard` or a phase")
    if phases.search:
        grace = phases.search.grace_steps
        if grace > steps:
            raise ValueError(
                f"phases.search.grace_steps is {grace}, above training.steps = {steps}: lower it"
            )
        if grace < spec.training.warmup * steps:
            raise ValueError(
                f"phases.search.grace_steps is {grace}, but no trial may be stopped during the warm-up of "
                f"{spec.training.warmup * steps:g} steps: raise it"
            )
    lr_slice = phases.sensitivity.lr_slice if phases.sensitivity else None
    odd = set(lr_slice.window) ^ set(spec.families) if lr_slice and isinstance(lr_slice.window, dict) else ()
    if odd:
        raise ValueError(
            f"phases.sensitivity.lr_slice.window and families differ by {min(odd)!r}: "
            "declare one window for each family"
        )


def _anchored(written: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths made absolute: workers do not share the folder of whoever launches the study."""
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
    return str(folder / Path(path).expanduser())


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
