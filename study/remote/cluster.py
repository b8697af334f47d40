"""Studies on a Ray cluster: the same commands run on its head, as jobs, and what they say comes back."""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from search_spaces.errors import RetryableError, SpecError, TrialwrightError
from study import jobs
from study.bundle import BUNDLE_VARIABLE, bundle_of, unpack_bundle
from study.jobs.relay import Relayed, relayed, save_files
from study.remote.telling import DONE, INTERRUPTED, how_to_go_on, left_running, say, show_live

NO_SUCH_COMMAND = 127
"""Exit code of a shell that does not find a program."""
DIGEST = "trialwright_bundle"
"""Key of a job's metadata with the digest of the study that it was submitted with."""


@dataclass(frozen=True)
class ClusterRemote:
    """The cluster whose dashboard is at an address."""

    address: str

    def launch(
        self,
        study_file: Path,
        *,
        last_phase: str | None,
        tracking_uri: str | None,
        detach: bool,
        as_json: bool,
    ) -> int:
        """Submit a driver, or follow the one that drives this very study."""
        from study.preflight import with_claims
        from study.spec import load_spec

        with_claims(load_spec(study_file))  # what can be known to be wrong is told before anything is sent
        text = bundle_of(study_file)
        bundle = unpack_bundle(text)
        arguments = ["launch", "--bundled"]
        arguments += ["--phase", last_phase] if last_phase else []
        return self._drive(
            bundle.name,
            [*arguments, *_shared(tracking_uri, as_json=as_json)],
            env={BUNDLE_VARIABLE: text},
            digest=bundle.digest,
            detach=detach,
            as_json=as_json,
        )

    def resume(self, study: str | None, *, tracking_uri: str | None, detach: bool, as_json: bool) -> int:
        """Submit a driver for a study that the cluster keeps."""
        name = study or self._newest()
        arguments = ["resume", name, *_shared(tracking_uri, as_json=as_json)]
        return self._drive(name, arguments, env={}, digest="", detach=detach, as_json=as_json)

    def status(self, study: str | None, *, watch: bool, as_json: bool) -> int:
        """Run `status` there; watching keeps one job for as long as it is watched."""
        if watch:
            return self._watch(study)
        return _print(self._relayed(["status", *_named(study), *(["--json"] if as_json else [])]))

    def stop(self, study: str | None) -> int:
        """Run `stop` there."""
        return _print(self._relayed(["stop", *_named(study)]))

    def report(self, study: str | None, *, formats: str, out: Path | None) -> int:
        """Run `report` there and bring its files back."""
        name = study or self._newest()
        result = self._relayed(["report", name, "--format", formats], brings_files=True)
        if result.code != DONE:
            return _print(result)
        click.echo(result.err, err=True, nl=False)
        for path in save_files(result.files, out or Path(f"{name}-report")):
            click.echo(str(path))
        return DONE

    def _drive(
        self,
        study: str,
        arguments: Sequence[str],
        *,
        env: dict[str, str],
        digest: str,
        detach: bool,
        as_json: bool,
    ) -> int:
        """Have one driver, new or running, and follow it."""
        running = jobs.running_driver(self.address, study)
        if running is None:
            job_id = jobs.submit(
                self.address,
                arguments,
                env=env,
                job_id=jobs.driver_id(study),
                metadata={DIGEST: digest} if digest else {},
            )
            say(f"Study {study} was submitted to {self.address} as job {job_id}.")
        else:
            _check_same(running.metadata.get(DIGEST, ""), digest, study, running.id)
            job_id = running.id
            say(f"Study {study} runs at {self.address} already, as job {job_id}.")
        if detach:
            if as_json:
                click.echo(json.dumps({"study": study, "state": "submitted", "job": job_id}))
            say(how_to_go_on(study, self.address))
            return DONE
        return self._follow(study, job_id, as_json=as_json)

    def _follow(self, study: str, job_id: str, *, as_json: bool) -> int:
        last = ""
        try:
            for line in _said(jobs.follow(self.address, job_id)):
                last = line
                if not as_json:
                    click.echo(line, err=line.startswith("trialwright: "))
            ended = jobs.state(self.address, job_id)
        except KeyboardInterrupt:
            return left_running(study, self.address)
        except RetryableError as error:
            raise RetryableError(
                f"{str(error).rstrip('.')}; study {study} may still run. {how_to_go_on(study, self.address)}"
            ) from None
        code = _exit_code(ended)
        if as_json:
            is_document = last.startswith("{")
            click.echo(last, err=not is_document)
        return code

    def _watch(self, study: str | None) -> int:
        with closing(self._documents(study)) as documents:
            show_live(documents)
        return DONE

    def _documents(self, study: str | None) -> Generator[dict[str, Any], None, None]:
        """Status documents as they change; a job writes them, and is ended when nobody wants more."""
        arguments = ["status", *_named(study), "--lines"]
        while True:
            job_id = jobs.submit(self.address, arguments, env={})
            said: list[str] = []
            document: dict[str, Any] | None = None
            try:
                for line in _said(jobs.follow(self.address, job_id)):
                    if line.startswith("{"):
                        document = json.loads(line)
                        yield document
                    else:
                        said.append(line)
            finally:
                with suppress(TrialwrightError):
                    jobs.stop(self.address, job_id)
            if document is None:
                raise _told(jobs.state(self.address, job_id), said)
            if document["state"] != "running":
                return

    def _newest(self) -> str:
        """The name of the study that was launched last."""
        result = self._relayed(["status", "--json"])
        if result.code != DONE:
            raise SpecError(result.err.strip().removeprefix("trialwright: "))
        return str(json.loads(result.out)["study"])

    def _relayed(self, arguments: Sequence[str], *, brings_files: bool = False) -> Relayed:
        """Run a short command there; its result."""
        files = ["--files"] if brings_files else []
        job_id = jobs.submit(self.address, ["relay", *files, "--", *arguments], env={})
        lines = list(jobs.follow(self.address, job_id))
        result = relayed(lines)
        if result is None:
            raise _told(jobs.state(self.address, job_id), list(_said(lines)))
        with suppress(TrialwrightError):
            jobs.forget(self.address, job_id)
        return result


