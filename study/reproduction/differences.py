"""What is not the same here as where a study ran, and whether its measurements must be the same to the bit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.errors import SpecError
from study.reproduction.record import Record
from study.spec import StudySpec

DEFAULT_TOLERANCE = 1e-3
"""Largest relative difference of a loss where equality is not promised."""
INPUTS = {"data_digest": "data", "base_digest": "base model"}
"""Digests of what a study reads, with what they are of."""
_ROUNDS_OTHERWISE = frozenset({"python", "processor", "libc", "device", "threads", "packages"})
"""Facts that decide which kernels run and in which order they add."""
_LIBC = re.compile(r"-with-(\S+)$")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A fact that is not the same here."""

    fact: str
    """Such as `packages.torch`."""
    then: str
    """Where the study ran."""
    now: str
    """Here."""
    rounds_otherwise: bool
    """Whether measurements may differ by rounding because of it."""


@dataclass(frozen=True, kw_only=True)
class Promise:
    """How near the measurements of another run must be."""

    exact: bool
    """Whether every figure must be the same to the bit."""
    tolerance: float
    """Largest relative difference of a loss; 0 where exact."""
    because: tuple[str, ...]
    """Why exactness is not promised, a clause each; empty where it is."""


def facts_of(manifest: Mapping[str, Any], *, device: str, threads: int) -> dict[str, str]:
    """A manifest as one flat table.

    Args:
        manifest: of a study, as `study.manifest` makes it.
        device: what trials trained on, such as `cpu, x86_64 with AVX512`; empty where it is not known.
        threads: threads of an operation.
    """
    plain = {key: value for key, value in manifest.items() if not isinstance(value, Mapping)}
    for section in ("space_digests", "packages"):
        plain |= {f"{section}.{key}": value for key, value in (manifest.get(section) or {}).items()}
    libc = _LIBC.search(str(manifest.get("platform", "")))
    plain |= {
        "claims_digest": (manifest.get("claims") or {}).get("sha256"),
        "libc": libc.group(1) if libc else None,
        "device": device or None,
        "threads": threads,
    }
    return {key: "absent" if value is None else str(value) for key, value in plain.items() if key != "claims"}


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Difference, ...]:
    """The facts that are not the same, what matters first; arguments as `facts_of` gives them."""
    found = [
        Difference(
            fact=fact,
            then=then.get(fact, "absent"),
            now=now.get(fact, "absent"),
            rounds_otherwise=fact.partition(".")[0] in _ROUNDS_OTHERWISE,
        )
        for fact in dict.fromkeys((*then, *now))
        if then.get(fact, "absent") != now.get(fact, "absent")
    ]
    return tuple(sorted(found, key=lambda one: not one.rounds_otherwise))


def check_inputs(found: tuple[Difference, ...], study: str) -> None:
    """Refuse to run a study on other text or another model.

    Raises:
        SpecError: naming the first input that is not the study's.
    """
    for one in found:
        if one.fact in INPUTS:
            raise SpecError(
                f"The {INPUTS[one.fact]} of study {study!r} is not the same here ({one.then[:12]}… then, "
                f"{one.now[:12]}… now): bring the study's own (--base and --data name it where it "
                "lies elsewhere), or see what the other one gives by --allow-other-inputs."
            )


def promise(spec: StudySpec, record: Record, found: tuple[Difference, ...], tolerance: float) -> Promise:
    """How near the measurements must be: to the bit in float32 on one thread of an equal processor and equal versions.

    Args:
        spec: the study as it runs here.
        record: of the study.
        found: what differs here.
        tolerance: what holds where equality is not promised.
    """
    device = device_type(record)
    because = [
        f"{one.fact} was {one.then} and is {one.now}"
        for one in found
        if one.rounds_otherwise or one.fact in INPUTS
    ]
    if spec.base.dtype != "float32" or spec.base.quantization != "none":
        because.append(f"the base is in {spec.base.dtype if spec.base.quantization == 'none' else 'nf4'}")
    if record.matmul_mode != "highest":
        because.append(f"matrix products are done in mode {record.matmul_mode}")
    if device != "cpu":
        because.append(
            f"trials train on {device}" if device else "the record does not say what trials trained on"
        )
    if spec.resources.cpus_per_pack > 1:
        because.append(f"operations have {spec.resources.cpus_per_pack} threads")
    return Promise(exact=not because, tolerance=tolerance if because else 0.0, because=tuple(because))


def device_type(record: Record) -> str:
    """What the trials of a study trained on, `cpu` or `cuda`; empty where nothing tells."""
    told = (record.precision or {}).get("device_type")
    if told:
        return str(told)
    without_gpu = (record.spec.get("resources") or {}).get("gpus_per_pack") == 0
    return "cpu" if without_gpu or record.manifest.get("accelerators") == "none" else ""
