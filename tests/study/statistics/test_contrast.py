"""Pairing two families: which rows meet, and which broken rules make the data undecidable."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.statistics.claims import Range
from study.statistics.contrast import NotEvaluableError, paired_rows
from study.statistics.trials import read_trials
from tests.study.statistics.metrics.tables import WORKLOAD, confirmation, design

NUM_SEEDS = 60


def confirmed(**outcomes: list[str]) -> pd.DataFrame:
    """Two families on sixty shared seeds; `a` and `b` name outcomes of the first trials."""
    table = [confirmation(name, np.linspace(1, 2, NUM_SEEDS)) for name in ("a", "b")]
    for frame, name in zip(table, ("a", "b"), strict=True):
        for index, outcome in enumerate(outcomes.get(name, [])):
            frame.loc[index, "outcome"] = outcome
    return pd.concat(table)


def paired(table: pd.DataFrame, a: str = "a", b: str = "b", phase: str = "confirmation", **options: Any):
    return paired_rows(read_trials(table), a, b, phase=phase, workload=WORKLOAD, **options)


def test_complete_pairs_meet_row_by_row():
    rows = paired(confirmed())
    assert rows.a["seed"].tolist() == rows.b["seed"].tolist()
    assert len(rows.a) == NUM_SEEDS
    assert rows.notes == ()


def test_a_pair_in_a_hundred_may_be_missing_and_is_told_of():
    rows = paired(confirmed(a=["infra_failed"]))
    assert len(rows.a) == len(rows.b) == NUM_SEEDS - 1
    assert rows.notes == ("1 of 60 planned pairs lack a half and are left out.",)


@pytest.mark.parametrize("outcome", ["infra_failed", "out_of_memory", "cancelled"])
def test_more_missing_pairs_make_the_data_undecidable(outcome):
    with pytest.raises(
        NotEvaluableError, match="2 of 60 planned pairs of a and b lack a half, more than 2 %"
    ):
        paired(confirmed(a=[outcome] * 2))


def test_pairs_that_are_still_to_come_are_not_missing():
    rows = paired(confirmed(a=["finished"] * 20 + [""] * 40, b=["finished"] * 21 + ["running"] * 39))
    assert len(rows.a) == len(rows.b) == 20
    assert rows.notes == ("40 planned units have not ended yet and are not read.",)


def test_a_lost_trial_of_a_slice_takes_its_replicate_along_and_no_more():
    table = pd.concat(design(name, np.ones((10, 12))) for name in ("a", "b"))
    first_of_a = (table["family"] == "a") & (table["replicate"] == 3) & (table["point"] == 5)
    table.loc[first_of_a, "outcome"] = "infra_failed"
    rows = paired(table, phase="sensitivity", pair_on=("replicate",))
    assert set(rows.a["replicate"]) == set(rows.b["replicate"]) == set(range(10)) - {3}
    assert rows.notes == ("1 of 120 planned pairs lack a half and are left out.",)


def test_a_family_that_lost_more_trials_than_the_other_is_not_compared():
    with pytest.raises(
        NotEvaluableError, match="a lost 12 and b 0 trials to their surroundings, which differs by more"
    ):
        paired(confirmed(a=["infra_failed"] * 12))


def test_families_without_a_shared_seed_are_not_compared():
    table = confirmed()
    table["seed"] += 10**6 * (table["family"] == "b")
    with pytest.raises(NotEvaluableError, match="share no replicate and point and seed"):
        paired(table)


def test_stopped_trials_and_searches_are_never_evidence():
    with pytest.raises(NotEvaluableError, match="1 confirmation trials of family b were stopped early"):
        paired(confirmed(b=["stopped"]))
    with pytest.raises(NotEvaluableError, match="search trials are stopped early"):
        paired(confirmed(), phase="search")


def test_an_absent_family_or_slice_is_named():
    with pytest.raises(NotEvaluableError, match="no confirmation trials of family c"):
        paired(confirmed(), b="c")
    with pytest.raises(NotEvaluableError, match="no confirmation trials of family a in slice 'H2'"):
        paired(confirmed(), slice_name="H2")


def test_an_absent_workload_is_named_with_those_there_are():
    with pytest.raises(NotEvaluableError, match="has no workload 'elsewhere', only 'tiny'"):
        paired_rows(read_trials(confirmed()), "a", "b", phase="confirmation", workload="elsewhere")


def test_a_diverged_trial_without_any_loss_at_initialisation_is_undecidable():
    table = confirmed(a=["diverged"])
    table["init_value"] = np.nan
    with pytest.raises(NotEvaluableError, match="a diverged trial of family a has no loss"):
        paired(table)


def test_a_restriction_keeps_family_as_rows_and_their_pairs():
    lr = np.array([[0.1, 0.2, 0.3, 0.4]] * 3)
    table = pd.concat(
        design(name, np.ones((3, 4)), params={"lr": lr * scale}) for name, scale in (("a", 1), ("b", 9))
    )
    rows = paired(table, phase="sensitivity", where={"lr": Range(low=0.2, high=0.3)})
    assert rows.a["point"].tolist() == rows.b["point"].tolist() == [1, 2] * 3
    with pytest.raises(NotEvaluableError, match=r"no column 'param\.damping'"):
        paired(table, phase="sensitivity", where={"damping": Range()})


def test_one_family_alone_has_its_own_units():
    rows = paired(confirmed(a=["infra_failed"]), b="")
    assert (len(rows.a), len(rows.b)) == (NUM_SEEDS - 1, 0)
    with pytest.raises(NotEvaluableError, match="2 of 60 planned trials of a are lost"):
        paired(confirmed(a=["infra_failed"] * 2), b="")