def _shared(tracking_uri: str | None, *, as_json: bool) -> list[str]:
    return [*(["--tracking-uri", tracking_uri] if tracking_uri else []), *(["--json"] if as_json else [])]


def _named(study: str | None) -> list[str]:
    return [] if study is None else [study]


def _print(result: Relayed) -> int:
    click.echo(result.out, nl=False)
    click.echo(result.err, err=True, nl=False)
    return result.code


def _said(lines: Iterator[str] | list[str]) -> Iterator[str]:
    """What a job's command said, without what Ray writes before it."""
    has_begun = False
    for line in lines:
        if has_begun:
            yield line
        has_begun = has_begun or line.startswith("Running entrypoint for job ")


def _check_same(theirs: str, ours: str, study: str, job_id: str) -> None:
    """Refuse to follow a driver of another study that has the same name."""
    if theirs and ours and theirs != ours:
        raise SpecError(
            f"Study {study!r} runs already, as job {job_id!r}, and its file or its claims were others: stop it first, "
            "or give this one another name."
        )


def _exit_code(ended: jobs.JobState) -> int:
    """That of the job's command.

    Raises:
        SpecError: the head has no such command.
        RetryableError: the command never ended by itself.
    """
    if ended.exit_code == NO_SUCH_COMMAND:
        raise _told(ended, [])
    if ended.exit_code is not None and ended.exit_code >= 0:
        return ended.exit_code
    if ended.status is jobs.JobStatus.STOPPED:
        return INTERRUPTED
    raise _told(ended, [])


def _told(ended: jobs.JobState, said: Sequence[str]) -> TrialwrightError:
    """A sentence for a job that did not do its work."""
    if ended.exit_code == NO_SUCH_COMMAND:
        return SpecError(
            "The head of the cluster does not find the command trialwright: install it there, and start Ray with the "
            "folder of the command on its PATH."
        )
    told = [line.removeprefix("trialwright: ") for line in said if line.strip()]
    if ended.exit_code == 2 and told:  # noqa: PLR2004 -- a mistake, told in one sentence
        return SpecError(told[-1])
    cause = told[-1] if told else ended.message
    return RetryableError(
        f"Job {ended.id!r} ended without a result ({ended.status.value.lower()}: {cause[:300].rstrip('.')}): look at "
        "its log on the dashboard, then try again."
    )
