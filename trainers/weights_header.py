"""What a safetensors file says of itself, read without torch and without trust: names and shapes of its tensors."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_BYTES = 100_000_000
"""Longest header that the format allows."""


def read_header(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """The tensors' entries by name, each with the `shape` that it claims.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no safetensors file.
    """
    with path.open("rb") as file:
        length_bytes = file.read(8)
        if len(length_bytes) < 8:  # noqa: PLR2004 (the length is eight bytes)
            raise ValueError("it breaks off")
        (length,) = struct.unpack("<Q", length_bytes)
        if length > min(MAX_BYTES, path.stat().st_size):
            raise ValueError("its header is longer than the file")
        text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no object")  # noqa: TRY004 (the file is wrong, not the call)
    header.pop("__metadata__", None)
    if not all(isinstance(entry, dict) and _is_shape(entry.get("shape")) for entry in header.values()):
        raise ValueError("an entry of its header has no shape")
    return header


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(size, int) for size in value)
