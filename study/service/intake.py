"""From what was submitted to a study that may be run: paths, sizes, claims, plan."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from search_spaces.errors import SpecError
from study.claims.yaml_block import as_block
from study.plan import counted_plan, smallest_effects
from study.preflight import check_rungs, with_claims
from study.service.bodies import CLAIMS, STUDY, Sent
from study.service.settings import ServiceSettings
from study.spec import StudySpec, parse_spec
from study.spec_file import read_mapping
from trainers.model_folder import parse_source
from trainers.parts import find_part
from trainers.tasks import find_task

CLAIMS_NAME = "claims.yaml"
_LOG = logging.getLogger("trialwright.service")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A study that may be run."""

    spec: StudySpec
    """Complete, with the trials that its claims ask for."""
    written: Mapping[str, Any]
    """The study as it was sent, without its claims."""
    claims: Mapping[str, Any] | None

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what was sent: equal requests have equal ones."""
        text = json.dumps([self.written, self.claims], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def check_sent(sent: Sent, settings: ServiceSettings, *, to_run: bool) -> Submission:
    """Check a submitted study as far as this machine can: the driver checks the rest where it runs.

    Args:
        sent: what was submitted.
        settings: the folders and the size that are allowed.
        to_run: whether it is to be started, so that claims must be locked.

    Raises:
        SpecError: the first thing that is wrong.
    """
    written, claims = _with_claims_inline(sent, settings.allow_paths)
    spec = parse_spec(written, source=STUDY)
    _check_size(spec, settings.max_trials)
    _check_workload(spec)
    with claims_file(claims) as path:
        complete = with_claims(spec.model_copy(update={"claims": path}))
        if to_run and path is not None and _gives_results(spec):
            from study.claims.lock import require_locked

            require_locked(path, complete)
    check_rungs(spec)
    return Submission(spec=complete.model_copy(update={"claims": None}), written=written, claims=claims)


def plan_document(submission: Submission) -> dict[str, Any]:
    """What a study will do: counts and smallest effects; nothing is timed here, where it will not run."""
    spec = submission.spec
    claims = (submission.claims or {}).get("claims", [])
    return {
        "study": spec.name,
        "digest": spec.digest,
        **counted_plan(spec),
        "smallest_effects": smallest_effects(spec),
        "claims": [str(claim.get("id")) for claim in claims],
    }


@contextmanager
def claims_file(claims: Mapping[str, Any] | None) -> Iterator[str | None]:
    """Path of a file with some claims, for the duration of a block; None without claims.

    Messages that name the file say `The claims` instead.
    """
    if claims is None:
        yield None
        return
    with TemporaryDirectory(prefix="trialwright-") as folder:
        path = str(Path(folder) / CLAIMS_NAME)
        Path(path).write_text(as_block(claims), encoding="utf-8")
        try:
            yield path
        except SpecError as error:
            raise SpecError(str(error).replace(path, CLAIMS)) from None


def _with_claims_inline(
    sent: Sent, allowed: Sequence[Path]
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """The study without `claims`, and the claims that came with it or lie where it says."""
    written = dict(sent.spec)
    if "matched" in written:
        raise SpecError(f"{STUDY}: the key 'matched' is written at launch, from the claims file: remove it.")
    base, task = written.get("base"), written.get("task")
    model = base.get("model") if isinstance(base, dict) else None
    if isinstance(model, str) and model.startswith("path:"):
        _require_allowed("base.model", model.removeprefix("path:"), allowed)
    if isinstance(task, dict) and task.get("path") is not None:
        _require_allowed("task.path", task["path"], allowed)
    named = written.pop("claims", None)
    if named is None:
        return written, sent.claims
    if sent.claims is not None:
        raise SpecError(f"{STUDY} names a claims file and comes with claims: send one of the two.")
    _require_allowed("claims", named, allowed)
    try:
        return written, read_mapping(Path(named), kind="claims file", template="trialwright claims init")
    except SpecError as error:
        raise SpecError(str(error).replace(str(named), CLAIMS)) from None


def _require_allowed(key: str, path: object, allowed: Sequence[Path]) -> None:
    """Refuse a path outside the allowed folders, whether or not anything is there.

    Raises:
        SpecError: naming the key, and nothing of the file system.
    """
    if isinstance(path, str) and "\0" not in path and Path(path).is_absolute():
        real = Path(os.path.realpath(path))
        if any(real.is_relative_to(os.path.realpath(folder)) for folder in allowed):
            return
    _LOG.warning("A study was refused: its %s is %r, outside the allowed folders.", key, path)
    raise SpecError(
        f"{STUDY}: {key} is {str(path)[:100]!r}, but this service reads only from folders that it was told to allow: "
        "write an absolute path in one of them, or ask who runs the service."
    )


def _check_size(spec: StudySpec, most: int) -> None:
    """Refuse a study that is too large, before anything of its size is computed."""
    search, sensitivity, confirmation = spec.phases.search, spec.phases.sensitivity, spec.phases.confirmation
    rough = [search.trials if search else 0]
    if sensitivity:
        rough.append(sensitivity.replicates * sensitivity.points)
    if confirmation:
        rough += [confirmation.seeds, confirmation.default_seeds, 2 * confirmation.perturbed_seeds]
    number = len(spec.families) * sum(rough)
    if number <= most:
        number = counted_plan(spec)["num_trials"]
    if number > most:
        raise SpecError(
            f"{STUDY} has {number:,} trials, but this service takes studies of at most {most:,}: "
            "lower phases.search.trials, replicates, points or seeds."
        )


def _check_workload(spec: StudySpec) -> None:
    """Refuse a task or a base that nobody knows; whether a folder holds one is seen where it is used."""
    try:
        find_task(spec.task.name)
        source = parse_source(spec.base)
        if source.scheme == "pypi":
            find_part(source.address)
    except SpecError as error:
        raise SpecError(f"{STUDY}: {error}") from None


def _gives_results(spec: StudySpec) -> bool:
    return bool(spec.phases.sensitivity or spec.phases.confirmation)
