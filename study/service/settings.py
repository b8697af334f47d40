"""How one service is set up: where it listens, what it serves, and the limits that it keeps."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from search_spaces.errors import SpecError

DEFAULT_PORT = 8400
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_MAX_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What `trialwright serve` is given; every limit has a default that suits a team."""

    home: Path | str | None = None
    """Folder of ledger, checkpoints and reports; None: TRIALWRIGHT_HOME, or `.trialwright` here."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback a token must be in the ledger."""
    port: int = DEFAULT_PORT
    """0: any free port."""
    ray: str | None = None
    """Ray cluster that drivers run on, such as `http://head:8265`; None: they are processes of this machine."""
    tracking_uri: str | None = None
    """MLflow store of the studies; None: a SQLite store in the home."""
    ray_url: str | None = None
    """Where a browser finds Ray's dashboard; None: at `ray`, if that is an address of the web."""
    mlflow_url: str | None = None
    """Where a browser finds MLflow's pages; None: at `tracking_uri`, if that is an address of the web."""
    allow_paths: tuple[Path, ...] = ()
    """Folders in which the models, rows and claims files of submitted studies may lie."""
    allow_hosts: tuple[str, ...] = ()
    """Names by which the service is asked for; empty: those of loopback, or any name beyond loopback."""
    max_body_bytes: int = 1_000_000
    """Largest request."""
    max_trials: int = 50_000
    """Largest study that is accepted."""
    max_watchers: int = 200
    """Streams that may be open at once."""
    rate_per_s: float = 20.0
    """Requests a second that one token, or one address without a token, may send in the long run."""
    burst: int = 100
    """Requests that it may send at once."""
    poll_s: float = 1.0
    """Seconds between two looks at a study that is watched."""
    heartbeat_s: float = 15.0
    """Longest silence in seconds of a stream."""
    patience_s: float = 15.0
    """Seconds that a request waits for the ledger."""
    report_timeout_s: float = 900.0
    """Seconds that a report may take."""

    def __post_init__(self) -> None:
        """Refuse what cannot be served.

        Raises:
            SpecError: a port or a folder that will not do.
        """
        if not 0 <= self.port <= _MAX_PORT:
            raise SpecError(f"The port is {self.port}, but must be from 0 to {_MAX_PORT}: choose another.")
        for folder in self.allow_paths:
            if not Path(folder).is_dir():
                raise SpecError(
                    f"--allow-path names {str(folder)!r}, which is no folder: correct or remove it."
                )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> frozenset[str]:
        """Host names that are answered, in lower case; `*` stands for any."""
        if self.allow_hosts:
            return frozenset(name.lower() for name in self.allow_hosts)
        return frozenset({*LOOPBACK_NAMES, self.host.lower()}) if self.is_loopback else frozenset("*")
