"""Verdicts under other choices: what each choice changes, and that nothing else does."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.statistics.analysis import analyze
from study.statistics.claims import Claim, ClaimSet, Comparison, Design, Direction, Part, Role, Tau
from study.statistics.intervals import t_interval
from study.statistics.results import Analysis, Stability, Verdict
from study.statistics.sequential import nominal_levels
from study.statistics.stability import CAP, DROP_ONE, WINDOW, _level, stability
from study.statistics.trials import Trials
from tests.study.statistics.metrics import tables

TAU_MORE, TAU_LESS = "tau +50 %", "tau \u221250 %"
PLAIN = ClaimSet(claims=())


def claim(name: str = "C1", *parts: Part, **more: Any) -> Claim:
    """A claim that family a's tuned loss is less than family b's, unless told."""
    settings = {"title": name, "role": Role.PRIMARY, "comparison": Comparison(a="a", b="b")} | more
    return Claim(id=name, parts=parts or (part("tuned_loss"),), **settings)


def part(metric: str, direction: Direction = Direction.LESS, **more: Any) -> Part:
    return Part(metric=metric, direction=direction, **({"sesoi": 0.001} | more))


def confirmed(differences: Any, **more: Any) -> pd.DataFrame:
    """Confirmation trials of families a and b, whose losses differ by b - a = `differences` (nats)."""
    base = 2.0 + 0.1 * np.sin(np.arange(len(differences)))
    return tables.table(
        tables.confirmation("a", base, **more), tables.confirmation("b", base + differences, **more)
    )


def basins(center_b: float = -3.0) -> pd.DataFrame:
    """Learning-rate slices of both families over six decades, 24 rates in each of eight replicates."""
    window = {"low": -6.0, "high": 0.0, "step": 0.25, "offsets": np.linspace(0.05, 0.95, 8)}
    return tables.table(
        tables.lr_slices("a", lambda x, r: 2.0 + (0.9 + 0.02 * r) * (x + 3) ** 2, **window),
        tables.lr_slices("b", lambda x, r: 2.0 + (1.8 - 0.01 * r) * (x - center_b) ** 2, **window),
    )


class Recorder:
    """The real analysis, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Trials, ClaimSet]] = []

    def __call__(self, trials: Trials, claim_set: ClaimSet) -> Analysis:
        self.asked.append((trials, claim_set))
        return analyze(trials, claim_set)


def found(rows: tuple[Stability, ...], choice: str, name: str = "C1") -> Stability:
    return next(row for row in rows if row.choice == choice and row.claim == name)


def choices(rows: tuple[Stability, ...], name: str) -> list[str]:
    return [row.choice for row in rows if row.claim == name]


def test_a_claim_alone_at_its_level_is_judged_as_among_the_others():
    rng = np.random.default_rng(3)
    frames = [confirmed(rng.normal(0.05, 0.04, 12), workload=name) for name in ("one", "two", "three")]
    trials = tables.trials(*frames)
    claims = (
        claim("C1"),
        claim("C2", part("tuned_loss", margin=0.03)),
        claim("C3", part("win_probability", Direction.GREATER, sesoi=0.2)),
        claim("C4", workloads="any"),
        claim("C5", role=Role.SECONDARY),
        claim("C6", part("tuned_loss", margin=0.04), role=Role.SECONDARY, workloads="aggregate"),
        claim("C7", role=Role.EXPLORATORY),
    )
    claim_set = replace(PLAIN, claims=claims)
    together = analyze(trials, claim_set).claims
    assert len({result.alpha for result in together}) > 3
    for one, result in zip(claims, together, strict=True):
        alone = analyze(trials, replace(claim_set, claims=(one,), alpha=_level(result))).claims[0]
        assert alone.verdict is result.verdict
        assert alone.alpha == pytest.approx(result.alpha, rel=1e-12)
        for end in ("ci_low", "ci_high"):
            expected = [getattr(p, end) for p in result.parts]
            assert [getattr(p, end) for p in alone.parts] == pytest.approx(expected, rel=1e-9)


def test_target_losses_move_away_from_their_reference_and_nothing_else_does():
    width = part("lr_width", Direction.GREATER, tau=Tau(ref="b", within=0.1))
    fixed = part("lr_width", Direction.GREATER, tau=Tau(value=2.5))
    default = part("lr_width", Direction.GREATER)
    analyse = Recorder()
    trials = tables.trials(basins(), confirmed(np.full(8, 0.1)))
    claims = (claim("C1", width, part("tuned_loss")), claim("C2", fixed), claim("C3", default), claim("C4"))
    rows = stability(trials, replace(PLAIN, claims=claims), analyse)
    asked = {asked.claims[0].id: [] for _, asked in analyse.asked if len(asked.claims) == 1}
    for table, one in analyse.asked:
        if table is trials and len(one.claims) == 1:
            asked[one.claims[0].id].append(one.claims[0])
    assert [c.parts[0].tau for c in asked["C1"]] == [Tau(ref="b", within=w) for w in (0.1 * 1.5, 0.05)]
    assert all(c.parts[1] == claims[0].parts[1] for c in asked["C1"])
    assert [c.parts[0].tau for c in asked["C3"]] == [Tau(ref="b", within=w) for w in (0.05 * 1.5, 0.025)]
    for name in ("C2", "C4"):
        assert asked[name] == []
        assert not {TAU_MORE, TAU_LESS} & set(choices(rows, name))
    assert found(rows, TAU_MORE) == Stability(
        claim="C1", choice=TAU_MORE, verdict=Verdict.SUPPORTED, changed=False
    )


