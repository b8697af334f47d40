from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.statistics.claims import Range
from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.matched_loss import MATCHED_LOSS
from tests.study.statistics.metrics import tables

REPLICATES, POINTS = 6, 8


def at_root_k(params):
    """The learning rate at which a family without the gates' rescaling moves as far."""
    return {**params, "lr": params["lr"] * params["top_k"] ** 0.5}


def settings(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "lr": 10 ** rng.uniform(-5, -1, (REPLICATES, POINTS)),
        "top_k": rng.choice([1, 2, 4], (REPLICATES, POINTS)),
    }


def basin(lr, best):
    return 2.0 + (np.log10(lr) - best) ** 2 / 3


def laid_out(extra=0.0, **more: Any):
    """Family a whose loss is b's at lr·√k, minus `extra`, and b's trials in the slice of claim C1."""
    params = settings()
    effective = params["lr"] * np.sqrt(params["top_k"])
    loss = basin(effective, -3.0)
    return [
        tables.design("a", loss - extra, params=params),
        tables.design("b", basin(params["lr"], -3.0), params=params),
        tables.design("b", loss, params={**params, "lr": effective}, **({"slice": "C1"} | more)),
    ]


def found(*frames: pd.DataFrame, **part: Any):
    question = tables.question("matched_loss", **({"at": at_root_k} | part))
    return MATCHED_LOSS.contrast(tables.trials(*frames), question)


def test_a_gain_that_is_only_a_shift_of_the_learning_rate_is_none_at_matched_ones():
    np.testing.assert_allclose(found(*laid_out()).differences, 0.0, atol=1e-12)


def test_a_constant_gain_at_matched_learning_rates_is_found():
    params = settings()
    a, b = tables.design("a", np.full((6, 8), 2.0), params=params), tables.design("b", np.full((6, 8), 2.4))
    contrast = found(a, b.assign(slice="C1"))
    np.testing.assert_allclose(contrast.differences, 0.4)
    assert contrast.unit == "replicate"
    assert contrast.notes == ()


def test_each_replicate_has_the_mean_over_its_pairs():
    rng = np.random.default_rng(1)
    losses_a, losses_b = rng.uniform(2, 6, (6, 8)), rng.uniform(2, 6, (6, 8))
    contrast = found(
        tables.design("a", losses_a, params=settings()), tables.design("b", losses_b, slice="C1")
    )
    expected = np.minimum(losses_b, 5).mean(axis=1) - np.minimum(losses_a, 5).mean(axis=1)
    np.testing.assert_allclose(contrast.differences, expected, rtol=1e-12)


def test_chosen_are_family_as_hyperparameters():
    params = settings()
    losses_a = np.where(params["top_k"] == 4, 2.0, 3.0)
    frames = (
        tables.design("a", losses_a, params=params),
        tables.design("b", np.full((6, 8), 3.0), params={"top_k": np.full((6, 8), 1)}, slice="C1"),
    )
    np.testing.assert_allclose(found(*frames, where={"top_k": Range(low=4)}).differences, 1.0)
    np.testing.assert_allclose(found(*frames, where={"top_k": Range(high=2)}).differences, 0.0)


def external(num_seeds=5):
    """A table of someone else: both families on one grid of learning rates, the grid's place in `point`."""
    grid = 10.0 ** np.arange(-5, 0, 0.5)
    lr = np.tile(grid, (num_seeds, 1))
    rng = np.random.default_rng(2)
    noise = {name: rng.normal(0, 0.05, lr.shape) for name in "ab"}
    return [
        tables.design("a", basin(lr, -3.5) + noise["a"], params={"lr": lr}, seed=11),
        tables.design("b", basin(lr, -2.5) + noise["b"], params={"lr": lr}, seed=11),
    ]


def tenfold(params):
    return {**params, "lr": params["lr"] * 10}


def test_without_a_slice_the_matches_are_looked_up_among_family_bs_trials():
    frames = external()
    contrast = found(*frames, at=tenfold)
    a, b = (frame.pivot_table(index="replicate", columns="point", values="value") for frame in frames)
    expected = b.iloc[:, 2:].clip(upper=5).mean(axis=1) - a.iloc[:, :-2].clip(upper=5).mean(axis=1)
    np.testing.assert_allclose(contrast.differences, expected, rtol=1e-12)
    assert contrast.notes == ("40 of 50 sensitivity trials of a have a match among those of b.",)


