"""A few runs of the campaign, always the same: `make faults` has as many as one likes."""

from collections.abc import Iterator

import pytest

from tests.faults.campaign import one_run
from tests.faults.light import LightWorld, light_world
from tests.faults.quick_folder import quick_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SELECTION = (
    ("driver-kill", 21),
    ("driver-oversleep", 26),
    ("two-drivers-at-once", 31),
    ("postgres-kill", 36),
    ("checkpoint-flipped", 46),
    ("driver-kill+mlflow-late-500", 51),
    ("memory-short", 1),
)
"""With seeds that share one study, and so one twin of a pack that is simulated and one of a pack that trains."""


@pytest.fixture(scope="module")
def world() -> Iterator[LightWorld]:
    with quick_folder("faults") as folder, light_world(folder) as made:
        yield made


@pytest.mark.parametrize(("faults", "seed"), SELECTION)
def test_a_struck_study_ends_as_its_twin(world, faults, seed):
    record = one_run(world, faults.split("+"), seed)
    assert record["held"], record
