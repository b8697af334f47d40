"""The planted truths lead to the verdicts that they were planted for, study after study."""

from dataclasses import replace

import pytest

from study.statistics.analysis import analyze
from study.statistics.claims import Claim, ClaimSet, Comparison, Direction, Part, Role, Tau
from study.statistics.results import Verdict
from tests.validation.planted import BASELINE, PLANTED
from tests.validation.tables import Layout, trials_of

TAU = Tau(ref="b", within=0.1)
WIDTH = Part(metric="lr_width", direction=Direction.GREATER, tau=TAU, sesoi=0.5)
SAME_WIDTH = Part(metric="lr_width", direction=Direction.EQUIVALENT, tau=TAU, equivalence=0.5)
LOSS = Part(metric="tuned_loss", direction=Direction.LESS, sesoi=0.05)
DIVERGENCE = Part(metric="divergence_rate", direction=Direction.LESS, sesoi=0.1)
CASES = {
    "wider": (WIDTH, Verdict.SUPPORTED),
    "shifted": (SAME_WIDTH, Verdict.EQUIVALENT),
    "worse": (LOSS, Verdict.REFUTED),
    "noisy": (LOSS, Verdict.INCONCLUSIVE),
    "unstable": (DIVERGENCE, Verdict.REFUTED),
}
LAYOUT = Layout(window=(-6.0, 2.0), phases=("sensitivity", "lr_slice", "confirmation"))


@pytest.mark.parametrize(("planted", "seed"), [(name, seed) for name in CASES for seed in range(4)])
def test_a_planted_truth_leads_to_its_verdict(planted, seed):
    part, expected = CASES[planted]
    surfaces = (replace(PLANTED[planted], name="a"), replace(BASELINE, name="b"))
    claim = Claim(
        id="C", title=planted, role=Role.PRIMARY, comparison=Comparison(a="a", b="b"), parts=(part,)
    )
    found = analyze(trials_of(surfaces, LAYOUT, seed=seed), ClaimSet(claims=(claim,))).claims[0]
    assert found.verdict is expected, found.reason
    if expected is Verdict.INCONCLUSIVE:
        assert found.extra is not None
        assert found.extra > 0
