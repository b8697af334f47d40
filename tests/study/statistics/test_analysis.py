"""All claims of a file: correction, workloads, targets and what cannot be decided."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.statistics.analysis import AGGREGATE, analyze, target_loss
from study.statistics.claims import Claim, ClaimSet, Comparison, Design, Direction, Part, Role, Tau
from study.statistics.contrast import NotEvaluableError
from study.statistics.results import Grade, Verdict
from study.statistics.trials import read_trials
from tests.study.statistics.metrics.tables import INIT, confirmation, design

NUM_SEEDS = 12
BETTER = Part(metric="tuned_loss", direction=Direction.LESS, sesoi=0.05, equivalence=0.05)


def claim(name: str, a: str, *, role: Role = Role.PRIMARY, part: Part = BETTER, **more: Any) -> Claim:
    parts = more.pop("parts", (part,))
    return Claim(id=name, title=name, role=role, comparison=Comparison(a=a, b="base"), parts=parts, **more)


def family(name: str, gain: float, noise: float = 0.02, *, seed: int = 0, **more: Any) -> pd.DataFrame:
    """Twelve seeds, `gain` nats below the baseline on average; the baseline itself has neither."""
    shared = np.random.default_rng(99).normal(2.0, 0.3, NUM_SEEDS)
    own = np.random.default_rng(seed).normal(0, 1, NUM_SEEDS)
    own = (own - own.mean()) / own.std(ddof=1)
    return confirmation(name, shared - gain + noise * own, **more)


def trials(*frames: pd.DataFrame):
    return read_trials(pd.concat([family("base", 0.0, 0.0), *frames]))


def verdicts(table, *claims: Claim, **settings: Any) -> dict[str, Verdict]:
    return {found.id: found.verdict for found in analyze(table, ClaimSet(claims=claims, **settings)).claims}


def test_each_truth_has_its_verdict():
    table = trials(
        family("good", 0.3),
        family("same", 0.0),
        family("bad", -0.3),
        family("loud", 0.05, 0.4),
        family("few", 0.3).head(4),
    )
    found = verdicts(table, *(claim(name, name) for name in ("good", "same", "bad", "loud", "few")))
    assert found == {
        "good": Verdict.SUPPORTED,
        "same": Verdict.EQUIVALENT,
        "bad": Verdict.REFUTED,
        "loud": Verdict.INCONCLUSIVE,
        "few": Verdict.NOT_EVALUABLE,
    }


def test_primary_claims_stand_at_holms_levels_and_the_others_apart():
    table = trials(family("good", 0.3), family("fair", 0.0145, seed=3), family("same", 0.0))
    primary = [claim("P1", "good"), claim("P2", "fair"), claim("P3", "same")]
    found = {
        one.id: one
        for one in analyze(
            table,
            ClaimSet(
                claims=(
                    *primary,
                    claim("S", "good", role=Role.SECONDARY),
                    claim("E", "fair", role=Role.EXPLORATORY),
                )
            ),
        ).claims
    }
    assert found["P1"].alpha == pytest.approx(0.05 / 3)
    assert found["P1"].p_adjusted == pytest.approx(3 * found["P1"].p)
    assert found["P2"].p == pytest.approx(found["E"].p)
    assert (
        0.05 / 2 < found["P2"].p < 0.05
    )  # so that Holm's second step fails, and the third stands at its level
    assert found["P2"].alpha == found["P3"].alpha == pytest.approx(0.05 / 2)
    assert found["P2"].parts[0].level == pytest.approx(1 - 0.05 / 2)
    assert (found["S"].alpha, found["E"].alpha) == (0.05, 0.05)
    assert found["E"].p_adjusted == found["E"].p
    assert found["P2"].verdict is Verdict.EQUIVALENT


def test_a_primary_claim_amended_after_data_eases_none_of_the_others():
    amended = replace(
        claim("A", "good", role=Role.EXPLORATORY), amended="2026-12-01: a typo", registered_role=Role.PRIMARY
    )
    table = trials(family("good", 0.3))
    found = analyze(table, ClaimSet(claims=(claim("P", "good"), amended))).claims
    assert found[0].alpha == pytest.approx(0.05 / 2)
    assert (found[1].alpha, found[1].p_adjusted) == (0.05, found[1].p)


def test_a_claim_is_ranked_by_its_weakest_part():
    table = trials(family("good", 0.3))
    strict = Part(metric="tuned_loss", direction=Direction.NONINFERIOR, margin=0.02, sesoi=0.02)
    found = analyze(table, ClaimSet(claims=(claim("C", "good", parts=(BETTER, strict)),))).claims[0]
    assert found.p == max(part.p_t for part in found.parts)
    assert (found.verdict, found.grade) == (Verdict.SUPPORTED, Grade.MEANINGFUL)


def test_claims_hold_on_each_workload_on_any_or_on_their_mean():
    one = [family("base", 0.0, 0.0), family("good", 0.3)]
    two = [family("base", 0.0, 0.0, workload="two"), family("good", 0.0, 0.4, workload="two")]
    table = read_trials(pd.concat([*one, *two]))
    for workloads, verdict, num_parts in (
        ("each", Verdict.INCONCLUSIVE, 2),
        ("any", Verdict.SUPPORTED, 2),
        ("aggregate", Verdict.SUPPORTED, 1),
    ):
        found = analyze(table, ClaimSet(claims=(claim("C", "good", workloads=workloads),))).claims[0]
        assert (found.verdict, len(found.parts)) == (verdict, num_parts), workloads
    assert found.parts[0].workload == AGGREGATE
    assert found.parts[0].estimate == pytest.approx(0.15)


def test_one_of_two_workloads_is_tested_at_half_the_level():
    table = read_trials(
        pd.concat(
            family(name, gain, noise, workload=workload)
            for workload in ("one", "two")
            for name, gain, noise in (("base", 0.0, 0.0), ("good", 0.3, 0.02))
        )
    )
    found = analyze(table, ClaimSet(claims=(claim("C", "good", workloads="any"),))).claims[0]
    assert found.parts[0].level == pytest.approx(1 - 0.05 / 2)
    assert found.p == pytest.approx(2 * min(part.p_t for part in found.parts))


def test_registered_looks_decide_how_seeds_are_read():
    table = trials(family("good", 0.3))
    planned = analyze(
        table, ClaimSet(claims=(claim("C", "good"),), design=Design(looks=(12, 24), seeds_max=24))
    )
    unplanned = analyze(
        table, ClaimSet(claims=(claim("C", "good"),), design=Design(looks=(10, 24), seeds_max=24))
    )
    assert planned.claims[0].parts[0].ci_kind == "t over seeds at look 1 of 2"
    assert unplanned.claims[0].parts[0].ci_kind == "t-mixture confidence sequence"


def test_a_target_lies_a_share_of_the_way_from_the_confirmed_loss_to_the_start():
    table = trials()
    reference = table.frame["capped"].mean()
    assert target_loss(table, Tau(ref="base", within=0.1), "tiny") == pytest.approx(
        reference + 0.1 * (INIT - reference)
    )
    assert target_loss(table, Tau(value=1.5), "tiny") == 1.5
    with pytest.raises(NotEvaluableError, match="confirmed loss of family absent, which has none on tiny"):
        target_loss(table, Tau(ref="absent"), "tiny")


def test_what_breaks_a_rule_is_not_evaluable_and_still_counts_among_the_claims():
    broken = Part(metric="space_score", direction=Direction.GREATER, sesoi=0.1)
    found = analyze(
        trials(family("good", 0.3)), ClaimSet(claims=(claim("A", "good"), claim("B", "good", part=broken)))
    ).claims
    assert found[0].alpha == pytest.approx(0.05 / 2)
    assert found[1].verdict is Verdict.NOT_EVALUABLE
    assert found[1].reason == "There are no sensitivity trials of family good."
    assert (found[1].p, found[1].p_adjusted) == (None, None)


def test_a_workload_that_the_table_lacks_is_not_evaluable():
    found = verdicts(trials(family("good", 0.3)), claim("C", "good"), workloads=("elsewhere",))
    assert found == {"C": Verdict.NOT_EVALUABLE}


def test_stopped_search_trials_never_enter_a_claim():
    search = design("good", np.full((1, 32), 0.1), outcome="stopped").assign(phase="search")
    with_search = analyze(trials(family("good", 0.0), search), ClaimSet(claims=(claim("C", "good"),)))
    without = analyze(trials(family("good", 0.0)), ClaimSet(claims=(claim("C", "good"),)))
    assert with_search.claims == without.claims
    assert with_search.trial_counts["search"]["good"] == {"stopped": 32}


def test_only_what_is_inconclusive_asks_for_more():
    table = trials(family("good", 0.3), family("loud", 0.05, 0.4))
    found = analyze(table, ClaimSet(claims=(claim("G", "good"), claim("L", "loud")))).claims
    assert found[0].extra is None
    assert found[1].extra == found[1].parts[0].extra > 0
