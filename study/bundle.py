"""A study as one line of text: how its spec and its claims travel to the machine that drives it.

The line stands in the environment of the driver's process, so that no file has to be copied and nothing of the
sender's folder is run. Linux takes 128 KiB for one variable, and Ray writes this one into a second variable of its own.
"""

import base64
import binascii
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import SpecError
from study.spec_checks import NAME
from study.spec_file import check_plain

if TYPE_CHECKING:
    from study.home import Home
    from study.spec import StudySpec

BUNDLE_VARIABLE = "TRIALWRIGHT_BUNDLE"
MAX_TEXT_BYTES = 96 * 1024
"""Longest bundle as text."""
MAX_DOCUMENT_BYTES = 2_000_000
"""Longest bundle as JSON: two files of the size that is read at all."""
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A spec and the claims that it names, as plain data; nothing in them has been checked but their kind."""

    name: str
    spec: dict[str, Any]
    claims: dict[str, Any] | None
    """The whole claims file; None where the study claims nothing."""

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what it says."""
        return hashlib.sha256(_document(self).encode()).hexdigest()


def pack_bundle(spec: Mapping[str, Any], claims: Mapping[str, Any] | None) -> str:
    """A bundle's text: JSON, gzip, base64; the same for the same study.

    Args:
        spec: a study as plain data.
        claims: its claims file as plain data, with all records of locking; None where it has none.

    Raises:
        SpecError: the study has no name, or is too large to travel.
    """
    name = spec.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SpecError(f"name is {name!r}, but a study travels by its name: write one.")
    bundle = Bundle(name=name, spec=dict(spec), claims=None if claims is None else dict(claims))
    check_plain({"spec": bundle.spec, "claims": bundle.claims}, f"study {name}")
    document = _document(bundle).encode()
    packer = zlib.compressobj(9, wbits=_GZIP)  # its header holds no time and no name
    text = base64.b64encode(packer.compress(document) + packer.flush()).decode("ascii")
    if len(document) > MAX_DOCUMENT_BYTES or len(text) > MAX_TEXT_BYTES:
        raise SpecError(
            f"Study {name!r} takes {len(document):,} bytes with its claims, {len(text):,} when packed, but "
            f"{MAX_DOCUMENT_BYTES:,} and {MAX_TEXT_BYTES:,} can travel: shorten its lists, or launch it on the cluster."
        )
    return text


def unpack_bundle(text: str) -> Bundle:
    """What a bundle says.

    Raises:
        SpecError: it is cut, damaged, too large, or says something else than a spec and its claims.
    """
    try:
        document = json.loads(_unpacked(text), parse_constant=_refuse)
    except (ValueError, RecursionError, zlib.error):
        raise SpecError(
            "The study did not arrive whole (it is no packed JSON document): submit it again by "
            "trialwright launch STUDY.yaml --address ADDRESS."
        ) from None
    if not isinstance(document, dict) or document.keys() != {"name", "spec", "claims"}:
        raise SpecError("What arrived is no study with its claims: use the same Trialwright on both sides.")
    name, spec, claims = document["name"], document["spec"], document["claims"]
    if not isinstance(spec, dict) or not isinstance(claims, dict | None) or spec.get("name") != name:
        raise SpecError("What arrived is no study with its claims: use the same Trialwright on both sides.")
    check_plain(spec, "the study")
    return Bundle(name=str(name), spec=spec, claims=claims)


def bundle_of(study_file: Path) -> str:
    """The bundle of a study file and the claims file that it names.

    Raises:
        SpecError: a mistake in either file, or they are too large to travel.
    """
    from study.claims.file import read_claims
    from study.spec import load_spec

    spec = load_spec(study_file)
    return pack_bundle(spec.canonical(), None if spec.claims is None else read_claims(spec.claims))


def bundled_spec(home: "Home", text: str | None = None) -> "StudySpec":
    """The study that was sent to this process, with its claims file in the home.

    Args:
        home: where `studies/<name>/claims.yaml` is written.
        text: the bundle; None: the variable TRIALWRIGHT_BUNDLE.

    Raises:
        SpecError: nothing or something else was sent, or a path in the study does not exist on this machine.
    """
    from study.spec import parse_spec

    text = os.environ.get(BUNDLE_VARIABLE, "") if text is None else text
    if not text:
        raise SpecError(
            f"No study was sent (the variable {BUNDLE_VARIABLE} is empty): write trialwright launch STUDY.yaml."
        )
    bundle = unpack_bundle(text)
    place = None if bundle.claims is None else home.study_dir(bundle.name) / "claims.yaml"
    written = {**bundle.spec, "claims": None if place is None else str(place)}
    spec = parse_spec(written, source=f"study {bundle.name}")
    check_paths(
        spec,
        "drives the study: only the spec and its claims travel, so put it in a folder that every node of the cluster "
        "sees, and write that path.",
    )
    if bundle.claims is not None and place is not None:
        write_claims(place, bundle.claims)
    return spec


def _document(bundle: Bundle) -> str:
    written = {"name": bundle.name, "spec": bundle.spec, "claims": bundle.claims}
    return json.dumps(written, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _unpacked(text: str) -> bytes:
    if len(text) > MAX_TEXT_BYTES:
        raise SpecError(f"The study that was sent is longer than {MAX_TEXT_BYTES:,} bytes: shorten it.")
    try:
        packed = base64.b64decode(text.encode("ascii"), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    unpacker = zlib.decompressobj(_GZIP)
    document = unpacker.decompress(packed, MAX_DOCUMENT_BYTES)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("cut, or longer than a study")
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of a study")


def check_paths(spec: "StudySpec", way_out: str) -> None:
    """Refuse files of the sender's own that are not here too.

    Args:
        spec: a study from elsewhere.
        way_out: ends the message, which breaks off at "the machine that".

    Raises:
        SpecError: naming the first one.
    """
    model = spec.base.model
    named = {"base.model": model.removeprefix("path:") if model.startswith("path:") else None}
    named["task.path"] = spec.task.path
    for key, path in named.items():
        if path is not None and not Path(path).expanduser().exists():
            raise SpecError(f"{key} is {path!r}, which does not exist on the machine that {way_out}")


def write_claims(place: Path, claims: Mapping[str, Any]) -> None:
    """Write a claims file that reads back as it was, unless that is what stands there already.

    Raises:
        SpecError: it cannot be written.
    """
    from study.claims.file import read_claims
    from study.claims.yaml_block import as_block

    try:
        if place.exists() and read_claims(place) == claims:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        temporary.write_text(as_block(claims), encoding="utf-8")
        temporary.replace(place)
    except OSError as error:
        raise SpecError(
            f"The claims cannot be written to {str(place)!r} ({error.strerror}): make the home writable."
        ) from None
