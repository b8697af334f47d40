"""Which trials of a study a reviewer runs again who has no time for all."""

from collections.abc import Sequence

from search_spaces.designs import derived_seed
from search_spaces.errors import SpecError
from study.reproduction.record import Record, RecordedTrial


def sample(record: Record, num_trials: int, seed: int) -> list[RecordedTrial]:
    """Some trials at random among those that gave a result, in planned order.

    Phases take turns, so that a small sample has something of each. More trials of one seed include fewer.

    Args:
        record: of the study.
        num_trials: how many; at most as many as there are.
        seed: of the draw.

    Raises:
        SpecError: no trial of the study gave a result.
    """
    drawn = sorted(
        (one for one in record.trials if one.is_a_result), key=lambda one: derived_seed(seed, one.key)
    )
    if not drawn:
        raise SpecError(f"No trial of study {record.name!r} has a result yet: there is nothing to reproduce.")
    chosen = {one.key for one in _by_turns(drawn)[:num_trials]}
    return [one for one in record.trials if one.key in chosen]


def _by_turns(drawn: Sequence[RecordedTrial]) -> list[RecordedTrial]:
    """The first of each phase, then the second of each, and so on."""
    place: dict[str, int] = {}
    turns = []
    for one in drawn:
        place[one.phase] = place.get(one.phase, 0) + 1
        turns.append((place[one.phase], one))
    return [one for _, one in sorted(turns, key=lambda turn: turn[0])]
