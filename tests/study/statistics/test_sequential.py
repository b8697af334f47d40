"""Looks and e-values: published boundaries, second methods, and the error that optional stopping makes."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from search_spaces.errors import SpecError
from study.statistics.contrast import NotEvaluableError
from study.statistics.intervals import Interval
from study.statistics.paired import t_p
from study.statistics.sequential import (
    betting_e_value,
    betting_interval,
    confidence_sequence,
    nominal_levels,
    spending,
    t_mixture_log_e,
)

CALIBRATION = 200_000
"""Simulations behind the tabulated levels."""
TABLE = [
    ((10, 20, 30), "obf", (6.6e-4, 0.0158, 0.0433)),
    ((10, 20), "obf", (0.0055, 0.0469)),
    ((6, 10, 15, 20), "obf", (3.1e-4, 0.0052, 0.0206, 0.0389)),
    ((5, 10, 15, 20, 25, 30), "obf", (1e-5, 6.7e-4, 0.0052, 0.0137, 0.0246, 0.0363)),
    ((5, 10, 15, 20, 25, 30), "pocock", (0.0127, 0.0116, 0.0123, 0.0128, 0.0139, 0.0147)),
]


def t_at(samples: np.ndarray, n: int) -> np.ndarray:
    """The t statistics of the first n units of every sample."""
    first = samples[:, :n]
    return math.sqrt(n) * first.mean(axis=1) / first.std(axis=1, ddof=1)


def crossings(samples: np.ndarray, looks: tuple[int, ...], levels: tuple[float, ...]) -> np.ndarray:
    """Whether each sample has crossed at each look, of shape (samples, looks)."""
    bounds = [stats.t.isf(level / 2, n - 1) for level, n in zip(levels, looks, strict=True)]
    return np.column_stack([np.abs(t_at(samples, n)) >= b for n, b in zip(looks, bounds, strict=True)])


def assert_share(share: float, truth: float, n: int) -> None:
    assert abs(share - truth) < 4 * math.sqrt(truth * (1 - truth) / n)


def test_spending_is_its_closed_form_and_spends_everything_at_the_end():
    assert spending("obf", 1 / 3, 0.05) == pytest.approx(
        2 - 2 * stats.norm.cdf(1.959964 * math.sqrt(3)), rel=1e-4
    )
    assert spending("pocock", 0.5, 0.05) == pytest.approx(0.05 * math.log(1 + (math.e - 1) / 2), rel=1e-12)
    for kind in ("obf", "pocock"):
        assert spending(kind, 1.0, 0.05) == pytest.approx(0.05, rel=1e-12)
        assert spending(kind, 0.0, 0.05) == 0.0


@pytest.mark.parametrize(("looks", "kind", "levels"), TABLE)
def test_levels_are_the_tabulated_ones_within_their_simulation_noise(looks, kind, levels):
    for found, expected in zip(nominal_levels(looks, 0.05, kind), levels, strict=True):
        assert abs(found - expected) < 6 * math.sqrt(expected / CALIBRATION)


def test_with_many_units_levels_are_lan_and_demets_on_the_normal_scale():
    """Pocock-type boundaries for three equal steps: 2.279, 2.295 and 2.296."""
    levels = nominal_levels((2000, 4000, 6000), 0.05, "pocock")
    assert stats.norm.isf(np.array(levels) / 2) == pytest.approx([2.2793, 2.2949, 2.2960], abs=2e-3)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 1e-3])
def test_with_many_units_all_looks_together_have_level_alpha_by_the_multivariate_normal(alpha):
    looks = (4000, 9000, 12000)
    bounds = stats.norm.isf(np.array(nominal_levels(looks, alpha)) / 2)
    correlation = [[math.sqrt(min(m, n) / max(m, n)) for m in looks] for n in looks]
    normal = stats.multivariate_normal(cov=correlation, abseps=1e-6, releps=1e-6)
    inside = normal.cdf(bounds, lower_limit=-bounds, rng=np.random.default_rng(0))
    assert 1 - inside == pytest.approx(alpha, rel=0.01)


@pytest.mark.parametrize(
    ("looks", "alpha", "kind"),
    [
        ((10, 20, 30), 0.05, "obf"),
        ((2, 3, 4, 5), 0.05, "pocock"),
        ((3, 7, 12), 0.2, "obf"),
        ((6, 20), 0.01, "pocock"),
    ],
)
def test_with_few_units_all_looks_together_have_level_alpha_and_spend_as_told(looks, alpha, kind):
    n = 100_000
    crossed = np.zeros((n, len(looks)), dtype=bool)
    for start in range(0, n, 25_000):
        samples = np.random.default_rng([8, start]).standard_normal((25_000, looks[-1]))
        crossed[start : start + 25_000] = crossings(samples, looks, nominal_levels(looks, alpha, kind))
    for index, look in enumerate(looks):
        truth = spending(kind, look / looks[-1], alpha)
        assert_share(crossed[:, : index + 1].any(axis=1).mean(), truth, n)


def test_one_look_has_the_whole_level_and_the_first_look_what_is_spent_there():
    assert nominal_levels((17,), 0.03) == pytest.approx((0.03,), rel=1e-9)
    assert nominal_levels((10, 30), 0.05)[0] == pytest.approx(spending("obf", 1 / 3, 0.05), rel=1e-9)


@settings(deadline=None)
@given(st.sampled_from([1e-6, 1e-3, 0.01, 0.05, 0.3, 0.9]), st.sampled_from(["obf", "pocock"]))
def test_a_level_at_a_look_is_never_above_alpha_and_grows_with_it(alpha, kind):
    looks = (5, 10, 15, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        levels, larger = nominal_levels(looks, alpha, kind), nominal_levels(looks, 1.1 * alpha, kind)
    assert all(0 < level <= alpha for level in levels)
    assert all(a < b for a, b in zip(levels, larger, strict=True))


@pytest.mark.parametrize("looks", [(), (1, 10), (10, 10), (20, 10)])
def test_looks_that_cannot_be_read_are_refused(looks):
    with pytest.raises(SpecError, match="cannot be read"):
        nominal_levels(looks, 0.05)


def test_an_unknown_spending_is_refused_with_the_known_ones():
    with pytest.raises(
        SpecError, match=r"Unknown spending 'pocok', did you mean 'pocock'\? Known: obf, pocock"
    ):
        nominal_levels((10, 20), 0.05, "pocok")


@pytest.mark.parametrize(
    ("effect", "power", "mean_n"), [(0.5, 0.74, 26.2), (0.8, 0.99, 21.3), (1.2, 1.0, 17.8)]
)
def test_three_looks_have_the_tabulated_power_and_mean_number_of_units(effect, power, mean_n):
    looks, n = (10, 20, 30), 4000
    samples = np.random.default_rng(12).normal(effect, 1.0, (n, 30))
    crossed = crossings(samples, looks, nominal_levels(looks, 0.05))
    stopped = np.where(crossed.any(axis=1), np.array(looks)[crossed.argmax(axis=1)], looks[-1])
    assert crossed.any(axis=1).mean() == pytest.approx(power, abs=0.03)
    assert stopped.mean() == pytest.approx(mean_n, abs=0.6)


def test_looking_whenever_one_likes_is_wrong_with_t_and_right_with_looks_and_with_e_values():
    n, looks = 1000, (10, 20, 30)
    samples = np.random.default_rng(20).standard_normal((n, 30))
    levels = nominal_levels(looks, 0.05)
    peeked = planned = anytime = 0
    for sample in samples:
        peeked += any(t_p(sample[:k]) <= 0.05 for k in range(5, 31))
        planned += any(t_p(sample[:k]) <= level for k, level in zip(looks, levels, strict=True))
        anytime += any(t_mixture_log_e(sample[:k]) >= math.log(20) for k in range(2, 31))
    assert_share(peeked / n, 0.228, n)
    assert_share(planned / n, 0.05, n)
    assert 0.005 < anytime / n < 0.05


def test_the_worked_example_of_the_t_mixture():
    sample = np.random.default_rng(0).normal(0.5, 1, 12)
    assert t_mixture_log_e(sample) == pytest.approx(1.0972826429, abs=1e-10)
    spread = (sample - sample.mean()) / sample.std(ddof=1)
    at_t_of_2 = spread + 2 / math.sqrt(len(sample))  # savvi's log_bf(t^2 = 4, nu = 11, 1 / g = 1, n = 12)
    assert t_mixture_log_e(at_t_of_2) == pytest.approx(0.4129271520, abs=1e-9)


@pytest.mark.parametrize("g", [0.3, 1.0, 4.0])
def test_the_t_mixture_is_the_ratio_of_marginal_densities_of_t(g):
    sample = np.random.default_rng(3).normal(0.7, 2.0, 9)
    n, t = 9, float(stats.ttest_1samp(sample, 0.2).statistic)
    density = integrate.quad(
        lambda d: stats.nct.pdf(t, n - 1, d * math.sqrt(n)) * stats.norm.pdf(d, scale=math.sqrt(g)),
        -12,
        12,
        limit=200,
        epsabs=1e-13,
    )[0]
    expected = math.log(density / stats.t.pdf(t, n - 1))
    assert t_mixture_log_e(sample, 0.2, g) == pytest.approx(expected, abs=1e-8)


def test_differences_that_are_all_equal_have_the_limit_of_those_that_almost_are():
    exact = t_mixture_log_e([0.1] * 6, 0.05)
    almost = t_mixture_log_e(0.1 + 1e-9 * np.arange(6), 0.05)
    assert exact == pytest.approx(2.5 * math.log(7), rel=1e-12)
    assert almost == pytest.approx(exact, abs=1e-6)
    assert t_mixture_log_e([0.1] * 6, 0.3 - 0.2) == pytest.approx(-0.5 * math.log(7))
    assert t_mixture_log_e([4.0]) == 0.0


@settings(deadline=None)
@given(st.integers(5, 40), st.sampled_from([0.01, 0.05, 0.2]), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_confidence_sequence_ends_where_the_e_value_reaches_its_bar(n, alpha, g):
    sample = np.random.default_rng(n).normal(0.3, 1.5, n)
    found = confidence_sequence(sample, alpha, g)
    if math.isinf(found.low):
        assert ((1 + n * g) / alpha**2) ** (1 / n) >= 1 + n * g
        return
    for end in (found.low, found.high):
        assert t_mixture_log_e(sample, end, g) == pytest.approx(math.log(1 / alpha), abs=1e-8)
    assert t_mixture_log_e(sample, sample.mean(), g) < math.log(1 / alpha)


def test_a_confidence_sequence_is_the_whole_line_while_units_are_few():
    whole = Interval(-math.inf, math.inf)
    assert confidence_sequence([1.0], 0.05) == confidence_sequence([1.0, 1.1], 0.05) == whole
    assert confidence_sequence([1.0] * 20, 0.05) == Interval(1.0, 1.0)


def hedged_capital(values: list[float], mean: float, alpha: float) -> list[float]:
    """Waudby-Smith and Ramdas (2023), equations 23 to 26 and theorem 3, term by term."""
    up = down = 1.0
    total, squares, variance, capital = 0.0, 0.0, 0.25, []
    for t, x in enumerate(values, start=1):
        bet = math.sqrt(2 * math.log(2 / alpha) / (variance * t * math.log(t + 1)))
        up *= 1 + min(bet, 0.5 / mean) * (x - mean)
        down *= 1 - min(bet, 0.5 / (1 - mean)) * (x - mean)
        total += x
        squares += (x - (0.5 + total) / (t + 1)) ** 2
        variance = (0.25 + squares) / (t + 1)
        capital.append(max(up / 2, down / 2))
    return capital


def test_bets_are_those_of_the_theorem():
    values = np.random.default_rng(1).beta(2, 3, 25).tolist()
    for mean in (0.1, 0.4, 0.75):
        assert betting_e_value(values, mean) == pytest.approx(
            hedged_capital(values, mean, 0.05)[-1], rel=1e-12
        )
    found = betting_interval(values, 0.1)
    kept = [m for m in np.linspace(0.005, 0.995, 199) if max(hedged_capital(values, m, 0.1)) < 10]
    assert found.low == pytest.approx(kept[0], abs=0.006)
    assert found.high == pytest.approx(kept[-1], abs=0.006)
    assert found.low < kept[0]
    assert kept[-1] < found.high


def test_bets_hold_the_mean_at_all_times_and_gain_nothing_on_it():
    rng, n = np.random.default_rng(9), 800
    samples = rng.binomial(1, 0.3, (n, 40)).astype(float)
    missed = sum(max(hedged_capital(sample.tolist(), 0.3, 0.05)) >= 20 for sample in samples)
    assert missed / n < 0.05
    outside = sum(not (i := betting_interval(sample, 0.05)).low <= 0.3 <= i.high for sample in samples[:300])
    assert outside / 300 < 0.05
    assert np.mean([betting_e_value(sample, 0.3) for sample in samples]) < 1.1


def test_bets_narrow_with_units_and_stay_in_the_unit_interval():
    values = np.random.default_rng(2).random(200)
    few, many = betting_interval(values[:10], 0.05), betting_interval(values, 0.05)
    assert 0 <= few.low <= many.low < 0.5 < many.high <= few.high <= 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ones, zeros = betting_interval([1.0] * 30, 0.05), betting_interval([0.0] * 30, 0.05)
    assert ones.high == 1.0
    assert zeros.low == 0.0
    assert ones.low == pytest.approx(1 - zeros.high, abs=1e-9)
    assert ones.low > 0.75
    assert betting_e_value([1.0] * 30, 0.0) > 20


def test_bets_need_scores_between_zero_and_one():
    with pytest.raises(NotEvaluableError, match="between 0 and 1"):
        betting_interval([0.2, 1.2], 0.05)
