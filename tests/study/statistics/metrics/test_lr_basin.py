from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.statistics.claims import Range
from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.lr_basin import BASIN_AREA, LR_WIDTH, basin_area, lr_width
from tests.study.statistics.metrics import tables

METRICS = {"lr_width": LR_WIDTH, "basin_area": BASIN_AREA}
TAU = 2.5
WINDOW = {"low": -6.0, "high": 0.0, "step": 0.25}
EVENLY = [(i + 0.5) / 50 for i in range(50)]
"""Offsets whose mean stands for the expectation over a random offset."""


def quadratic(best=-3.0, curvature=2.0, floor=2.0):
    """Loss floor + curvature (x - best)^2 in x = log10 lr."""
    return lambda x, _: floor + curvature * (x - best) ** 2


def width_of(curvature, tau=TAU, floor=2.0):
    return 2 * np.sqrt((tau - floor) / curvature)


def area_of(curvature, init=tables.INIT, floor=2.0):
    depth = init - floor
    return 4 / 3 * depth * np.sqrt(depth / curvature)


def noisy(loss, seed, sd=0.05):
    """Every (replicate, learning rate) has noise of its own, and none of it is shared with another seed."""
    rng = np.random.default_rng(seed)
    return lambda x, r: loss(x, r) + rng.normal(0, sd)


def slices(family, loss, offsets=EVENLY, **more: Any):
    return tables.lr_slices(family, loss, **(WINDOW | {"offsets": offsets} | more))


def found(name, *frames: pd.DataFrame, tau=TAU, **part: Any):
    question = tables.question(name, direction="greater", tau=tau, **part)
    return METRICS[name].contrast(tables.trials(*frames), question)


def random_pair(seed=0, num_replicates=8):
    offsets = np.random.default_rng(seed).uniform(size=num_replicates)
    return (
        slices("a", noisy(quadratic(curvature=1.0), 1), offsets),
        slices("b", noisy(quadratic(best=-2.6), 2), offsets),
    )


@pytest.mark.parametrize("curvature", [1.0, 2.0, 5.0])
def test_the_width_of_a_quadratic_basin_is_its_closed_form(curvature):
    values = lr_width(tables.trials(slices("a", quadratic(curvature=curvature))).frame, TAU)
    assert values.mean() == pytest.approx(width_of(curvature), abs=0.25 / 50 + 1e-9)
    assert (np.abs(values - width_of(curvature)) < 0.25).all()


@pytest.mark.parametrize("curvature", [1.0, 2.0, 5.0])
def test_the_area_of_a_quadratic_basin_is_its_closed_form(curvature):
    values = basin_area(tables.trials(slices("a", quadratic(curvature=curvature))).frame)
    assert values.mean() == pytest.approx(area_of(curvature), rel=1e-4)


def test_differences_are_a_minus_b_by_replicate():
    frames = slices("a", quadratic(curvature=1.0)), slices("b", quadratic(curvature=4.0))
    width, area = found("lr_width", *frames), found("basin_area", *frames)
    assert width.unit == area.unit == "replicate"
    assert list(width.differences.index) == list(range(50))
    np.testing.assert_allclose(width.differences, width.a_values - width.b_values)
    assert width.differences.mean() == pytest.approx(width_of(1.0) - width_of(4.0), abs=0.01)
    assert area.differences.mean() == pytest.approx(area_of(1.0) - area_of(4.0), rel=1e-3)