def test_a_higher_cap_lets_losses_above_initialisation_count():
    differences = np.array([2.0, 0.1, 0.1, 2.0, 0.1, 2.0, 0.1, 2.0])
    frame = confirmed(differences)
    late = frame["family"] == "a"
    frame.loc[late & (frame["replicate"] == 2), ["value", "outcome"]] = [np.nan, "diverged"]
    frame.loc[frame["replicate"] == 4, "value"] = [5.4, 9.0]
    analyse = Recorder()
    trials = tables.trials(frame)
    rows = stability(trials, replace(PLAIN, claims=(claim(),)), analyse)
    capped = next(
        table for table, _ in analyse.asked if not table.frame["capped"].equals(trials.frame["capped"])
    )
    expected = frame.assign(value=frame["value"].fillna(np.inf).clip(upper=7.5))
    keys = ["family", "replicate"]
    assert capped.frame.set_index(keys)["capped"].to_dict() == expected.set_index(keys)["value"].to_dict()
    assert capped.frame.drop(columns="capped").equals(trials.frame.drop(columns="capped"))
    assert trials.frame["capped"].max() == 5.0
    assert [row.choice for row in rows] == [CAP, DROP_ONE]


def test_a_verdict_that_rests_on_the_cap_is_told():
    """Family a is a little better where both train, and far above its initialisation where b is at its own."""
    frame = tables.table(
        tables.confirmation("a", [2.0, 2.02, 1.98, 2.01, 7.2, 7.3, 7.1, 7.25]),
        tables.confirmation("b", [2.3, 2.29, 2.31, 2.3, 5.0, 5.0, 5.0, 5.0]),
    )
    inferior = part("tuned_loss", Direction.NONINFERIOR, margin=0.2)
    rows = stability(tables.trials(frame), replace(PLAIN, claims=(claim("C1", inferior),)), analyze)
    assert found(rows, CAP).changed
    assert analyze(tables.trials(frame), replace(PLAIN, claims=(claim("C1", inferior),))).claims[
        0
    ].verdict is (Verdict.SUPPORTED)


def test_without_a_loss_at_the_cap_nothing_is_judged_again():
    analyse = Recorder()
    trials = tables.trials(confirmed(np.linspace(0.05, 0.15, 8)))
    rows = stability(trials, replace(PLAIN, claims=(claim(),)), analyse)
    assert found(rows, CAP) == Stability(claim="C1", choice=CAP, verdict=Verdict.SUPPORTED, changed=False)
    assert len(analyse.asked) == 1 + 8


def test_windows_lose_half_a_decade_at_each_end_in_every_replicate():
    analyse = Recorder()
    trials = tables.trials(basins(), confirmed(np.full(8, 0.1)))
    width = part("lr_width", Direction.GREATER, tau=Tau(value=2.5))
    rows = stability(trials, replace(PLAIN, claims=(claim("C1", width), claim("C2"))), analyse)
    narrowed = next(
        table.frame for table, _ in analyse.asked if 0 < len(trials.frame) - len(table.frame) == 2 * 8 * 4
    )
    kept = narrowed[narrowed["phase"] == "lr_slice"]
    assert (kept.groupby(["family", "replicate"])["point"].agg(["min", "max"]) == [2, 21]).all(axis=None)
    assert (narrowed["phase"] == "confirmation").sum() == 16
    assert found(rows, WINDOW) == Stability(
        claim="C1", choice=WINDOW, verdict=Verdict.SUPPORTED, changed=False
    )
    assert WINDOW not in choices(rows, "C2")


def test_a_verdict_that_rests_on_the_ends_of_its_window_is_told():
    """Family b's basin ends just inside the window, so that a narrower window no longer holds it."""
    trials = tables.trials(basins(center_b=-5.0))
    width = part("lr_width", Direction.GREATER, tau=Tau(value=2.5))
    rows = stability(trials, replace(PLAIN, claims=(claim("C1", width),)), analyze)
    assert found(rows, WINDOW).verdict is Verdict.NOT_EVALUABLE
    assert found(rows, WINDOW).changed


def expected_changes(differences: np.ndarray, level: float) -> int:
    """Seeds without which the t interval holds no difference."""
    return sum(t_interval(np.delete(differences, i), level).low <= 0 for i in range(differences.size))


