"""Lock a claims file before results are seen, prove that it is as it was, and amend it in the open."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import SpecError
from study.claims.chain import REMOVED, SHORT, change, latest, sealed
from study.claims.digests import claim_digests, file_digest
from study.claims.file import ClaimsFile, parse_claims, read_claims
from study.claims.planning import check_plan
from study.claims.recording import append_amendment, commit_of, timestamp, write_registered
from study.claims.studies import check_study, space_digests

if TYPE_CHECKING:
    from study.spec import StudySpec


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What is known of a file that is locked and unchanged."""

    path: Path
    file: ClaimsFile
    at: str
    """When it was locked, in UTC."""
    commit: str
    """Git commit where it lay, or `none`."""
    sha256: str
    """Of what it says now, the records aside."""
    action: str
    """`locked`, `amended`, or `unchanged` where nothing was written."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        claims, amendments = len(self.file.claims), len(self.file.amendments)
        exploratory = sorted(self.file.amended_after_data)
        was = "is unchanged since it was locked" if self.action == "unchanged" else f"was {self.action}"
        details = [
            f"{claims} claim{'s' if claims != 1 else ''}",
            *([f"{amendments} amendment{'s' if amendments != 1 else ''}"] if amendments else []),
            *([f"exploratory by amendment: {', '.join(exploratory)}"] if exploratory else []),
            f"commit {self.commit[:SHORT]}",
            f"sha256 {self.sha256[:SHORT]}",
        ]
        return f"{self.path} {was} at {self.at}: {'; '.join(details)}."

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "path": str(self.path),
            "action": self.action,
            "at": self.at,
            "commit": self.commit,
            "sha256": self.sha256,
            "claims": [claim.id for claim in self.file.claims],
            "amendments": len(self.file.amendments),
            "exploratory": sorted(self.file.amended_after_data),
        }


def lock(path: str | Path, spec: "StudySpec | None" = None, *, now: datetime | None = None) -> Registration:
    """Register a claims file: check that its design can decide its claims, and write `registered` into it.

    A file that is locked and unchanged is left as it is.

    Args:
        path: the file; its comments and its order are kept.
        spec: the study whose trials will decide; its sizes and spaces must be those of the file.
        now: the time to write; None: this moment.

    Raises:
        SpecError: the file breaks a rule, cannot decide its claims, contradicts the study, or was changed after it
            was locked.
    """
    path = Path(path)
    written, file = _read(path)
    if file.registered is not None:
        return check(path, spec)
    if file.amendments:
        raise SpecError(f"{path} has amendments but nothing registered: restore registered, or remove them.")
    _check(path, file, spec)
    record = {
        "at": timestamp(now),
        "commit": commit_of(path),
        "sha256": file_digest(written),
        "claims": claim_digests(written, file),
        "margins": _margins(file),
        **({"spaces": space_digests(file, spec)} if spec else {}),
    }
    write_registered(path, {**record, "seal": sealed(record, "")})
    return _registration(path, "locked")


def check(path: str | Path, spec: "StudySpec | None" = None) -> Registration:
    """Prove that a file is as it was locked and amended.

    Args:
        path: the file.
        spec: the study whose trials decide; it must agree with the file.

    Raises:
        SpecError: it is not locked, or which claims or records were changed, or what the study does otherwise.
    """
    path = Path(path)
    written, file = _read(path)
    last = latest(path, written, file)
    found = change(written, file, last)
    if found.any:
        raise SpecError(
            f"{path} was changed since it was registered at {last.at}: {found.text}; undo that, or register it with: "
            f"trialwright claims amend {path} --reason TEXT."
        )
    _check_against(path, file, spec)
    return _registration(path, "unchanged")


def require_locked(path: str | Path, spec: "StudySpec | None" = None) -> ClaimsFile:
    """The claims of a file that is locked and unchanged.

    Raises:
        SpecError: as `check` does.
    """
    return check(path, spec).file


def amend(
    path: str | Path,
    reason: str,
    *,
    data_seen: bool,
    spec: "StudySpec | None" = None,
    now: datetime | None = None,
) -> Registration:
    """Register the changes that were made to a locked file since; earlier records stay.

    Args:
        path: the file as edited.
        reason: why, in one line.
        data_seen: whether results had been seen; then what was changed or added is exploratory for good.
        spec: the study whose trials will decide.
        now: the time to write; None: this moment.

    Raises:
        SpecError: the file is not locked or not changed, a record was edited, the reason is no line of text, a claim
            was removed after results had been seen, or the file could not be locked as it is.
    """
    path, reason = Path(path), reason.strip()
    written, file = _read(path)
    last = latest(path, written, file)
    if not reason or not reason.isprintable():
        raise SpecError("The reason is no line of text: say in one line why the claims changed.")
    found = change(written, file, last)
    if not found.any:
        raise SpecError(f"{path} is as it was registered at {last.at}: edit it first, then amend it.")
    if found.removed and data_seen:
        raise SpecError(
            f"{path} no longer has claim {found.removed[0]}, but once results were seen no claim is taken back: "
            "restore it."
        )
    _check(
        path, file, spec, exempt=frozenset({*file.amended_after_data, *(found.changed if data_seen else ())})
    )
    record = {
        "at": timestamp(now),
        "reason": reason,
        "after_data": data_seen,
        "claims": {**found.changed, **dict.fromkeys(found.removed, REMOVED)},
        "margins": {name: margins for name, margins in _margins(file).items() if name in found.changed},
        "previous": last.sha256,
        "sha256": file_digest(written),
    }
    append_amendment(path, {**record, "seal": sealed(record, last.seal)})
    return _registration(path, "amended")


def _read(path: Path) -> tuple[Mapping[str, Any], ClaimsFile]:
    written = read_claims(path)
    return written, parse_claims(written, source=str(path))


def _check(
    path: Path, file: ClaimsFile, spec: "StudySpec | None", exempt: frozenset[str] = frozenset()
) -> None:
    try:
        check_plan(file, exempt=exempt)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    _check_against(path, file, spec)


def _check_against(path: Path, file: ClaimsFile, spec: "StudySpec | None") -> None:
    if spec is None:
        return
    try:
        check_study(file, spec)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _margins(file: ClaimsFile) -> dict[str, list[float]]:
    """Margin of every part by claim, 0 written out."""
    return {claim.id: [part.margin or 0.0 for part in claim.parts] for claim in file.claims}


def _registration(path: Path, action: str) -> Registration:
    written, file = _read(path)
    last = latest(path, written, file)
    registered = written["registered"]
    at = registered["at"] if action == "unchanged" else last.at
    return Registration(
        path=path, file=file, at=at, commit=registered["commit"], sha256=last.sha256, action=action
    )