@pytest.mark.parametrize("name", METRICS)
def test_a_learning_rate_shift_under_one_window_is_no_difference_on_average(name):
    frames = slices("a", quadratic()), slices("b", quadratic(best=-3.0 + 1 / 3))
    assert found(name, *frames).differences.mean() == pytest.approx(0.0, abs=0.25 / 50 + 1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_a_learning_rate_shift_that_the_window_follows_is_no_difference_at_all(name):
    shift = 1.25
    moved = {"low": WINDOW["low"] + shift, "high": WINDOW["high"] + shift}
    frames = slices("a", quadratic()), slices("b", quadratic(best=-3.0 + shift), **moved)
    np.testing.assert_allclose(found(name, *frames).differences, 0.0, atol=1e-9)


def test_a_fixed_grid_would_call_a_shift_a_difference():
    """Why the offset is drawn: on one grid the counts differ by a step although the widths are equal."""
    fixed = [0.0] * 5
    frames = slices("a", quadratic(), fixed), slices("b", quadratic(best=-2.9), fixed)
    differences = found("lr_width", *frames).differences
    np.testing.assert_allclose(np.abs(differences), 0.25)


@pytest.mark.parametrize("name", METRICS)
def test_families_may_have_windows_of_their_own_length(name):
    frames = slices("a", quadratic()), slices("b", quadratic(best=-2.0), low=-5.0, high=2.0)
    assert found(name, *frames).differences.mean() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_swapping_the_families_negates(name):
    frames = random_pair()
    forward, backward = found(name, *frames), found(name, *frames, a="b", b="a")
    pd.testing.assert_series_equal(forward.differences, -backward.differences)


@pytest.mark.parametrize("name", METRICS)
def test_rows_in_any_order_change_nothing(name):
    frames = random_pair()
    shuffled = tables.table(*frames).sample(frac=1.0, random_state=5)
    pd.testing.assert_series_equal(found(name, shuffled).differences, found(name, *frames).differences)


@pytest.mark.parametrize("name", METRICS)
def test_more_replicates_leave_the_first_ones_as_they_were(name):
    frames = random_pair()
    few = [frame[frame["replicate"] < 5] for frame in frames]
    pd.testing.assert_series_equal(found(name, *few).differences, found(name, *frames).differences.iloc[:5])


def test_diverged_learning_rates_are_neither_usable_nor_a_gain():
    cliff = slices("a", lambda x, r: np.nan if x > -3 else quadratic()(x, r))
    rows = tables.trials(cliff).frame
    assert lr_width(rows, TAU).mean() == pytest.approx(width_of(2.0) / 2, abs=0.01)
    assert basin_area(rows).mean() == pytest.approx(area_of(2.0) / 2, rel=0.01)


@pytest.mark.parametrize(("best", "end"), [(-6.0, "lower"), (0.0, "upper")])
@pytest.mark.parametrize("family", ["a", "b"])
def test_a_target_that_an_end_reaches_is_no_full_basin(family, best, end):
    frames = [slices(name, quadratic(best=best if name == family else -3.0)) for name in "ab"]
    message = (
        rf"window not full-basin: at its {end} end family {family}'s mean loss is 2\.\d+ nats, not above tau"
    )
    with pytest.raises(NotEvaluableError, match=message):
        found("lr_width", *frames)


@pytest.mark.parametrize(("best", "end"), [(-5.5, "lower"), (-0.5, "upper")])
@pytest.mark.parametrize("family", ["a", "b"])
def test_a_gain_at_an_end_is_no_full_basin(family, best, end):
    frames = [slices(name, quadratic(best=best if name == family else -3.0)) for name in "ab"]
    message = rf"window not full-basin: at its {end} end family {family} gains 2\.\d+ nats, not under 20% of"
    with pytest.raises(NotEvaluableError, match=message):
        found("basin_area", *frames)


@pytest.mark.parametrize(("plateau", "is_full"), [(4.45, True), (4.35, False)])
def test_an_end_may_gain_under_a_fifth_of_the_depth(plateau, is_full):
    """The basin is 3 nats deep, so that a plateau at 4.4 nats gains a fifth."""
    frames = (
        slices("a", lambda x, r: min(quadratic()(x, r), plateau if x < -3 else 9.0)),
        slices("b", quadratic()),
    )
    if is_full:
        assert found("basin_area", *frames).differences.mean() > 0
    else:
        with pytest.raises(NotEvaluableError, match="window not full-basin: at its lower end family a"):
            found("basin_area", *frames)


def test_a_target_that_nobody_reaches_is_not_evaluable():
    with pytest.raises(
        NotEvaluableError, match=r"tau = 1\.5 nats is not reached by any trial of either family"
    ):
        found("lr_width", *random_pair(), tau=1.5)


def test_a_target_that_one_family_reaches_is_evaluable():
    frames = slices("a", quadratic()), slices("b", quadratic(floor=3.0))
    contrast = found("lr_width", *frames)
    np.testing.assert_array_equal(contrast.b_values, np.zeros(50))


def test_families_that_learn_nowhere_have_no_area():
    frames = [slices(name, lambda _x, _r: np.nan) for name in "ab"]
    with pytest.raises(
        NotEvaluableError, match="no trial of either family improves on the loss at initialisation"
    ):
        found("basin_area", *frames)


def test_a_family_that_learns_nowhere_has_area_0_beside_one_that_learns():
    contrast = found("basin_area", slices("a", lambda _x, _r: np.nan), slices("b", quadratic()))
    np.testing.assert_array_equal(contrast.a_values, np.zeros(50))


@pytest.mark.parametrize("name", METRICS)
def test_an_uneven_grid_is_not_evaluable(name):
    a, b = random_pair()
    a.loc[a["point"] == 7, "param.lr"] *= 1.1
    with pytest.raises(NotEvaluableError, match="family a in replicate 0 are not evenly spaced in log lr"):
        found(name, a, b)


def test_a_grid_rounded_to_four_digits_is_even():
    a, b = random_pair()
    exact = found("lr_width", a, b).differences
    for frame in (a, b):
        frame["param.lr"] = [float(f"{lr:.4g}") for lr in frame["param.lr"]]
    np.testing.assert_allclose(found("lr_width", a, b).differences, exact, rtol=1e-3, atol=1e-4)


def test_a_missing_learning_rate_is_not_evaluable():
    a, b = random_pair()
    with pytest.raises(
        NotEvaluableError, match="replicate 3 of family a has 23 learning rates where replicate 0 has 24"
    ):
        found("lr_width", a[~((a["replicate"] == 3) & (a["point"] == 0))], b)


def test_a_missing_replicate_is_not_evaluable():
    a, b = random_pair()
    with pytest.raises(NotEvaluableError, match="planned pairs of a and b lack a half"):
        found("lr_width", a[a["replicate"] != 3], b)


def test_a_lost_trial_costs_its_replicate():
    offsets = np.random.default_rng(0).uniform(size=50)
    a, b = slices("a", quadratic(), offsets), slices("b", quadratic(), offsets)
    a.loc[a.index[0], ["outcome", "value"]] = ["infra_failed", np.nan]
    contrast = found("lr_width", a, b)
    assert list(contrast.differences.index) == list(range(1, 50))
    assert contrast.notes == (f"1 of {len(b)} planned pairs lack a half and are left out.",)


def test_slices_on_different_seeds_are_not_evaluable():
    a, b = random_pair()
    b["seed"] += 1
    with pytest.raises(NotEvaluableError, match="trained on different seeds in replicate 0"):
        found("lr_width", a, b)


def test_a_stopped_trial_is_not_evaluable():
    a, b = random_pair()
    b.loc[b.index[5], "outcome"] = "stopped"
    with pytest.raises(NotEvaluableError, match="1 lr_slice trials of family b were stopped early"):
        found("basin_area", a, b)


@pytest.mark.parametrize("lr", [0.0, np.nan])
def test_a_learning_rate_that_is_not_positive_is_not_evaluable(lr):
    a, b = random_pair()
    a.loc[a.index[0], "param.lr"] = lr
    with pytest.raises(NotEvaluableError, match="a trial in family a's slice has no positive learning rate"):
        found("lr_width", a, b)


def test_a_slice_of_one_learning_rate_has_no_width():
    frames = [slices(name, quadratic(), low=-3.0, high=-2.75) for name in "ab"]
    with pytest.raises(NotEvaluableError, match="family a's slice has one learning rate"):
        found("basin_area", *frames)


def test_an_area_needs_the_loss_at_initialisation():
    frames = [slices(name, quadratic(), init=np.nan) for name in "ab"]
    with pytest.raises(NotEvaluableError, match="no trial tells the loss at initialisation"):
        found("basin_area", *frames)


def test_a_slice_cannot_be_transformed_or_thinned():
    with pytest.raises(NotEvaluableError, match="no trials at transformed hyperparameters"):
        found("lr_width", *random_pair(), at=dict)
    with pytest.raises(NotEvaluableError, match="a slice needs all of its own"):
        found("lr_width", *random_pair(), where={"lr": Range(low=1e-4)})
