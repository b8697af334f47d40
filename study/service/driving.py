"""Creating, starting, stopping and deleting studies: what the API and the pages do, each an ordinary blocking call."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from search_spaces.errors import RetryableError, SpecError, TrialwrightError
from study.bundle import pack_bundle
from study.claims.yaml_block import as_block
from study.kept import remove_files
from study.ledger import Ledger, StudyRecord, StudyState
from study.plan import counted_plan
from study.runner import request_stop
from study.service.context import Context
from study.service.intake import CLAIMS_NAME, Submission
from study.service.launcher import DRIVER_FAILED, SUBMITTED
from study.service.problems import RETRY_AFTER_S, Problem
from study.service.views import is_starting
from trainers.places import StoreAwayError

_LOG = logging.getLogger("trialwright.service")


def create(context: Context, submission: Submission, *, by: str, key: str | None = None) -> bool:
    """Plan a study and have it driven; whether it is new.

    A request that was served before is not served again: the study is there, and nothing is started.

    Args:
        context: the app's.
        submission: a checked study.
        by: who asks, for the record.
        key: the request's idempotency key.

    Raises:
        Problem: 409, another study has the name.
        SpecError: the key came with another request before.
        RetryableError: no driver could be started now; the same request again starts it.
    """
    spec = submission.spec
    bundle = pack_bundle(submission.written, submission.claims)
    with context.changing:
        if key is not None:
            context.ledger.claim_request(key, submission.digest, spec.name)
        if not _is_new(context, submission):
            return False
        context.ledger.save_plan(spec.name, counted_plan(spec))
        _start(context, spec.name, bundle, by=by, resume=False)
    _LOG.info("Study %r was created by %r.", spec.name, by)
    return True


def _is_new(context: Context, submission: Submission) -> bool:
    """Put a study down, with its claims; False where this very study was started before, from here or a terminal.

    Raises:
        Problem: 409, another study has the name.
    """
    spec, claims = submission.spec, submission.claims
    path = context.home.study_dir(spec.name) / CLAIMS_NAME
    planned = spec.model_copy(update={"claims": None if claims is None else str(path)})
    try:
        record = context.ledger.create_study(spec.name, planned.canonical(), spec.digest, {})
    except SpecError as error:
        raise Problem(409, str(error)) from None
    events = context.ledger.events(spec.name)
    if record.manifest or any(event.kind == SUBMITTED for event in events):
        return False
    if claims is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_block(claims), encoding="utf-8")
    return True


def resume(context: Context, study: str, *, by: str) -> None:
    """Have a study go on.

    Raises:
        Problem: 409, it runs, starts, or has nothing left to do.
        RetryableError: no driver could be started now.
    """
    with context.changing:
        record = context.ledger.study(study)
        if context.ledger.holder(study) is not None or is_starting(context.ledger, study):
            raise Problem(409, f"Study {study!r} runs already: watch it, or stop it first.")
        if record.state is StudyState.FINISHED:
            raise Problem(
                409, f"Study {study!r} has finished, so nothing is left to resume: read its report."
            )
        _start(context, study, pack_bundle(*_kept(record)), by=by, resume=True)
    _LOG.info("Study %r was resumed by %r.", study, by)


def stop(context: Context, study: str, *, by: str) -> str:
    """Ask a study's driver to stop in order; one sentence on what will happen.

    Raises:
        Problem: 409, it does not run.
    """
    try:
        told = request_stop(context.ledger, study)
    except SpecError as error:
        raise Problem(409, str(error)) from None
    _LOG.info("Study %r was stopped by %r.", study, by)
    return told


def delete(context: Context, study: str, *, by: str) -> None:
    """Forget a study, with its checkpoints, adapters and reports.

    The record goes last: whatever breaks off before, the study is there and can be deleted again.

    Raises:
        Problem: 409, it runs or starts; 503, the object store with its files does not answer.
    """
    with context.changing:
        if is_starting(context.ledger, study):
            raise Problem(409, f"Study {study!r} is being started: wait until it runs, and stop it first.")
        with _held(context.ledger, study) as owner:
            try:
                remove_files(context.home, context.ledger, context.ledger.study(study))
            except StoreAwayError as error:
                _LOG.warning("Study %r could not be deleted: %s", study, error)
                raise Problem(
                    503,
                    f"Study {study!r} is not deleted, since the object store with its files does not answer: bring it "
                    "back, then delete the study again.",
                    headers={"Retry-After": str(RETRY_AFTER_S)},
                ) from None
            context.reports.forget(study)
            context.ledger.delete_study(study, owner)
    _LOG.info("Study %r was deleted by %r.", study, by)


@contextmanager
def _held(ledger: Ledger, study: str) -> Iterator[str]:
    """Keep drivers from a study for the duration of a block; yields the name under which it is held.

    Raises:
        Problem: 409, it runs.
    """
    held = ledger.holder(study)
    if held is not None:
        raise Problem(
            409,
            f"Study {study!r} is being run by process {held.pid} on {held.host}: stop it before it is deleted.",
        )
    owner = f"deletion-{uuid4().hex}"
    try:
        ledger.claim_study(study, owner)
    except SpecError as error:
        raise Problem(409, str(error)) from None
    try:
        yield owner
    finally:
        with suppress(SpecError):  # it is gone
            ledger.release_study(study, owner)


def claims_of(record: StudyRecord) -> Mapping[str, Any] | None:
    """The claims that a study was last launched with, or was created with."""
    from study.claims.file import read_claims

    kept = (record.manifest.get("claims") or {}).get("written")
    path = record.spec.get("claims")
    if kept is not None or not isinstance(path, str):
        return kept
    try:
        return read_claims(path)
    except SpecError:
        return None


def _kept(record: StudyRecord) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """A study as it could have been sent."""
    written = {key: value for key, value in record.spec.items() if key not in {"claims", "matched"}}
    return written, claims_of(record)


def _start(context: Context, study: str, bundle: str, *, by: str, resume: bool) -> None:
    launcher = context.launcher
    try:
        job = launcher.start(study, bundle, resume=resume)
    except (TrialwrightError, OSError) as error:  # a mistake of who runs the service, not of who asks
        context.ledger.record_event(study, DRIVER_FAILED, {"job": None, "log": str(error)})
        raise RetryableError(f"No driver of study {study!r} could be started: {error}") from error
    detail = {"address": launcher.describe(), "job": job, "by": by}
    context.ledger.record_event(study, SUBMITTED, detail)
