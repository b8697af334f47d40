from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.misspecification import (
    MISSPECIFICATION_COST,
    misspecification_cost,
    tuned_learning_rate,
)
from tests.study.statistics.metrics import tables

STEP = 0.25
OFFSETS = np.random.default_rng(7).uniform(size=6)


def quadratic(best=-3.0, curvature=0.3, floor=2.0):
    """Loss floor + curvature (x - best)^2 in x = log10 lr, below initialisation over three decades."""
    return lambda x, _: floor + curvature * (x - best) ** 2


def slices(family, loss, **more: Any):
    return tables.lr_slices(
        family, loss, **({"low": -6.0, "high": 0.0, "step": STEP, "offsets": OFFSETS} | more)
    )


def tuned(family, log_lr=-3.0):
    return tables.confirmation(family, [2.0, 2.1], params={"lr": 10.0**log_lr})


def found(*frames: pd.DataFrame, decades=1.0, **part: Any):
    question = tables.question("misspecification_cost", decades=decades, **part)
    return MISSPECIFICATION_COST.contrast(tables.trials(*frames), question)


def noisy_pair():
    rng = np.random.default_rng(3)
    noise = {name: rng.normal(0, 0.1, (6, 24)) for name in "ab"}

    def loss(name, curvature):
        return lambda x, r: (
            quadratic(curvature=curvature)(x, r) + noise[name][r, round((x + 6) / STEP - OFFSETS[r])]
        )

    return [
        slices("a", loss("a", 0.2)),
        slices("b", loss("b", 0.5)),
        tuned("a", -3.1),
        tuned("b", -2.9),
    ]


@pytest.mark.parametrize("anchor", [-3.0, -2.7, -3.41])
@pytest.mark.parametrize("decades", [0.5, 1.0, 1.5])
def test_on_a_quadratic_basin_the_cost_is_its_closed_form_at_every_anchor(anchor, decades):
    rows = tables.trials(slices("a", quadratic())).frame
    cost = misspecification_cost(rows, tuned_lr=10**anchor, decades=decades)
    np.testing.assert_allclose(cost, 0.3 * (decades**2 - 2 * STEP**2 / 3), rtol=1e-9)


def test_a_line_has_no_cost():
    rows = tables.trials(slices("a", lambda x, _: 3.0 - x / 10)).frame
    np.testing.assert_allclose(misspecification_cost(rows, tuned_lr=2e-3, decades=0.8), 0.0, atol=1e-12)


def test_the_cost_between_grid_points_is_linear_in_log_lr():
    """One replicate at -2, -1, 0, 1, 2 with losses 4, 2, 1, 1, 4; at x = .25, h = 1, m = 1."""
    losses = dict(zip((-2, -1, 0, 1, 2), (4.0, 2.0, 1.0, 1.0, 4.0), strict=True))
    rows = tables.trials(
        slices("a", lambda x, _: losses[round(x)], low=-2.0, high=3.0, step=1.0, offsets=[0.0])
    ).frame
    below, at, above = 0.75 * 2 + 0.25 * 1, 1.0, 0.75 * 1 + 0.25 * 4
    expected = (below + above) / 2 - (below + at + above) / 3
    cost = misspecification_cost(rows, tuned_lr=10**0.25, decades=1.0)
    assert cost.tolist() == pytest.approx([expected], rel=1e-9)


def test_the_flatter_family_is_favoured():
    frames = [
        slices("a", quadratic(curvature=0.2)),
        slices("b", quadratic(curvature=0.5)),
        tuned("a"),
        tuned("b"),
    ]
    contrast = found(*frames)
    np.testing.assert_allclose(contrast.differences, 0.3 * (1 - 2 * STEP**2 / 3), rtol=1e-9)
    assert contrast.unit == "replicate"
    for anchor in contrast.anchors:
        np.testing.assert_allclose(anchor, contrast.differences, rtol=1e-9)


