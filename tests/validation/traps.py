"""V7 to V9: analyses that look right and are wrong, beside the engine's, on studies with a true null."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from study.statistics.descriptive.lr_sensitivity import plug_in_sensitivity
from study.statistics.metrics import METRICS
from study.statistics.metrics.lr_slices import read_slices
from study.statistics.metrics.misspecification import SHIFTS, misspecification_cost
from study.statistics.paired import t_p
from tests.validation import asha, estimands
from tests.validation.bands import Rate, around, at_most
from tests.validation.level_cells import ALPHA, p_values, sample
from tests.validation.scenarios import ASKED, DECADES, LAYOUT, Scenario
from tests.validation.surface import Array, Surface
from tests.validation.tables import Layout, trials_of

AUDIT = 0.25
"""Probability with which a stopped trial goes on all the same, in the audit."""
TRIALS = 81
SLOW, FAST = Surface(name="a", slopes={}, speed=1.0), Surface(name="b", slopes={}, speed=5.0)
"""One final loss, learnt late and early."""
WRONG = 0.15
"""A wrong analysis must reject a true null at least so often here, or the trap would not be shown."""


WRONG_ERRORS = 2.0
"""A biased analysis must be off by so many standard errors, or the trap would not be shown."""
UNBIASED = frozenset({"audit", "full budget"})
NEAR = 0.05
"""Nats within which the best of two searches of one final loss must lie."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """Estimates of the difference in mean loss, b minus a, whose truth is 0, by analysis; one a study."""

    differences: dict[str, Array]
    naive_p: Array
    """Two-sample t test of the last reported losses."""


def searches(*, num_studies: int, seed: int, trials: int = TRIALS) -> Search:
    """Search both families with a scheduler of their own, and once more with one for both."""
    rng = np.random.default_rng(seed)
    losses = [asha.search_losses(surface, num_studies, trials, rng) for surface in (SLOW, FAST)]
    found = [asha.halve(one) for one in losses]
    by_family = [asha.estimates(one, AUDIT, rng) for one in found]
    differences = {name: by_family[1][name] - by_family[0][name] for name in by_family[0]}
    differences["best of search"] = _best(found[1]) - _best(found[0])
    order = rng.permutation(2 * trials)
    shared = asha.halve(np.concatenate(losses, axis=1)[:, order])
    of_a = order < trials
    differences["best of search, one scheduler for both"] = _best(shared, ~of_a) - _best(shared, of_a)
    naive = stats.ttest_ind(found[1].last_reported, found[0].last_reported, axis=1, equal_var=False)
    return Search(differences=differences, naive_p=np.asarray(naive.pvalue))


def _best(found: asha.Searched, chosen: Array | None = None) -> Array:
    """Least final loss of the trials that had their full budget; INIT where none had."""
    survived = found.survived if chosen is None else found.survived & chosen
    return np.asarray(np.where(survived, found.final, 3.0).min(axis=1))


def search_rates(*, num_studies: int, seed: int, sigmas: float) -> list[Rate]:
    """V7: the naive comparison rejects a true null, the audit and the full budget are unbiased."""
    found = searches(num_studies=num_studies, seed=seed)
    rates = [
        Rate(
            cell="V7",
            scenario="one family learns late",
            what="t-test of last reported losses rejects",
            observed=float((found.naive_p <= ALPHA).mean()),
            low=WRONG,
            high=1.0,
            num=num_studies,
            note="wrong on purpose",
        )
    ]
    for name, values in found.differences.items():
        error = float(values.std(ddof=1) / np.sqrt(num_studies))
        low, high, note = (WRONG_ERRORS * error, np.inf, "wrong on purpose")
        if name in UNBIASED:
            low, high, note = 0.0, sigmas * error, "0 but for chance"
        elif name == "best of search":
            low, high, note = 0.0, NEAR, "compares ways of tuning, where learning late costs little"
        rates.append(
            Rate(
                cell="V7",
                scenario="one family learns late",
                what=f"size of the bias in nats, {name}",
                observed=abs(float(values.mean())),
                low=low,
                high=high,
                num=num_studies,
                note=f"{note}; standard error {error:.4f}",
            )
        )
    return rates


def noisy_scenario(ratio: float, *, noise: float = 0.05) -> Scenario:
    """Two families that differ in noise alone."""
    a = Surface(name="a", slopes={}, noise=noise)
    return Scenario(name=f"noise ratio {ratio:g}", a=a, b=replace(a, name="b", noise=ratio * noise))


def plug_in_p(scenario: Scenario, *, num_studies: int, replicates: int, seed: int) -> Array:
    """P-values of a paired t-test on each replicate's own sensitivity: mean minus minimum of its curve."""
    layout = replace(LAYOUT, replicates=replicates, phases=("lr_slice",))
    frame = trials_of((scenario.a, scenario.b), layout, seed=seed, num_studies=num_studies).frame
    sides = [
        np.array(
            [plug_in_sensitivity(row[None, :]) for row in read_slices(frame[frame["family"] == name]).capped]
        )
        for name in ("a", "b")
    ]
    return np.array([t_p(row) for row in (sides[1] - sides[0]).reshape(num_studies, replicates)])


