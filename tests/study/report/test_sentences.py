"""One plain sentence per result: the direction in words, the interval turned with it, the verdict with its reasons."""

import dataclasses

import pytest

from study.report import sentences
from study.statistics.claims import Direction
from study.statistics.metrics import METRICS
from study.statistics.results import Grade, PartResult, Thresholds, Verdict
from tests.study.report import verdict_samples as samples

WIDE = PartResult(
    metric="lr_width",
    title="usable learning-rate width",
    unit="decades",
    direction=Direction.GREATER,
    factor="",
    workload="w",
    a="gradamw",
    b="adamw",
    verdict=Verdict.SUPPORTED,
    grade=Grade.DETECTABLE,
    estimate=0.42,
    ci_low=0.18,
    ci_high=0.66,
    level=0.95,
    n=10,
    n_unit="replicate",
    thresholds=Thresholds(null=0.0, margin=0.0, sesoi=0.25, equivalence=0.25),
)


def test_the_sentence_of_a_supported_endpoint():
    assert sentences.part_sentence(WIDE) == (
        "gradamw tolerates a 0.42-decade wider range of learning rates than adamw (95 % interval 0.18 to 0.66; "
        "n = 10 replicates): supported, detectable."
    )


def test_a_worse_estimate_turns_words_and_interval():
    worse = dataclasses.replace(
        WIDE, estimate=-0.42, ci_low=-0.66, ci_high=-0.18, verdict=Verdict.REFUTED, grade=Grade.REVERSED
    )
    assert sentences.part_sentence(worse) == (
        "gradamw tolerates a 0.42-decade narrower range of learning rates than adamw (95 % interval 0.18 to 0.66; "
        "n = 10 replicates): refuted, reversed."
    )


@pytest.mark.parametrize(
    ("claim", "end"),
    [
        (samples.supported_meaningful(), ": supported, meaningful."),
        (samples.refuted(), ": refuted, since the claim asks for more than 0.5 decades."),
        (samples.refuted_reversed(), ": refuted, reversed."),
        (samples.equivalent(), ": equivalent within 0.01 nats."),
        (
            samples.equivalent_but_better(),
            ": equivalent within 0.02 nats, better only by less than the smallest effect of interest.",
        ),
        (samples.inconclusive(), ": inconclusive, about 34 further replicates would give the planned power."),
        (
            samples.not_evaluable(),
            "Not evaluable. No family reaches the target loss of 0.41 nats, so there is nothing to compare.",
        ),
    ],
    ids=lambda value: getattr(value, "id", None),
)
def test_every_verdict_says_what_it_rests_on(claim, end):
    told = sentences.claim_sentence(claim)
    assert told.endswith(end)
    assert told.count(".\u00a0") == 0


def test_a_conjunction_is_told_by_its_least_certain_workload():
    claim = samples.supported_detectable()
    weaker = dataclasses.replace(claim.parts[2], p_t=0.009)
    found = dataclasses.replace(claim, parts=(*claim.parts[:2], weaker, claim.parts[3]))
    assert sentences.deciding(found) is weaker
    assert " on vader_nyt, the least certain of 2 workloads, and its other endpoint holds too: supported" in (
        sentences.claim_sentence(found)
    )


def test_a_refuted_conjunction_is_told_by_the_endpoint_that_breaks_it():
    good, bad = samples.supported_meaningful().parts[0], samples.refuted_reversed().parts[0]
    claim = samples.claim("C", "t", good, bad, verdict=Verdict.REFUTED, grade=Grade.REVERSED)
    told = sentences.claim_sentence(claim)
    assert told.startswith("grsgd diverges 14.0 percentage points more often")
    assert "and its other endpoint is in the table: refuted, reversed." in told


def test_one_workload_of_any_is_told_by_the_most_certain():
    claim = dataclasses.replace(samples.supported_detectable(), workloads="any")
    surer = dataclasses.replace(claim.parts[2], p_t=1e-9)
    found = dataclasses.replace(claim, parts=(*claim.parts[:2], surer, claim.parts[3]))
    assert sentences.deciding(found) is surer
    assert "least certain" not in sentences.claim_sentence(found)


@pytest.mark.parametrize("metric", list(METRICS))
@pytest.mark.parametrize("sign", [1, -1])
def test_every_metric_has_words_for_both_directions(metric, sign):
    null = 0.5 if metric == "win_probability" else 0.0
    part = dataclasses.replace(
        WIDE,
        metric=metric,
        unit=METRICS[metric].unit,
        factor="rank",
        estimate=null + sign * 0.2,
        ci_low=null + sign * 0.2 - 0.1,
        ci_high=null + sign * 0.2 + 0.1,
        thresholds=Thresholds(null=null, margin=0.0, sesoi=0.1, equivalence=0.1),
    )
    told = sentences.part_sentence(part)
    assert metric in sentences.PHRASES
    assert "gradamw" in told
    assert "adamw" in told.replace("gradamw", "")
    assert "{" not in told
    better, worse = sentences.PHRASES[metric].better, sentences.PHRASES[metric].worse
    assert better != worse or metric == "win_probability"


def test_a_win_probability_is_told_in_percent_of_the_seeds():
    told = sentences.claim_sentence(samples.amended())
    assert told.startswith("grsgd has a lower loss than rsgd on 85 % of the seeds (95 % interval 68 to 93 %;")


def test_a_trend_of_one_family_has_no_other():
    alone = dataclasses.replace(WIDE, metric="factor_trend", unit="nats per doubling", factor="rank", b="")
    assert sentences.part_sentence(alone).startswith(
        "Along rank, the loss of gradamw falls by 0.42 nats per doubling (95 %"
    )


def test_a_non_inferiority_is_not_called_superior():
    _, tuned, *_ = samples.supported_detectable().parts
    assert sentences.part_sentence(tuned).endswith(": supported, not inferior.")
    worse = dataclasses.replace(tuned, verdict=Verdict.REFUTED, grade=Grade.REVERSED)
    assert sentences.part_sentence(worse).endswith(": refuted, inferior.")


def test_an_end_next_to_no_difference_is_not_rounded_onto_it():
    near = dataclasses.replace(WIDE, unit="steps", estimate=11.7, ci_low=0.1028, ci_high=23.23)
    assert sentences.interval_words(near) == "0.1 to 23.2"
    beyond_telling = dataclasses.replace(near, ci_low=1e-9)
    assert sentences.interval_words(beyond_telling) == "0 to 23"


def test_an_interval_may_be_open():
    assert sentences.interval_words(dataclasses.replace(WIDE, ci_low=None)) == "up to 0.660"
    assert sentences.interval_words(dataclasses.replace(WIDE, ci_low=None), -1.0) == "from \u22120.660"
    assert sentences.interval_words(dataclasses.replace(WIDE, ci_low=None, ci_high=None)) == "without bound"


def test_the_headline_counts_every_claim_once():
    assert sentences.headline(samples.analysis()) == (
        "Of 8 primary claims, 2 are supported, 2 refuted, 2 equivalent, 1 inconclusive and 1 not evaluable. "
        "Beside them stand 1 secondary claim and 2 exploratory claims."
    )
    assert sentences.headline(samples.analysis((samples.refuted(),))) == "Of 1 primary claim, 1 is refuted."
    assert sentences.headline(samples.analysis((samples.secondary(),))) == (
        "Of 1 secondary claim, 1 is supported."
    )
    assert sentences.headline(samples.analysis(())) == "No claim was registered."
