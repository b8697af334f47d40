"""Studies that Trialwright's service keeps, through the same client that anyone may use from Python."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search_spaces.errors import RetryableError, SpecError
from study.bundle import bundle_of, unpack_bundle
from study.remote.telling import DONE, code_of, how_to_go_on, left_running, say, show_live, show_status

if TYPE_CHECKING:
    from study.client import Client

LINE_EVERY_S = 20.0
_ENDED = frozenset({"finished", "failed"})


@dataclass(frozen=True)
class ServiceRemote:
    """The service at an address."""

    address: str
    client: "Client"

    @classmethod
    def at(cls, address: str) -> "ServiceRemote":
        """Reach a service with the token of TRIALWRIGHT_TOKEN(_FILE).

        Raises:
            SpecError: the address or the token is none.
        """
        from study.client import Client

        return cls(address, Client(address))

    def launch(
        self,
        study_file: Path,
        *,
        last_phase: str | None,
        tracking_uri: str | None,
        detach: bool,
        as_json: bool,
    ) -> int:
        """Create a study, or go on with it, and show how it runs."""
        if last_phase is not None:
            raise SpecError("--phase is not known to the service, which runs all phases: leave it out.")
        _refuse_tracking(tracking_uri)
        bundle = unpack_bundle(bundle_of(study_file))
        spec = {key: value for key, value in bundle.spec.items() if key != "claims"}
        was_there = any(one["study"] == bundle.name for one in self.client.studies())
        document = self.client.create(spec, bundle.claims)
        if was_there and document["state"] not in _ENDED and not document["driver"]:
            with suppress(SpecError):  # it was being started
                self.client.resume(bundle.name)
        say(f"Study {bundle.name} was handed over to {self.address}.")
        return self._show(bundle.name, detach=detach, as_json=as_json)

    def resume(self, study: str | None, *, tracking_uri: str | None, detach: bool, as_json: bool) -> int:
        """Have a study go on."""
        _refuse_tracking(tracking_uri)
        name = self._name(study)
        say(self.client.resume(name)["told"])
        return self._show(name, detach=detach, as_json=as_json)

    def status(self, study: str | None, *, watch: bool, as_json: bool) -> int:
        """Show how far a study is."""
        name = self._name(study)
        if watch:
            show_live(self.client.watch(name))
        else:
            show_status(self.client.study(name), as_json=as_json)
        return DONE

    def stop(self, study: str | None) -> int:
        """Ask a study to stop in order."""
        click.echo(self.client.stop(self._name(study))["told"])
        return DONE

    def report(self, study: str | None, *, formats: str, out: Path | None) -> int:
        """Fetch a report."""
        name = self._name(study)
        chosen = [one.strip() for one in formats.split(",") if one.strip()]
        for path in self.client.report(name, chosen, out or Path(f"{name}-report")).values():
            click.echo(str(path))
        return DONE

    def _name(self, study: str | None) -> str:
        """The study that was named, or the newest."""
        if study is not None:
            return study
        known = self.client.studies()
        if not known:
            raise SpecError(f"There is no study at {self.address!r} yet: launch one with trialwright launch.")
        return str(known[0]["study"])

    def _show(self, study: str, *, detach: bool, as_json: bool) -> int:
        """Tell how a study runs until it comes to rest, unless nobody wants to know."""
        if detach:
            if as_json:
                show_status(self.client.study(study), as_json=True)
            say(how_to_go_on(study, self.address))
            return DONE
        try:
            for line in progress_lines(self.client.watch(study)):
                say(line)
            document = self.client.study(study)
        except KeyboardInterrupt:
            return left_running(study, self.address)
        except RetryableError as error:
            raise RetryableError(
                f"{str(error).rstrip('.')}; study {study} may still run. {how_to_go_on(study, self.address)}"
            ) from None
        if as_json:
            click.echo(json.dumps(document))
        else:
            show_status(document, as_json=False)
            click.echo(f"Report: trialwright report {study} --address {self.address}")
        return code_of(document)


def progress_lines(documents: Iterable[dict[str, Any]], *, every_s: float = LINE_EVERY_S) -> Iterator[str]:
    """A line for a log now and then, from status documents as they change."""
    told_at = float("-inf")
    for document in documents:
        now = time.monotonic()
        if now - told_at < every_s:
            continue
        told_at = now
        phases = ", ".join(f"{phase} {_share(numbers)}" for phase, numbers in document["phases"].items())
        training = ", ".join(document["running"]) or "nothing"
        yield f"{document['state']}: {phases or 'no trials yet'}; training {training}"


def _share(numbers: dict[str, int]) -> str:
    ended = sum(number for name, number in numbers.items() if name != "planned")
    return f"{ended} of {numbers['planned']}"


def _refuse_tracking(tracking_uri: str | None) -> None:
    if tracking_uri is not None:
        raise SpecError("--tracking-uri is the service's own affair: leave it out.")
