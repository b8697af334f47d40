"""The records of locking and amending: each holds digests and a seal over itself and the seal before.

A changed claim, a changed record or a missing one therefore shows. Whoever computes all digests anew is not stopped:
the commit that is noted beside them stands for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import SpecError
from study.claims.digests import claim_digests, digest, file_digest

if TYPE_CHECKING:
    from study.claims.file import ClaimsFile

SHORT = 12
"""Characters of a digest that a person reads."""
REMOVED = "removed"
"""Stands for the digest of a claim that an amendment took back."""


@dataclass(frozen=True, kw_only=True)
class Latest:
    """What was registered last."""

    at: str
    """When, in UTC."""
    sha256: str
    """Of all that the file said then but its records."""
    seal: str
    claims: Mapping[str, str]
    """Digest by claim."""


def latest(path: Path, written: Mapping[str, Any], file: "ClaimsFile") -> Latest:
    """What was registered last, after every record was checked.

    Raises:
        SpecError: the file is not locked, or a record is not as it was written, or one is missing.
    """
    registered = file.registered
    if registered is None:
        raise SpecError(f"{path} is not locked: lock it with: trialwright claims lock {path}.")
    if registered.seal is None or registered.seal != sealed(written["registered"], ""):
        raise SpecError(
            f"{path}: registered is not as `trialwright claims lock` wrote it: restore it from commit "
            f"{registered.commit[:SHORT]} or a copy, or remove it and lock the file anew."
        )
    claims: dict[str, str] = dict(registered.claims)
    at, sha256, seal = registered.at, registered.sha256, registered.seal
    for number, amendment in enumerate(file.amendments, start=1):
        record = written["amendments"][number - 1]
        if amendment.previous != sha256 or amendment.seal != sealed(record, seal):
            raise SpecError(
                f"{path}: amendment {number}, of {amendment.at}, is not as it was written, or one before it is "
                "missing: restore the records."
            )
        claims.update(amendment.claims)
        at, sha256, seal = amendment.at, amendment.sha256, amendment.seal
    kept = {name: sha for name, sha in claims.items() if sha != REMOVED}
    return Latest(at=at, sha256=sha256, seal=seal, claims=kept)


def sealed(record: Mapping[str, Any], previous: str) -> str:
    """The seal of a record after one with the seal `previous`: SHA-256 in hex."""
    content = {key: value for key, value in record.items() if key != "seal"}
    return digest({"record": content, "previous": previous})


@dataclass(frozen=True, kw_only=True)
class Change:
    """How a file differs from what was registered last."""

    any: bool
    changed: Mapping[str, str]
    """New digest of each claim that changed or was added."""
    removed: tuple[str, ...]
    text: str
    """Which claims, in words."""


def change(written: Mapping[str, Any], file: "ClaimsFile", last: Latest) -> Change:
    """How a file differs from what was registered last."""
    current = claim_digests(written, file)
    changed = {name: sha for name, sha in current.items() if last.claims.get(name) != sha}
    removed = tuple(name for name in last.claims if name not in current)
    words = [f"claim {name} {'was changed' if name in last.claims else 'was added'}" for name in changed]
    words += [f"claim {name} was removed" for name in removed]
    return Change(
        any=file_digest(written) != last.sha256,
        changed=changed,
        removed=removed,
        text=", ".join(words) or "no claim, but something on which no verdict depends",
    )