def test_each_family_is_anchored_at_its_own_tuned_learning_rate():
    cliff = {"a": -2.0, "b": -1.0}
    frames = [
        slices(name, lambda x, _, edge=edge: 2.0 + 3.0 * max(0.0, x - edge)) for name, edge in cliff.items()
    ]
    contrast = found(*frames, tuned("a", -3.0), tuned("b", -2.0), decades=1.5)
    np.testing.assert_allclose(contrast.differences, 0.0, atol=0.2)
    wrong = found(*frames, tuned("a", -3.0), tuned("b", -3.0), decades=1.5)
    assert wrong.differences.mean() < -0.5


def test_every_combination_of_shifted_anchors_is_given():
    frames = noisy_pair()
    contrast = found(*frames)
    rows = tables.trials(*frames[:2]).frame
    costs = {
        name: {
            shift: misspecification_cost(
                rows[rows["family"] == name], tuned_lr=10**anchor, decades=1.0, shift=shift
            )
            for shift in (-1, 0, 1)
        }
        for name, anchor in (("a", -3.1), ("b", -2.9))
    }
    expected = {(i, j): tuple(costs["b"][j] - costs["a"][i]) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert tuple(contrast.differences) == pytest.approx(expected.pop((0, 0)), rel=1e-9)
    assert len(contrast.anchors) == 8
    assert sorted(map(tuple, contrast.anchors)) == sorted(expected.values())


def test_a_shift_by_one_step_is_an_anchor_one_step_away():
    rows = tables.trials(noisy_pair()[0]).frame
    shifted = misspecification_cost(rows, tuned_lr=1e-3, decades=1.0, shift=1)
    moved = misspecification_cost(rows, tuned_lr=10 ** (-3 + STEP), decades=1.0)
    np.testing.assert_allclose(shifted, moved, rtol=1e-9)


def test_swapping_the_families_negates_and_keeps_the_set_of_anchors():
    frames = noisy_pair()
    forward, backward = found(*frames), found(*frames, a="b", b="a")
    pd.testing.assert_series_equal(forward.differences, -backward.differences)
    mirrored = sorted(tuple(-anchor) for anchor in backward.anchors)
    assert sorted(map(tuple, forward.anchors)) == mirrored


def test_more_replicates_leave_the_first_ones_as_they_were():
    frames = noisy_pair()
    few = [frame[frame["replicate"] < 4] for frame in frames]
    pd.testing.assert_series_equal(found(*few).differences, found(*frames).differences.iloc[:4])


def test_a_slice_that_is_too_narrow_is_not_evaluable():
    frames = noisy_pair()
    with pytest.raises(
        NotEvaluableError, match="slice of family a does not reach the misspecified learning rates"
    ):
        found(*frames, decades=3.0)


def test_without_a_confirmation_there_is_no_tuned_learning_rate():
    frames = noisy_pair()
    with pytest.raises(NotEvaluableError, match="family b has no confirmation trials"):
        found(*frames[:3])


def test_two_confirmed_learning_rates_are_no_anchor():
    frames = noisy_pair()
    frames[2].loc[0, "param.lr"] = 2e-3
    with pytest.raises(
        NotEvaluableError, match="family a's confirmation trials do not share one learning rate"
    ):
        found(*frames)


def test_the_tuned_learning_rate_is_the_confirmed_one():
    assert tuned_learning_rate(tables.trials(tuned("a", -2.5)), "a", tables.WORKLOAD) == 10**-2.5


def test_without_decades_there_is_no_cost():
    with pytest.raises(NotEvaluableError, match="needs `decades`"):
        found(*noisy_pair(), decades=None)


def test_a_missing_replicate_is_not_evaluable():
    a, *others = noisy_pair()
    with pytest.raises(NotEvaluableError, match="planned pairs of a and b lack a half"):
        found(a[a["replicate"] != 2], *others)


def test_a_diverged_learning_rate_costs_the_loss_at_initialisation():
    rows = tables.trials(slices("a", lambda x, _: np.nan if x > -2.3 else 2.0)).frame
    np.testing.assert_allclose(
        misspecification_cost(rows, tuned_lr=1e-3, decades=1.0), (tables.INIT - 2.0) / 2
    )
