"""Files that would run something if anything unpickled them: what they would do is make a file."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:  # noqa: D105 (pickle's own name)
        return Path.touch, (self._mark,)


def payloads(mark: Path) -> dict[str, bytes]:
    """A plain pickle, what torch and numpy write around one, and one behind the beginning of a right file."""
    plain = pickle.dumps(Evil(mark))
    torch_file, numpy_file = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(torch_file, "w") as archive:
        archive.writestr("archive/data.pkl", plain)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    np.save(numpy_file, np.array([Evil(mark)], dtype=object), allow_pickle=True)
    return {
        "pickle": plain,
        "torch": torch_file.getvalue(),
        "numpy": numpy_file.getvalue(),
        "header": (8).to_bytes(8, "little") + plain,
        "parquet": b"PAR1" + plain + len(plain).to_bytes(4, "little") + b"PAR1",
    }