def test_a_learning_rate_read_from_text_still_matches():
    a, b = external()
    b["param.lr"] = [float(f"{lr:.8g}") for lr in b["param.lr"]]
    assert found(a, b, at=tenfold).notes[0].startswith("40 of 50")


def test_a_learning_rate_a_thousandth_off_does_not_match():
    a, b = external()
    b["param.lr"] *= 1.001
    with pytest.raises(
        NotEvaluableError, match="no sensitivity trial of family b has the replicate, the seed and the"
    ):
        found(a, b, at=tenfold)


def test_every_hyperparameter_of_family_b_must_match():
    a, b = external()
    a["param.top_k"], b["param.top_k"] = 2, 4
    with pytest.raises(NotEvaluableError, match="no sensitivity trial of family b"):
        found(a, b, at=tenfold)
    a["param.schedule"], b["param.top_k"], b["param.schedule"] = "linear", 2, "cosine"
    with pytest.raises(NotEvaluableError, match="no sensitivity trial of family b"):
        found(a, b, at=tenfold)
    b["param.schedule"] = "linear"
    assert found(a, b, at=tenfold).differences.size == 5


def test_a_hyperparameter_that_family_b_lacks_does_not_hinder_a_match():
    a, b = external()
    a["param.damping"], b["param.damping"] = 1e-6, np.nan
    assert found(a, b, at=tenfold).differences.size == 5


def test_another_seed_does_not_match():
    a, b = external()
    b["seed"] = 12
    with pytest.raises(NotEvaluableError, match="no sensitivity trial of family b"):
        found(a, b, at=tenfold)


def test_a_lost_match_is_a_missing_pair():
    a, b = external()
    b.loc[b["point"] == 4, "outcome"] = "cancelled"
    with pytest.raises(NotEvaluableError, match="5 of 40 planned pairs of a and b lack a half"):
        found(a, b, at=tenfold)


def test_a_half_missing_from_the_slice_is_a_missing_pair():
    a, b, matched = laid_out()
    with pytest.raises(NotEvaluableError, match="1 of 48 planned pairs of a and b lack a half"):
        found(a, b, matched.iloc[:-1])


def test_in_the_confirmation_each_seed_is_a_unit():
    a = tables.confirmation("a", [2.0, 2.2, 2.1], params={"lr": 1e-3})
    b = tables.confirmation("b", [2.5, 2.5, 2.5], params={"lr": 1e-2})
    contrast = found(a, b, at=tenfold, phase="confirmation")
    np.testing.assert_allclose(contrast.differences, [0.5, 0.3, 0.4])
    assert contrast.unit == "seed"


def test_more_replicates_leave_the_first_ones_as_they_were():
    few, many = found(*external(), at=tenfold), found(*external(num_seeds=5), at=tenfold)
    pd.testing.assert_series_equal(few.differences, many.differences)
    part = [frame[frame["replicate"] < 3] for frame in external()]
    pd.testing.assert_series_equal(found(*part, at=tenfold).differences, many.differences.iloc[:3])


def test_swapping_the_families_and_the_transformation_negates():
    frames = external()
    back = found(*frames, a="b", b="a", at=lambda params: {**params, "lr": params["lr"] / 10})
    np.testing.assert_allclose(back.differences, -found(*frames, at=tenfold).differences, rtol=1e-12)


def test_without_a_transformation_nothing_is_matched():
    with pytest.raises(NotEvaluableError, match="matched_loss needs `at`"):
        found(*laid_out(), at=None)


def test_a_family_without_trials_is_told_by_name():
    a, b = external()
    for missing, frame in (("b", a), ("a", b)):
        with pytest.raises(NotEvaluableError, match=f"no sensitivity trials of family {missing}"):
            found(frame, at=tenfold)


def test_other_phases_are_not_evaluable():
    with pytest.raises(NotEvaluableError, match="read in sensitivity or confirmation, not in factor_slice"):
        found(*laid_out(), phase="factor_slice")


def test_a_stopped_trial_is_not_evaluable():
    frames = laid_out()
    frames[2].loc[0, "outcome"] = "stopped"
    with pytest.raises(NotEvaluableError, match="1 sensitivity trials of family b were stopped early"):
        found(*frames)
