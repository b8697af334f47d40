"""Two records figure by figure, with records made by hand."""

from typing import Any

import pytest

from study.reproduction.comparison import Comparison, compare
from study.reproduction.record import Record


def trial(
    key: str, losses: list[float], *, outcome: str = "finished", **metrics: list[float]
) -> dict[str, Any]:
    return {
        "key": key,
        "phase": "confirmation",
        "slice": "",
        "family": "sgd",
        "replicate": 0,
        "point": 0,
        "seed": 1,
        "params": {"lr": 0.1},
        "steps": 4,
        "measured_steps": [2 * n for n in range(len(losses))],
        "measurements": {"select_loss_nats": losses, **metrics},
        "ending": {"outcome": outcome, "steps": 4, "value": losses[-1], "metrics": {"report_accuracy": 0.5}},
    }


def record(*trials: dict[str, Any]) -> Record:
    return Record.model_validate(
        {"uid": "0" * 32, "name": "x", "state": "finished", "spec": {}, "manifest": {}, "trials": trials}
    )


def compared(
    then: list[dict[str, Any]], now: list[dict[str, Any]], tolerance: float | None = None
) -> Comparison:
    return compare(record(*then), record(*now), tolerance=tolerance)


def test_the_same_figures_are_equal_and_times_are_none():
    found = compared(
        [trial("a", [1.0, 0.5], device_s=[1.0, 2.0], micro_batch=[4.0, 4.0])],
        [trial("a", [1.0, 0.5], device_s=[3.0, 9.0], micro_batch=[2.0, 2.0])],
    )
    assert found.reproduced
    assert set(found.metrics) == {"select_loss_nats", "ending.value", "ending.report_accuracy"}
    assert (found.equal, found.differ, found.largest) == (4, 0, None)


def test_the_last_bit_counts_where_exactness_is_promised_and_not_within_a_tolerance():
    ours, theirs = [trial("a", [1.0, 0.5])], [trial("a", [1.0 + 2**-52, 0.5])]
    exact, near = compared(ours, theirs), compared(ours, theirs, 1e-3)
    assert (exact.reproduced, exact.differ) == (False, 1)
    assert (near.reproduced, near.within, near.differ) == (True, 1, 0)
    assert near.largest == exact.largest
    assert near.largest is not None
    assert near.largest.relative == pytest.approx(2**-52)


def test_the_largest_difference_is_relative_and_has_its_place():
    found = compared(
        [trial("a", [100.0, 0.5]), trial("b", [1.0, 0.5])], [trial("a", [101.0, 0.5]), trial("b", [1.1, 0.5])]
    )
    assert found.largest is not None
    assert (found.largest.trial, found.largest.step, found.largest.metric) == ("b", 0, "select_loss_nats")
    assert [one.trial for one in found.worst] == ["b", "a"]


def test_within_a_tolerance_losses_alone_are_judged():
    found = compared([trial("a", [1.0], lr=[0.1])], [trial("a", [1.0], lr=[0.2])], 1e-3)
    assert found.reproduced
    assert (found.metrics["lr"].is_judged, found.metrics["lr"].differ, found.differ) == (False, 1, 0)


def test_figures_that_one_run_lacks_are_missing_on_that_side():
    found = compared([trial("a", [1.0, 0.5])], [trial("a", [1.0]) | {"ending": None}], 1e-3)
    assert not found.reproduced
    assert (found.missing_now, found.missing_then) == (2, 0)
    assert [(one.then, one.now) for one in found.outcomes] == [("finished at step 4", "not ended")]
    assert found.worst[0].now is None


def test_another_ending_is_no_reproduction_though_all_figures_agree():
    found = compared([trial("a", [1.0])], [trial("a", [1.0], outcome="diverged")], 1.0)
    assert (found.differ, found.reproduced) == (0, False)


def test_trials_that_the_study_lost_are_not_compared():
    found = compared([trial("a", [1.0]), trial("b", [1.0], outcome="infra_failed")], [trial("a", [1.0])])
    assert (found.reproduced, found.trials, found.lost_then) == (True, 1, ("b",))


def test_nothing_compared_is_nothing_reproduced():
    assert not compared([], []).reproduced