@pytest.mark.parametrize("looks", [(), (5, 10)])
def test_dropped_seeds_are_those_whose_absence_makes_the_interval_hold_zero(looks):
    differences = np.array([0.09, 0.14, -0.05, 0.02, 0.15, 0.05, -0.04, 0.12, 0.07, 0.03])
    level = 1 - nominal_levels((4, 9), 0.05)[1] if looks else 0.95
    number = expected_changes(differences, level)
    assert 0 < number < 10
    design = Design(seeds_max=10, looks=looks)
    rows = stability(
        tables.trials(confirmed(differences)), ClaimSet(claims=(claim(),), design=design), analyze
    )
    assert found(rows, DROP_ONE) == Stability(
        claim="C1",
        choice=DROP_ONE,
        verdict=Verdict.INCONCLUSIVE,
        changed=True,
        detail=f"{number} of 10 change the verdict",
    )


def test_replicates_and_seeds_are_dropped_apart_and_told_in_one_row():
    analyse = Recorder()
    trials = tables.trials(basins(), confirmed(np.linspace(0.1, 0.2, 12)))
    both = claim("C1", part("lr_width", Direction.GREATER, tau=Tau(value=2.5)), part("tuned_loss"))
    design = Design(seeds_max=12, looks=(6, 12), replicates=8)
    rows = stability(trials, ClaimSet(claims=(both,), design=design), analyse)
    assert found(rows, DROP_ONE).detail == "0 of 20 change the verdict"
    assert not found(rows, DROP_ONE).changed
    designs = [asked.design for _, asked in analyse.asked]
    assert designs.count(replace(design, replicates=7)) == 8
    assert designs.count(replace(design, seeds_max=11, looks=(5, 11))) == 12
    for table, asked in analyse.asked:
        if asked.design.replicates == 7:
            assert len(trials.frame) - len(table.frame) == 2 * 24
            assert table.frame.query("phase == 'lr_slice'")["replicate"].nunique() == 7


def test_workloads_lose_a_seed_together_even_where_their_seeds_differ():
    analyse = Recorder()
    other = confirmed(np.linspace(0.1, 0.2, 8), workload="other").assign(seed=lambda rows: rows["seed"] + 7)
    trials = tables.trials(confirmed(np.linspace(0.1, 0.2, 8)), other)
    stability(trials, ClaimSet(claims=(claim(),), design=Design(seeds_max=8)), analyse)
    dropped = [table.frame for table, asked in analyse.asked if asked.design.seeds_max == 7]
    assert len(dropped) == 8
    assert all((frame.groupby(["workload", "family"]).size() == 7).all() for frame in dropped)


def test_each_of_several_workloads_is_left_out_and_one_alone_is_not():
    good, bad = confirmed(np.linspace(0.1, 0.2, 8)), confirmed(-np.linspace(0.1, 0.2, 8), workload="bad")
    rows = stability(tables.trials(good, bad), replace(PLAIN, claims=(claim(),)), analyze)
    assert found(rows, "without bad") == Stability(
        claim="C1", choice="without bad", verdict=Verdict.SUPPORTED, changed=True
    )
    assert found(rows, f"without {tables.WORKLOAD}").verdict is Verdict.REFUTED
    alone = stability(tables.trials(good), replace(PLAIN, claims=(claim(),)), analyze)
    assert choices(alone, "C1") == [CAP, DROP_ONE]
    chosen = ClaimSet(claims=(claim(),), workloads=(tables.WORKLOAD,))
    assert choices(stability(tables.trials(good, bad), chosen, analyze), "C1") == [CAP, DROP_ONE]


def test_the_row_of_dropped_units_has_the_worst_of_several_verdicts():
    verdicts = iter(
        [Verdict.SUPPORTED, Verdict.INCONCLUSIVE, Verdict.SUPPORTED, Verdict.REFUTED, Verdict.NOT_EVALUABLE]
    )

    def analyse(trials: Trials, claim_set: ClaimSet) -> Analysis:
        whole = analyze(trials, claim_set)
        return replace(whole, claims=(replace(whole.claims[0], verdict=next(verdicts)),))

    rows = stability(tables.trials(confirmed(np.full(4, 0.1))), replace(PLAIN, claims=(claim(),)), analyse)
    assert found(rows, DROP_ONE).verdict is Verdict.REFUTED
    assert found(rows, DROP_ONE).detail == "3 of 4 change the verdict"


def test_a_claim_without_trials_has_no_units_to_drop():
    missing = claim("C1", comparison=Comparison(a="nobody", b="b"))
    rows = stability(tables.trials(confirmed(np.full(8, 0.1))), replace(PLAIN, claims=(missing,)), analyze)
    assert choices(rows, "C1") == [CAP]
    assert found(rows, CAP).verdict is Verdict.NOT_EVALUABLE


def test_rows_follow_the_claims_of_the_file():
    trials = tables.trials(confirmed(np.linspace(0.1, 0.2, 8)))
    rows = stability(trials, replace(PLAIN, claims=(claim("Z"), claim("A"))), analyze)
    assert [row.claim for row in rows] == ["Z", "Z", "A", "A"]
