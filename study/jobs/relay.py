"""A short command that runs as a job, and how what it printed and wrote comes back through the job's log.

A job's log mixes both streams with Ray's own lines and has no place for files. So the command's whole result stands in
it as one line: a mark, and a ZIP archive in base64.
"""

import base64
import io
import json
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from search_spaces.errors import SpecError
from trainers.archives import is_plainly_packed, is_within, open_archive

MARK = "trialwright-result:"
MAX_BYTES = 64 * 2**20
"""Most that a command may print and write."""
_RESULT, _FILES = "result.json", "files/"


@dataclass(frozen=True, kw_only=True)
class Relayed:
    """What a command came to on the cluster."""

    code: int
    out: str
    err: str
    files: dict[str, bytes]
    """What it wrote into its folder, by path within it."""


def relay(arguments: Sequence[str], *, brings_files: bool) -> str:
    """Run `trialwright <arguments>` here; its result as one line.

    Args:
        arguments: of the command.
        brings_files: whether it takes `--out DIR`, and what it writes there is part of the result.
    """
    with TemporaryDirectory(prefix="trialwright-") as folder:
        ended = subprocess.run(  # noqa: S603 -- our own program
            [
                *(sys.executable, "-P", "-m", "study.cli", *arguments),
                *(("--out", folder) if brings_files else ()),
            ],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
    out, err = (text.decode("utf-8", errors="replace") for text in (ended.stdout, ended.stderr))
    result = Relayed(code=ended.returncode, out=out, err=err, files=files)
    if _size(result) > MAX_BYTES:
        told = f"trialwright: The result is longer than {MAX_BYTES:,} bytes: ask for fewer formats.\n"
        result = Relayed(code=2, out="", err=told, files={})
    return f"{MARK}{_packed(result)}"


def relayed(lines: Iterable[str]) -> Relayed | None:
    """The result that stands in a job's log; None where there is none.

    Raises:
        SpecError: what stands there is damaged, or larger than a result can be.
    """
    text = next((line.removeprefix(MARK) for line in lines if line.startswith(MARK)), None)
    if text is None:
        return None
    try:
        return _unpacked(base64.b64decode(text, validate=True))
    except (ValueError, LookupError, TypeError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile):
        raise SpecError("The job's result did not arrive whole: ask again.") from None


def save_files(files: dict[str, bytes], folder: Path) -> list[Path]:
    """Write files that came back under a folder, and nowhere else; their paths.

    Raises:
        SpecError: a name would lead out of the folder, or the folder cannot be written.
    """
    for name in files:
        if not is_within(name):
            raise SpecError(
                f"The job sent a file called {name[:100]!r}, which leads elsewhere: nothing was written."
            )
    paths = []
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            paths.append(path)
    except OSError as error:
        raise SpecError(
            f"{str(folder)!r} cannot be written ({error.strerror}): choose another with --out DIR."
        ) from None
    return paths


def _size(result: Relayed) -> int:
    return len(result.out) + len(result.err) + sum(map(len, result.files.values()))


def _packed(result: Relayed) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        told = {"code": result.code, "out": result.out, "err": result.err}
        archive.writestr(_RESULT, json.dumps(told))
        for name, content in result.files.items():
            archive.writestr(_FILES + name, content)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _unpacked(packed: bytes) -> Relayed:
    """Read an archive, never more of it than a result can hold."""
    left, contents = 2 * MAX_BYTES, {}
    with open_archive(io.BytesIO(packed)) as archive:
        for entry in archive.infolist():
            if not is_plainly_packed(entry):
                raise ValueError("packed as no result is")
            with archive.open(entry) as file:
                content = file.read(left + 1)
            left -= len(content)
            if left < 0:
                raise ValueError("larger than a result can be")
            contents[entry.filename] = content
    told = json.loads(contents.pop(_RESULT))
    files = {name.removeprefix(_FILES): content for name, content in contents.items()}
    return Relayed(code=int(told["code"]), out=str(told["out"]), err=str(told["err"]), files=files)
