"""`trialwright reproduce` from its record to its verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from search_spaces.errors import SpecError
from study.home import Home
from study.ledger import Ledger
from study.preflight import preflight
from study.reproduction.comparison import Comparison, compare
from study.reproduction.differences import (
    Difference,
    Promise,
    check_inputs,
    device_type,
    differences,
    facts_of,
    promise,
)
from study.reproduction.record import Record, RecordedTrial
from study.reproduction.rerun import Rerun, rerun_home, rerun_spec
from study.reproduction.sample import sample
from study.reproduction.taking import take_record
from study.runner import View
from study.spec import StudySpec

FILE_NAME = "reproduction.json"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user asks of a reproduction."""

    address: str | None = None
    """A Ray cluster; None: this machine."""
    into: Path | None = None
    """Folder of the rerun; None: one in the home."""
    num_trials: int | None = None
    """Size of a sample; None: the whole study."""
    sample_seed: int = 0
    """Seed of the sample's draw."""
    tolerance: float = 0.0
    """Largest relative difference of a loss where equality is not promised."""
    allows_other_inputs: bool = False
    """Whether data and base model may be others."""
    base: str | None = None
    """Where the base model is here; None: as recorded."""
    data: Path | None = None
    """Where the user's own rows are here; None: as recorded."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of it."""

    format: Literal["trialwright-reproduction"] = "trialwright-reproduction"
    version: Literal[1] = 1
    study: str
    uid: str
    """Random name of the study."""
    verdict: Literal["reproduced", "differs", "interrupted"]
    reason: str
    """Why it was interrupted; empty when it was not."""
    home: str
    """Folder of the rerun."""
    sample: tuple[str, ...] | None
    """Trials of the sample; null: the whole study."""
    differences: tuple[Difference, ...]
    """What is not the same here."""
    promise: Promise
    comparison: Comparison | None
    """Null where the rerun was interrupted."""


def reproduce(
    record: Record, home: Home, wanted: Wanted, *, view: View, tell: Callable[[Record, Promise, Any], None]
) -> Reproduction:
    """Run a study again from its record, as far as an earlier call has not, and compare.

    Args:
        record: of the study.
        home: gets the rerun, unless another folder is wanted.
        wanted: how.
        view: is told what happens.
        tell: hears, before anything is started, what differs here and how near the measurements must be.

    Raises:
        SpecError: a mistake of the user's, or other data or another base model than the study's; nothing was started.
        TrialwrightError: the surroundings failed.
    """
    chosen = _chosen(record, wanted)
    place = rerun_home(home, record, is_sample=chosen is not None, into=wanted.into)
    spec = rerun_spec(record, place, base=wanted.base, data=wanted.data)
    facts = preflight(spec, place, tracking_uri=place.tracking_uri, address=wanted.address, say=view.say)
    found = _differences(record, spec, facts)
    if not wanted.allows_other_inputs:
        check_inputs(found, record.name)
    promised = promise(spec, record, found, wanted.tolerance)
    tell(record, promised, found)
    reason = Rerun(
        record=record,
        spec=spec,
        home=place,
        facts=facts,
        address=wanted.address,
        sample=chosen,
        view=view,
    ).run()
    keys = None if chosen is None else frozenset(one.key for one in chosen)
    compared = None if reason else _compared(record, place, promised, keys)
    verdict: Literal["reproduced", "differs", "interrupted"] = "interrupted"
    if compared is not None:
        verdict = "reproduced" if compared.reproduced else "differs"
    return Reproduction(
        study=record.name,
        uid=record.uid,
        verdict=verdict,
        reason=reason,
        home=str(place.root),
        sample=None if chosen is None else tuple(one.key for one in chosen),
        differences=found,
        promise=promised,
        comparison=compared,
    )


def to_document(result: Reproduction) -> dict[str, Any]:
    """The result as plain JSON data, as `docs/reproduction.schema.json` describes it."""
    plain: dict[str, Any] = TypeAdapter(Reproduction).dump_python(result, mode="json")
    return plain


def json_schema() -> dict[str, Any]:
    """JSON Schema of the document."""
    return TypeAdapter(Reproduction).json_schema(mode="serialization")


def _chosen(record: Record, wanted: Wanted) -> list[RecordedTrial] | None:
    if wanted.num_trials is not None:
        return sample(record, wanted.num_trials, wanted.sample_seed)
    if record.state not in {"finished", "failed"}:
        raise SpecError(
            f"Study {record.name!r} has not ended (it is {record.state}), so there is nothing whole to reproduce: let "
            "it end, or reproduce some of its trials by --trials N."
        )
    return None


def _differences(record: Record, spec: StudySpec, facts: dict[str, Any]) -> tuple[Difference, ...]:
    recorded = record.spec.get("resources") or {}
    probe = record.precision or {}
    device = device_type(record)
    then = facts_of(
        record.manifest,
        device=", ".join(filter(None, (device, probe.get("device_name")))),
        threads=int(recorded.get("cpus_per_pack", 1)),
    )
    now = facts_of(
        facts,
        device=_device_here(spec, has_name=bool(probe.get("device_name"))) if device else "",
        threads=spec.resources.cpus_per_pack,
    )
    return differences(then, now)


def _device_here(spec: StudySpec, *, has_name: bool) -> str:
    """What trials would train on here, in the record's words; on a cluster, the nodes must be like this machine."""
    import torch

    from trainers.precision import device_name

    is_cpu = spec.resources.gpus_per_pack == 0 or not torch.cuda.is_available()
    device = torch.device("cpu" if is_cpu else "cuda")
    return f"{device.type}, {device_name(device)}" if has_name else device.type


def _compared(record: Record, place: Home, promised: Promise, keys: frozenset[str] | None) -> Comparison:
    with Ledger.open(place.ledger_url) as ledger:
        again = take_record(ledger, record.name)
    return compare(record, again, tolerance=None if promised.exact else promised.tolerance, trials=keys)