def sensitivity_rates(*, num_studies: int, seed: int, sigmas: float, replicates: int = 20) -> list[Rate]:
    """V8: with noise that differs alone, the plug-in sensitivity sees a difference; width and area do as they say."""
    scenario = noisy_scenario(6.0)
    plug_in = float(
        (plug_in_p(scenario, num_studies=num_studies, replicates=replicates, seed=seed) <= ALPHA).mean()
    )
    rates = [
        Rate(
            cell="V8",
            scenario=scenario.name,
            what="plug-in sensitivity rejects",
            observed=plug_in,
            low=WRONG,
            high=1.0,
            num=num_studies,
            n=replicates,
            note="wrong on purpose",
        )
    ]
    for name in ("lr_width", "basin_area"):
        asked = ASKED[name]
        found = sample(
            scenario, asked, num_studies=num_studies, layout=replace(LAYOUT, replicates=replicates), seed=seed
        )
        truth = scenario.truth(asked)
        low, high = around(ALPHA, num_studies, sigmas)
        rates.append(
            Rate(
                cell="V8",
                scenario=scenario.name,
                what=f"{name} rejects its true value",
                observed=float((p_values(found, truth)["t"] <= ALPHA).mean()),
                low=low,
                high=high,
                num=num_studies,
                n=replicates,
                note=f"true difference {truth:+.4f} {METRICS[name].unit}",
            )
        )
    return rates


def false_positives(
    scenario: Scenario, *, num_studies: int, seed: int, replicates: int = 20
) -> dict[str, float]:
    """Share of studies in which each analysis sees families that differ in noise alone as different from 0."""
    layout = replace(LAYOUT, replicates=replicates)
    plug_in = plug_in_p(scenario, num_studies=num_studies, replicates=replicates, seed=seed)
    shares = {"plug-in sensitivity": float((plug_in <= ALPHA).mean())}
    for name in ("lr_width", "basin_area"):
        found = sample(scenario, ASKED[name], num_studies=num_studies, layout=layout, seed=seed)
        shares[f"{name} against 0"] = float((p_values(found, 0.0)["t"] <= ALPHA).mean())
        truth = scenario.truth(ASKED[name])
        shares[f"{name} against its truth"] = float((p_values(found, truth)["t"] <= ALPHA).mean())
    return shares


ANCHOR_ERROR = 0.25
"""Decades by which the tuned learning rates of two identical families miss their optimum, to either side."""


def anchor_rates(*, num_studies: int, seed: int, sigmas: float) -> list[Rate]:
    """V8: one cliff, seen around two tuned learning rates, looks like two, unless all anchors must agree."""
    a = Surface(name="a", slopes={}, shape="cliff", diverge_above=np.inf)
    layout = replace(LAYOUT, phases=("lr_slice",))
    frame = trials_of((a, replace(a, name="b")), layout, seed=seed, num_studies=num_studies).frame
    costs = {}
    for name, sign in (("a", -1.0), ("b", 1.0)):
        rows, lr = frame[frame["family"] == name], 10 ** (a.center + sign * ANCHOR_ERROR)
        costs[name] = [
            misspecification_cost(rows, tuned_lr=lr, decades=DECADES, shift=shift).to_numpy()
            for shift in SHIFTS
        ]
    ps = [
        [t_p(row) for row in (of_b - of_a).reshape(num_studies, layout.replicates)]
        for of_a in costs["a"]
        for of_b in costs["b"]
    ]
    rows = (
        ("misspecification_cost rejects, tuned anchors alone", ps[0], WRONG, 1.0, "wrong on purpose"),
        (
            "misspecification_cost rejects, all anchors",
            np.max(ps, axis=0),
            *at_most(ALPHA, num_studies, sigmas),
            "",
        ),
    )
    return [
        Rate(
            cell="V8",
            scenario=f"one cliff, tuned {2 * ANCHOR_ERROR:g} decades apart",
            what=what,
            observed=float((np.asarray(p) <= ALPHA).mean()),
            low=low,
            high=high,
            num=num_studies,
            n=layout.replicates,
            note=note,
        )
        for what, p, low, high, note in rows
    ]


