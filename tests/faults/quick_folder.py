"""Where the servers and homes of a campaign lie for as long as it lasts."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 (a private folder is made in it)


@contextmanager
def quick_folder(name: str) -> Iterator[Path]:
    """A new folder, in memory where there is some: how long a disk takes to sync is not what is tested.

    Args:
        name: what its own begins with after the project's.
    """
    place = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(
        prefix=f"trialwright-{name}-", dir=place, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)
