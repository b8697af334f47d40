"""The load test at a small size: nothing is lost; `make load` runs it at full size and measures."""

from collections.abc import Iterator

import pytest

from tests.faults.quick_folder import quick_folder
from tests.load.scenarios import SMALL_LARGE, SMALL_MANY, many_at_once, one_large
from tests.load.world import World, load_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with quick_folder("load") as folder, load_world(folder) as made:
        yield made


def test_nothing_of_a_large_study_is_lost_while_mlflow_is_away(world):
    found = one_large(world, SMALL_LARGE, print)
    assert found["held"], found["problems"]
    assert found["trials"] == 200
    assert found["most_trials_at_once"] == 64
    assert found["mlflow_away_s"] > 0
    assert all(row["answers"] > 0 for row in found["answers"])


def test_nothing_of_many_studies_at_once_is_lost_while_mlflow_is_away(world):
    found = many_at_once(world, SMALL_MANY, print)
    assert found["held"], found["problems"]
    assert (found["studies"], found["trials"]) == (6, 60)
    assert found["most_drivers_at_once"] > 1
    assert found["mlflow_away_s"] > 0