SHIFT = 0.33
"""Decades by which the best learning rates of two otherwise identical families differ."""


def grid_rates(*, num_studies: int, seed: int, sigmas: float) -> list[Rate]:
    """V8: a learning-rate grid without a random offset takes a shift of the best learning rate for a difference."""
    a = Surface(name="a", slopes={})
    scenario = Scenario(
        name=f"shift of {SHIFT} decades", a=a, b=replace(a, name="b", center=a.center + SHIFT)
    )
    low, high = around(ALPHA, num_studies, sigmas)
    rates = []
    for name in ("lr_width", "basin_area"):
        for grid, fixed in (("fixed grid", True), ("random offsets", False)):
            layout = replace(LAYOUT, fixed_grid=fixed)
            found = sample(scenario, ASKED[name], num_studies=num_studies, layout=layout, seed=seed)
            wrong = fixed and name == "lr_width"
            rates.append(
                Rate(
                    cell="V8",
                    scenario=scenario.name,
                    what=f"{name} rejects, {grid}",
                    observed=float((p_values(found, 0.0)["t"] <= ALPHA).mean()),
                    low=WRONG if wrong else low,
                    high=1.0 if fixed else high,
                    num=num_studies,
                    n=layout.replicates,
                    note="wrong on purpose" if wrong else "",
                )
            )
    return rates


_OWN = {"num_experts": 0.2}
_MEAN_DOUBLINGS = -0.5
"""Mean of log2(num_experts / 8) over its levels."""
INTERACTING = (
    Surface(
        name="a", slopes=_OWN, floor=1.0 - 0.2 * _MEAN_DOUBLINGS, replicate_noise=0.12, diverge_above=np.inf
    ),
    Surface(
        name="b",
        slopes={"num_experts": -0.2},
        floor=1.0 + 0.2 * _MEAN_DOUBLINGS,
        replicate_noise=0.12,
        diverge_above=np.inf,
    ),
)
"""Equal on average over the space, but each prefers other configurations and is luckier on other seeds."""


def design_rates(*, num_studies: int, seed: int, sigmas: float, design_seed: int | None = None) -> list[Rate]:
    """V9: sixteen configurations on five shared seeds against five replicates of their own design and seeds."""
    truth = estimands.space_loss(INTERACTING[1]) - estimands.space_loss(INTERACTING[0])
    sizes = Layout(replicates=5, points=16, phases=("sensitivity",), design_seed=design_seed)
    crossed = _losses(replace(sizes, crossed=True), num_studies, seed) - truth
    own = _losses(sizes, num_studies, seed + 1) - truth
    found = (
        ("crossed, runs as if independent", crossed.reshape(num_studies, -1), False),
        ("crossed, means of seeds", crossed.mean(axis=2), False),
        ("replicates, runs as if independent", own.reshape(num_studies, -1), False),
        ("replicates, means of replicates", own.mean(axis=2), True),
    )
    rates = []
    for what, values, right in found:
        low, high = around(ALPHA, num_studies, sigmas)
        rejected = float(np.mean([t_p(row) <= ALPHA for row in values]))
        rates.append(
            Rate(
                cell="V9",
                scenario="families differ by configuration and by seed",
                what=what,
                observed=rejected,
                low=low if right else high,
                high=high if right else 1.0,
                num=num_studies,
                n=values.shape[1],
                note="" if right else "wrong on purpose",
            )
        )
    return rates


def _losses(layout: Layout, num_studies: int, seed: int) -> Array:
    """Differences of capped losses, b minus a: (studies, replicates, points)."""
    frame = trials_of(INTERACTING, layout, seed=seed, num_studies=num_studies).frame
    a, b = (frame.loc[frame["family"] == name, "capped"].to_numpy() for name in ("a", "b"))
    return np.asarray((b - a).reshape(num_studies, layout.replicates, layout.points))
