"""Several workloads as one."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from rliable import metrics

from study.statistics.contrast import Contrast, NotEvaluableError
from study.statistics.descriptive.aggregate import aggregate_contrasts, aggregate_scores, iqm


def contrast(differences, units=None, **more: Any):
    values = pd.Series(
        differences, index=units if units is not None else range(len(differences)), dtype=float
    )
    return Contrast(**({"differences": values, "unit": "replicate", "b_values": values * 10} | more))


def test_differences_are_averaged_over_workloads_unit_by_unit():
    found = aggregate_contrasts([contrast([1.0, 2.0, 3.0]), contrast([3.0, 2.0, 1.0])])
    assert found.differences.tolist() == [2.0, 2.0, 2.0]
    assert found.scale == pytest.approx(20.0)
    assert found.a_values is None
    assert (found.unit, found.notes) == ("replicate", ())


def test_units_that_a_workload_lacks_are_left_out_and_counted():
    found = aggregate_contrasts([contrast([1.0, 2.0, 3.0]), contrast([4.0, 6.0], units=[2, 0])])
    assert found.differences.to_dict() == {0: 3.5, 2: 3.5}
    assert found.notes == ("1 replicates are not on every workload and are left out.",)


def test_workloads_without_a_common_unit_are_independent_and_matched_in_order():
    found = aggregate_contrasts(
        [contrast([1.0, 2.0], units=[5, 6]), contrast([3.0, 6.0, 9.0], units=[1, 2, 3])]
    )
    assert found.differences.tolist() == [2.0, 4.0]
    assert found.notes[0].startswith("The workloads share no replicate")


def test_units_that_overlap_but_are_nowhere_complete_are_not_evaluable():
    parts = [contrast([1.0, 1.0], units=units) for units in ([0, 1], [1, 2], [2, 3])]
    with pytest.raises(NotEvaluableError, match="no replicate is on every workload"):
        aggregate_contrasts(parts)


def test_a_mean_of_wins_is_no_longer_a_win():
    wins = [contrast([1.0, 0.0], null=0.5, binary=True) for _ in range(2)]
    assert not aggregate_contrasts(wins).binary
    assert aggregate_contrasts(wins).null == 0.5
    assert aggregate_contrasts(wins[:1]).binary


def test_anchors_are_averaged_anchor_by_anchor():
    parts = [contrast([1.0, 1.0], anchors=(pd.Series([x, x]), pd.Series([2 * x, 2 * x]))) for x in (1.0, 3.0)]
    assert [anchor.tolist() for anchor in aggregate_contrasts(parts).anchors] == [[2.0, 2.0], [4.0, 4.0]]


def test_notes_of_the_workloads_are_kept_once():
    parts = [contrast([1.0], notes=("Same.", note)) for note in ("One.", "Two.")]
    assert aggregate_contrasts(parts).notes == ("Same.", "One.", "Two.")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "no workload to average"),
        ([contrast([1.0]), contrast([1.0], unit="seed")], "measure different things"),
        ([contrast([1.0]), contrast([1.0], null=0.5)], "measure different things"),
    ],
)
def test_what_has_no_common_measure_is_not_evaluable(parts, words):
    with pytest.raises(NotEvaluableError, match=words):
        aggregate_contrasts(parts)


def test_interquartile_mean_and_mean_are_those_of_rliable():
    scores = np.random.default_rng(0).normal(0.5, 0.3, (7, 3))
    found = aggregate_scores(scores)
    assert found.iqm == pytest.approx(metrics.aggregate_iqm(scores))
    assert found.mean == pytest.approx(metrics.aggregate_mean(scores))
    assert iqm([1.0, 2.0, 3.0, 100.0]) == 2.5


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    covered = [
        (
            one.mean_interval.low <= 0 <= one.mean_interval.high,
            one.iqm_interval.low <= 0 <= one.iqm_interval.high,
        )
        for one in (aggregate_scores(rng.normal(0, 1, (10, 4))) for _ in range(400))
    ]
    np.testing.assert_allclose(np.mean(covered, axis=0), 0.95, atol=3 * np.sqrt(0.95 * 0.05 / 400))


def test_one_replicate_has_no_interval():
    found = aggregate_scores([[0.1, 0.2, 0.3, 0.4]])
    assert found.iqm_interval.high == np.inf
    assert found.mean == pytest.approx(0.25)
