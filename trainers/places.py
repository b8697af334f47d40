"""Where checkpoints and kept adapters lie: a folder of this machine, or a prefix of an S3-compatible object store.

Both keep a few files under a name, complete or absent. A folder is written aside, synced and renamed. An object store
has no renaming; there the files are written in their order, so that the last one, once it is there, stands for all.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from search_spaces.errors import RetryableError, SpecError
from trainers.store_settings import STORE_VARIABLE

SCHEME = "s3"
PATIENCE_S = 90.0
"""How long a store may answer with errors before what is asked of it is given up."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 5.0, 60.0
Result = TypeVar("Result")


class StoreAwayError(RetryableError):
    """The object store did not do what was asked of it, for a while: nobody's trial is to blame."""


class Place(Protocol):
    """Keeps files under names."""

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        """Keep files under a name in place of what was there; the last of them is the one that completes them."""

    def read(self, name: str, file: str) -> bytes:
        """One file; raises OSError where it is not there or cannot be read."""

    def names(self) -> list[str]:
        """Names under which something lies, in no order."""

    def remove(self, name: str) -> None:
        """Forget a name, if it is there."""


@dataclass(frozen=True)
class LocalPlace:
    """A folder on a disk that this process sees."""

    folder: Path

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write aside, sync, rename.

        Raises:
            OSError: the disk is full or cannot be written; what was there is untouched.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / name
        aside = self.folder / f".partial-{os.getpid()}-{name}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            for file, content in files.items():
                _write_durably(aside / file, content)
            shutil.rmtree(target, ignore_errors=True)
            aside.rename(target)
            _sync_folder(self.folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def read(self, name: str, file: str) -> bytes:
        """One file's bytes."""
        return (self.folder / name / file).read_bytes()

    def names(self) -> list[str]:
        """Folders that are not hidden."""
        return [path.name for path in self.folder.glob("[!.]*")]

    def remove(self, name: str) -> None:
        """Delete a folder, as far as possible."""
        shutil.rmtree(self.folder / name, ignore_errors=True)


@dataclass(frozen=True)
class StoreFolder:
    """A prefix of an object store; AWS's usual variables say how it is reached."""

    path: str
    """Bucket and prefix, without a slash at either end."""
    patience_s: float | None = None
    """How long it may answer with errors before it counts as away; None: `PATIENCE_S`."""

    def __truediv__(self, name: str) -> Self:
        """A prefix below."""
        return replace(self, path=f"{self.path}/{name}")

    def __str__(self) -> str:
        """Its URL."""
        return f"{SCHEME}://{self.path}"

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write object after object.

        Raises:
            StoreAwayError: the store took one of them for `patience_s` not.
        """
        for file, content in files.items():
            self._patiently("written", partial(self._put, f"{name}/{file}", content))

    def read(self, name: str, file: str) -> bytes:
        """One object's bytes.

        Raises:
            FileNotFoundError: there is no such object.
            StoreAwayError: the store gave it for `patience_s` not.
        """
        return self._patiently("read", lambda: self._get(f"{name}/{file}"))

    def names(self) -> list[str]:
        """First parts of the objects' names below this prefix.

        Raises:
            StoreAwayError: the store listed them for `patience_s` not.
        """
        return list({file.partition("/")[0] for file in self.files()})

    def files(self) -> list[str]:
        """All objects below this prefix, by their names from here.

        Raises:
            StoreAwayError: the store listed them for `patience_s` not.
        """
        return self._patiently("listed", self._list)

    def remove(self, name: str = "") -> None:
        """Delete what lies under a name, or all; tried once, since what is left over only takes room."""
        try:
            _filesystem().delete_dir(f"{self.path}/{name}".rstrip("/"))
        except OSError:
            return

    def clear(self) -> None:
        """Delete all objects below this prefix, of which there may be none.

        Raises:
            StoreAwayError: the store deleted them for `patience_s` not.
        """
        with suppress(FileNotFoundError):
            self._patiently("cleared", lambda: _filesystem().delete_dir(self.path))

    def check(self) -> None:
        """Write, read, list and remove a small object.

        Raises:
            SpecError: that cannot be done; says why, and nothing secret.
        """
        name, content = f".check-{uuid4().hex}", b"trialwright"
        try:
            self._put(f"{name}/object", content)
            is_kept = self._get(f"{name}/object") == content and f"{name}/object" in self._list(name)
            _filesystem().delete_file(f"{self.path}/{name}/object")
            _filesystem().delete_dir(f"{self.path}/{name}")  # the mark of an empty folder that is left
            problem = "" if is_kept else "it does not give back what was written"
        except OSError as error:
            problem = _cause(error)
        if problem:
            raise SpecError(
                f"The object store {str(self)!r} cannot be used ({problem}): check {STORE_VARIABLE}, "
                "AWS_ENDPOINT_URL, AWS_REGION and the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )

    def _put(self, name: str, content: bytes) -> None:
        with _filesystem().open_output_stream(f"{self.path}/{name}") as stream:
            stream.write(content)

    def _get(self, name: str) -> bytes:
        with _filesystem().open_input_stream(f"{self.path}/{name}") as stream:
            return bytes(stream.read())

    def _list(self, name: str = "") -> list[str]:
        from pyarrow.fs import FileSelector, FileType

        below = FileSelector(f"{self.path}/{name}".rstrip("/"), recursive=True, allow_not_found=True)
        found = _filesystem().get_file_info(below)
        return [one.path.removeprefix(f"{self.path}/") for one in found if one.type is FileType.File]

    def _patiently(self, done: str, ask: Callable[[], Result]) -> Result:
        """Ask again while the store answers with errors."""
        patience_s = PATIENCE_S if self.patience_s is None else self.patience_s
        give_up_at, wait_s = time.monotonic() + patience_s, FIRST_WAIT_S
        while True:
            try:
                return ask()
            except FileNotFoundError:
                raise
            except OSError as error:
                if time.monotonic() + wait_s > give_up_at:
                    lasting = f" for {patience_s:g} s" if patience_s else ""
                    raise StoreAwayError(
                        f"The object store {str(self)!r} could not be {done}{lasting} "
                        f"({_cause(error)}): bring it back, then resume the study."
                    ) from None
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


Folder = Path | StoreFolder
"""Where a trial's files go."""


def place_at(folder: Folder) -> Place:
    """What writes and reads a folder."""
    return LocalPlace(folder) if isinstance(folder, Path) else folder


def folder_at(address: str) -> Folder:
    """A folder by its path, or a store's prefix by its URL.

    Raises:
        SpecError: the URL is wrong.
    """
    return parse_store(address) if address.startswith(f"{SCHEME}://") else Path(address)


def parse_store(url: str) -> StoreFolder:
    """The prefix that a URL names.

    Raises:
        SpecError: it is not of the form s3://bucket/prefix, or holds credentials.
    """
    try:
        parsed = urlsplit(url)
    except ValueError:
        raise SpecError(f"{STORE_VARIABLE} is no URL: write it as s3://bucket/prefix.") from None
    if "@" in parsed.netloc:
        raise SpecError(
            f"{STORE_VARIABLE} holds credentials, which belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: "
            "write it as s3://bucket/prefix."
        )
    if parsed.scheme != SCHEME or not parsed.netloc or parsed.query or parsed.fragment:
        raise SpecError(
            f"{STORE_VARIABLE} is {url!r}, but must be of the form s3://bucket/prefix: correct it."
        )
    return StoreFolder("/".join(part for part in (parsed.netloc, *parsed.path.split("/")) if part))


@cache
def _filesystem() -> Any:
    """The store, as this process's variables say it is reached; made once."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    settings: dict[str, Any] = {}
    if endpoint:
        try:
            parsed = urlsplit(endpoint)
        except ValueError:
            raise SpecError("AWS_ENDPOINT_URL is no URL: write it as https://host:port.") from None
        settings = {"endpoint_override": parsed.netloc, "scheme": parsed.scheme}
        region = region or "us-east-1"  # a store of one's own has none; AWS is asked where a bucket is
    if region:
        settings["region"] = region
    return S3FileSystem(
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=2),
        **settings,
    )


def _cause(error: OSError) -> str:
    """What went wrong, in a line without the store's address."""
    said = " ".join(str(error).split())
    return said.partition("AWS Error ")[2][:200] or said[:200] or type(error).__name__


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
