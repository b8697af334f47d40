"""What a claims file says, as SHA-256: of the whole, and of each claim with all that its verdict depends on.

Comments, order of keys and ways of writing a number do not count.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.claims.file import ClaimsFile

RECORDS = ("registered", "amendments")
"""Keys that tell of locking and are no part of what is locked."""
SHARED = ("claims_version", "workloads", "design", "outcome", "alpha", "correction")
"""Keys on which every verdict depends."""


def file_digest(written: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of all that a file says but its records."""
    return digest({key: value for key, value in written.items() if key not in RECORDS})


def claim_digests(written: Mapping[str, Any], file: "ClaimsFile") -> dict[str, str]:
    """SHA-256, in hex, of each claim with its comparison, its families and what all claims share.

    The pilot is left out: it sizes the study and enters no test.

    Args:
        written: the file as plain data.
        file: the same, read.
    """
    shared = {key: written[key] for key in SHARED if key in written}
    if isinstance(shared.get("design"), Mapping):
        shared["design"] = {key: value for key, value in shared["design"].items() if key != "pilot"}
    families = written.get("families") or {}
    found: dict[str, str] = {}
    for claim, own in zip(file.claims, written["claims"], strict=True):
        compare = file.comparisons[claim.id]
        refs = {part.tau.family for part in claim.parts if part.tau}
        named = {name for name in (compare.a, compare.b, *refs) if name}
        found[claim.id] = digest(
            {
                "claim": {key: value for key, value in own.items() if key != "compare"},
                "compare": compare.model_dump(mode="json"),
                "families": {name: families.get(name) for name in named},
                "shared": shared,
            }
        )
    return found


def digest(value: Any) -> str:
    """SHA-256, in hex, of plain data as canonical JSON."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Whole numbers as integers, so that 1 and 1.0 are one."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
