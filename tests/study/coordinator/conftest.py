"""Ledgers for the tests of the coordinator, and what an undisturbed study leaves in one."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.ledger import Ledger
from tests.study.simulation import (
    World,
    content,
    coordinator_in,
    drive,
    new_study,
    study_spec,
)

Urls = Callable[[], str]
SPEC = study_spec()


@pytest.fixture
def urls() -> Iterator[Urls]:
    """Addresses of new ledgers, in memory where the system has a folder for that: each write is synced."""
    memory = Path("/dev/shm")  # noqa: S108 (a private folder is made in it)
    root = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    numbers = iter(range(10_000))
    yield lambda: f"sqlite:///{root / str(next(numbers))}.db"
    shutil.rmtree(root)


@pytest.fixture
def ledger(urls) -> Iterator[Ledger]:
    with new_study(SPEC, urls()) as made:
        yield made


@pytest.fixture(scope="session")
def twin(tmp_path_factory) -> dict[str, object]:
    """What one worker that nothing disturbs leaves in the ledger."""
    with new_study(SPEC, f"sqlite:///{tmp_path_factory.mktemp('twin') / 'ledger.db'}") as undisturbed:
        world = World(seed=0, num_workers=1)
        drive(coordinator_in(world, SPEC, undisturbed), world)
        return content(undisturbed, SPEC.name)
