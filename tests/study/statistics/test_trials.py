"""Reading a trial table: what is kept, what is dropped and counted, and what is refused in one sentence."""

import numpy as np
import pandas as pd
import pytest

from search_spaces.errors import SpecError
from study.statistics.trials import COLUMNS, counts, read_trials


def rows(**changes: object) -> pd.DataFrame:
    """Three confirmation trials of one family: finished, above the cap, diverged."""
    columns = {
        "phase": ["confirmation"] * 3,
        "slice": ["", None, float("nan")],
        "workload": ["w"] * 3,
        "family": ["sgd"] * 3,
        "replicate": [0, 1, 2],
        "point": [0, 0, 0],
        "seed": [11, 2**62 + 1, 13],
        "value": [0.5, 7.0, float("nan")],
        "select_value": [0.6, 7.1, float("nan")],
        "init_value": [2.0, 2.0, 2.0],
        "outcome": ["finished", "finished", "diverged"],
        "steps": [8, 8, 3],
        "device_seconds": [1.0, 1.0, 0.4],
        "param.lr": [0.1, 0.1, 0.1],
    }
    return pd.DataFrame({**columns, **changes})


def test_every_trial_has_the_capped_loss_of_its_outcome():
    assert read_trials(rows()).frame["capped"].tolist() == [0.5, 2.0, 2.0]


def test_a_diverged_trial_takes_the_workloads_median_loss_at_initialisation():
    trials = read_trials(rows(init_value=[2.0, 3.0, float("nan")]))
    assert trials.frame["capped"].tolist() == [0.5, 3.0, 2.5]


def test_a_trial_without_a_known_cap_keeps_its_loss_or_has_none():
    capped = read_trials(rows(init_value=[float("nan")] * 3)).frame["capped"]
    assert capped.tolist()[:2] == [0.5, 7.0]
    assert np.isnan(capped.iloc[2])


def test_lost_and_stopped_trials_have_no_loss():
    trials = read_trials(rows(outcome=["infra_failed", "stopped", "out_of_memory"]))
    assert trials.frame["capped"].isna().all()


def test_a_finished_trial_without_a_finite_loss_counts_as_diverged_and_is_told_of():
    trials = read_trials(rows(value=[0.5, float("inf"), float("nan")]))
    assert trials.frame["outcome"].tolist() == ["finished", "diverged", "diverged"]
    assert trials.notes == ("1 finished trials without a finite loss count as diverged.",)


def test_large_seeds_stay_exact_in_numbers_and_in_text():
    assert read_trials(rows()).frame["seed"].tolist() == [11, 2**62 + 1, 13]
    as_text = read_trials(rows(seed=["11", str(2**62 + 1), "13.0"]))
    assert as_text.frame["seed"].tolist() == [11, 2**62 + 1, 13]


def test_text_from_a_csv_reads_as_numbers_and_empty_cells_as_absent():
    trials = read_trials(rows(value=["0.5", " 7 ", "nan"], replicate=["0", "1", ""], steps=["8", "", "3"]))
    assert set(trials.frame["value"].dropna()) == {0.5, 7.0}
    assert sorted(trials.frame["replicate"]) == [0, 0, 1]


def test_identical_rows_are_dropped_and_counted():
    table = rows()
    trials = read_trials(pd.concat([table, table.iloc[[1, 1]]]))
    assert (len(trials.frame), trials.num_duplicates) == (3, 2)


def test_the_order_of_rows_and_columns_changes_nothing():
    table = rows()
    there = read_trials(table).frame.drop(columns="_order")
    shuffled = table.sample(frac=1, random_state=1)[list(reversed(table.columns))]
    back = read_trials(shuffled).frame.drop(columns="_order")
    pd.testing.assert_frame_equal(there, back[there.columns])


def test_two_different_rows_of_one_trial_are_refused():
    table = rows()
    other = table.iloc[[0]].assign(value=0.4)
    with pytest.raises(
        SpecError, match=r"two different rows for family sgd, phase confirmation, .* keep the one"
    ):
        read_trials(pd.concat([table, other]))


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(column):
    with pytest.raises(SpecError, match=f"t.csv has no column '{column}'.*add it"):
        read_trials(rows().drop(columns=column), source="t.csv")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"outcome": ["finished", "finshed", "diverged"]}, "'finshed', did you mean 'finished'"),
        ({"phase": ["confirmation", "sensitivty", "search"]}, "'sensitivty', did you mean 'sensitivity'"),
        ({"value": ["0.5", "low", ""]}, "row 2: value is 'low', which is no number: correct it"),
        ({"replicate": [0, 1.5, 2]}, "row 2: replicate is 1.5, but must be a whole number: correct it"),
        ({"seed": ["1", "x", "3"]}, "row 2: seed is 'x', but must be a whole number"),
        ({"seed": ["1", "9" * 30, "3"]}, "row 2: seed is '9{30}', but must be a whole number"),
        ({"family": ["sgd", "", "sgd"]}, "row 2: family is empty: name the trial's optimizer family"),
    ],
)
def test_a_cell_that_cannot_be_read_is_told_with_its_row(changes, sentence):
    with pytest.raises(SpecError, match=sentence):
        read_trials(rows(**changes))


def test_a_table_without_rows_is_refused():
    with pytest.raises(SpecError, match="has no rows"):
        read_trials(rows().iloc[:0])


def test_curves_need_their_columns_and_take_either_name_of_the_loss():
    curves = pd.DataFrame({"trial": ["a"], "step": [1], "select_loss_nats": [0.3]})
    assert read_trials(rows(), curves).curves["value"].tolist() == [0.3]
    with pytest.raises(SpecError, match="no column 'step'"):
        read_trials(rows(), curves.drop(columns="step"))


def test_trials_are_counted_by_phase_family_and_outcome_in_the_order_of_the_phases():
    table = pd.concat(
        [rows(), rows(phase=["search"] * 3, outcome=["stopped", "", "diverged"], seed=[1, 2, 3])]
    )
    found = counts(read_trials(table))
    assert list(found) == ["search", "confirmation"]
    assert found["search"] == {"sgd": {"diverged": 1, "stopped": 1, "unfinished": 1}}
    assert found["confirmation"] == {"sgd": {"diverged": 1, "finished": 2}}
