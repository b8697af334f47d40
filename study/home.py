"""The folder that holds everything a study leaves on disk."""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from search_spaces.errors import SpecError
from study.job_environment import is_job
from trainers.parts import parts_dir
from trainers.store_settings import STORE_VARIABLE

DEFAULT_HOME = ".trialwright"


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where things lie. Workers on other nodes must see the same folder."""

    root: Path
    """Absolute."""
    shares: Path | None = None
    """Another home whose packaged parts and cache are used here too; this one's record then lies here, whatever
    TRIALWRIGHT_LEDGER says. None: it is a home of its own."""

    @property
    def ledger_url(self) -> str:
        """The record: TRIALWRIGHT_LEDGER, what stands in TRIALWRIGHT_LEDGER_FILE, or a SQLite file here.

        Raises:
            SpecError: the file cannot be read, or holds no line.
        """
        if self.shares is not None:
            return f"sqlite:///{self.root / 'ledger.db'}"
        written = os.environ.get("TRIALWRIGHT_LEDGER")
        file = os.environ.get("TRIALWRIGHT_LEDGER_FILE")
        if not written and file:
            return secret_line(file, "TRIALWRIGHT_LEDGER_FILE")
        return written or f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def store(self) -> str | None:
        """The object store for checkpoints and kept adapters: TRIALWRIGHT_STORE; absent: they lie here."""
        return os.environ.get(STORE_VARIABLE) or None

    @property
    def has_ledger(self) -> bool:
        """Whether a ledger may be there: always said of a server, which must be asked."""
        return not self.ledger_url.startswith("sqlite:///") or Path(self.ledger_url[10:]).exists()

    @property
    def tracking_uri(self) -> str:
        """The default MLflow store, a SQLite file here."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def mlflow_artifacts_dir(self) -> Path:
        """Artifacts of the default MLflow store."""
        return self.root / "mlartifacts"

    @property
    def parts_dir(self) -> Path:
        """Packaged models and texts: TRIALWRIGHT_PARTS, or here."""
        return parts_dir(self.shares or self.root).absolute()

    @property
    def cache_dir(self) -> Path:
        """Encoded text and the weights that packs of a machine share, safe to delete."""
        return (self.shares or self.root) / "cache"

    @property
    def ray_dir(self) -> Path:
        """Ray Tune's own notes, safe to delete when no study runs."""
        return self.root / "ray"

    @property
    def empty_dir(self) -> Path:
        """An empty folder: the working folder of workers, so that no stray module of the user's is imported."""
        return self.root / "empty"

    def study_dir(self, study: str) -> Path:
        """Checkpoints, adapters and reports of one study."""
        return self.root / "studies" / study

    def checkpoints_dir(self, study: str) -> Path:
        """Checkpoints of the study's unfinished trials, a folder each."""
        return self.study_dir(study) / "checkpoints"

    def adapters_dir(self, study: str) -> Path:
        """Adapters of the confirmed configurations, in PEFT's format."""
        return self.study_dir(study) / "adapters"

    def report_dir(self, study: str) -> Path:
        """The newest report."""
        return self.study_dir(study) / "report"

    def reproductions_dir(self, name: str) -> Path:
        """Where a study is run again: a home of its own."""
        return self.root / "reproductions" / name


def secret_line(path: str, variable: str) -> str:
    """The only line of a file that holds something secret, which no message repeats.

    Args:
        path: of the file.
        variable: the environment variable that named it.

    Raises:
        SpecError: it cannot be read, or holds no line or several.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SpecError(
            f"The file {path!r} of {variable} cannot be read ({cause}): correct the path."
        ) from None
    if len(lines) != 1:
        raise SpecError(f"The file {path!r} of {variable} must hold one word in one line: correct it.")
    return lines[0]


def home_at(folder: str | Path | None) -> Home:
    """Where a home is, whether or not anything is there.

    Args:
        folder: as the user gave it; None means TRIALWRIGHT_HOME or `.trialwright` here.

    Raises:
        SpecError: this is a job of a Ray cluster, whose folder is nobody's, and nothing else was named; or the name
            is none.
    """
    written = Path(folder or os.environ.get("TRIALWRIGHT_HOME") or DEFAULT_HOME)
    try:
        named = written.expanduser()
    except RuntimeError:
        raise SpecError(
            f"The home {str(written)!r} begins with a user that is not known here: write the folder in full."
        ) from None
    if is_job() and not named.is_absolute():
        raise SpecError(
            "The cluster does not say where it keeps studies: start Ray on its head with TRIALWRIGHT_HOME set to the "
            "absolute path of a folder that all its nodes see."
        )
    return Home(root=named.absolute())


def open_home(folder: str | Path | None) -> Home:
    """Make a home ready for writing.

    Args:
        folder: as for `home_at`.

    Raises:
        SpecError: the folder cannot be made or written.
    """
    return made(home_at(folder))


def made(home: Home) -> Home:
    """A home, ready for writing.

    Raises:
        SpecError: the folder cannot be made or written.
    """
    root = home.root
    try:
        for needed in (root, home.cache_dir, home.ray_dir, home.empty_dir):
            needed.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise SpecError(
            f"The home {str(root)!r} cannot be written ({error.strerror}): choose another with --home DIR."
        ) from None
    return home
