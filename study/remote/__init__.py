"""Studies that are kept elsewhere, steered from this machine through Ray's jobs or Trialwright's service."""

from pathlib import Path
from typing import Protocol


class Remote(Protocol):
    """A place that keeps studies and drives them without this machine. Every method gives an exit code."""

    def launch(
        self,
        study_file: Path,
        *,
        last_phase: str | None,
        tracking_uri: str | None,
        detach: bool,
        as_json: bool,
    ) -> int:
        """Hand a study over, or go on with it, and show how it runs."""

    def resume(self, study: str | None, *, tracking_uri: str | None, detach: bool, as_json: bool) -> int:
        """Go on with a study that is there already."""

    def status(self, study: str | None, *, watch: bool, as_json: bool) -> int:
        """Show how far it is."""

    def stop(self, study: str | None) -> int:
        """Ask it to stop in order."""

    def report(self, study: str | None, *, formats: str, out: Path | None) -> int:
        """Fetch its report into a folder of this machine."""


def remote_at(address: str) -> Remote:
    """What keeps the studies at an address.

    Raises:
        SpecError: nothing answers there, or something that keeps none.
    """
    from study.jobs import kind_of

    if kind_of(address) == "service":
        from study.remote.service import ServiceRemote

        return ServiceRemote.at(address)
    from study.remote.cluster import ClusterRemote

    return ClusterRemote(address)
