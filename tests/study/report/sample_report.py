"""A small study whose verdicts are the hand-made ones, with hostile words in it, for the tests of every writer."""

from functools import cache
from unittest import mock

from study.report import ReportModel, Snapshot, build
from study.report.figures import Figure
from study.report.figures.forest import forest
from study.report.figures.tuned import tuned
from tests.study.report import synthetic, verdict_samples

FAMILIES = ("adamw", "gradamw")
HOSTILE = (
    r"50% of_a|b & c#d $x$ \input{evil} <b>&amp; *y* `z` [l](m) {} ~^ " + "\u221a\u03b7 \u2264 \u00bd \u4e2d"
)
"""Words that Markdown, TeX, HTML and Typst would each take for their own."""


def snapshot(*, reason: str = "Worker 10.0.0.7 was lost.") -> Snapshot:
    """Two families through every phase; one trial lost."""
    maker = synthetic.Maker(seed=3)
    for family in FAMILIES:
        synthetic.search(maker, family, num_trials=6)
        synthetic.sensitivity(maker, family, replicates=2, points=4)
        synthetic.confirmation(maker, family, seeds=3)
    lost = next(t for t in maker.trials if t["phase"] == "sensitivity" and t["outcome"] == "finished")
    lost.update(outcome="infra_failed", reason=reason, value=None, select_value=None)
    claims = verdict_samples.claim_set()
    return synthetic.snapshot(maker, state="finished", families=FAMILIES, claims=claims)


def modelled(taken: Snapshot) -> ReportModel:
    """The snapshot's report, with the hand-made verdicts in the place of the engine's."""
    with mock.patch("study.report.model._analysis", return_value=verdict_samples.analysis()):
        return build(taken)


@cache
def model() -> ReportModel:
    """The report of the small study."""
    return modelled(snapshot())


@cache
def hostile() -> ReportModel:
    """The same with hostile words wherever a user's words go."""
    claims = tuple(
        verdict_samples.claim(one.id, HOSTILE, *one.parts, verdict=one.verdict)
        for one in verdict_samples.claims()[:2]
    )
    with mock.patch("study.report.model._analysis", return_value=verdict_samples.analysis(claims)):
        return build(snapshot(reason=HOSTILE))


def figures(shown: ReportModel) -> list[Figure]:
    """Two figures, one with what was claimed."""
    return [found for make in (forest, tuned) if (found := make(shown)) is not None]
