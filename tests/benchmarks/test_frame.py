"""The frame of the benchmarks: order of turns, intervals, goals."""

import numpy as np
import pytest
import torch

from benchmarks.frame import Benchmark, Goal, Paired, geometric_means, interval, paired, run


def test_sides_take_turns_and_warm_up_off_the_clock():
    calls = []
    found = paired(
        lambda: calls.append("A"),
        lambda: calls.append("B"),
        pairs=4,
        device=torch.device("cpu"),
        before=lambda: calls.append("."),
    )
    assert "".join(calls).replace(".", "") == "BA" + "ABBAABBA"
    assert calls.count(".") == 10
    assert len(found.ratios) == 4


def test_ratios_are_of_pairs():
    row = Paired(first_s=(2.0, 4.0, 9.0), second_s=(1.0, 4.0, 3.0)).row("slow", "fast")
    assert (row["slow_s"], row["fast_s"], row["ratio"], row["pairs"]) == (4.0, 3.0, 2.0, 3)
    assert (row["ratio_low"], row["ratio_high"]) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("num", "places"), [(5, (0, 4)), (6, (0, 5)), (8, (0, 7)), (9, (1, 7)), (20, (5, 14))]
)
def test_interval_has_the_order_statistics_of_the_sign_test(num, places):
    """Tables of the sign test: the 6th of 20, the 2nd of 9, the smallest of 6 to 8."""
    values = np.random.default_rng(0).permutation(num)
    assert interval([float(value) for value in values]) == places


def test_interval_covers_the_median():
    draws = np.random.default_rng(1).lognormal(size=(2000, 12))
    covered = [low <= 1.0 <= high for low, high in (interval(row.tolist()) for row in draws)]
    assert np.mean(covered) > 0.945


def test_geometric_means_go_pair_by_pair():
    assert geometric_means([[1.0, 8.0], [4.0, 2.0]]) == pytest.approx([2.0, 4.0])


def test_goals():
    assert Goal(at_least=4.0).met_by(4.0)
    assert not Goal(at_least=4.0).met_by(3.9)
    assert Goal(at_most=1.15).met_by(1.15)
    assert not Goal(at_most=1.15).met_by(1.2)
    assert [str(Goal(at_least=4.0)), str(Goal(at_most=1.15))] == [">= 4", "<= 1.15"]


def test_a_smoke_run_is_not_saved(capsys):
    benchmark = Benchmark(name="none", question="?", goal=Goal(at_least=1.0), measure=pytest.fail)
    with pytest.raises(SystemExit) as refused:
        run(benchmark, ["--quick", "--save"])
    assert refused.value.code == 2
    assert "leave one of them out" in capsys.readouterr().err
