"""Descriptions in MLflow: what they say, what they link, and that nobody's words become markup."""

import pytest

from study.ledger import StudyRecord, StudyState
from study.tracking.descriptions import MAX_CHARS, Places, family_description, safe, study_description
from study.tracking.findings import findings
from tests.study.report.sample_report import HOSTILE

TRAINING = "?workflowType=machine_learning"
PLACES = Places(
    experiment="7",
    study_run="s1",
    family_runs={"sgd": "f1", "rsgd": "f2"},
    files=["report/report.html", "spec.yaml"],
)
FIGURES = {
    "sgd": {"trials_ended": 3.0, "trials_planned": 4.0, "device_s": 1800.0, "diverged_frac": 0.25},
    "rsgd": {
        "trials_ended": 4.0,
        "trials_planned": 4.0,
        "trials_infra_failed": 1.0,
        "tuned_report_loss_nats": 0.41,
        "tuned_report_loss_nats_low": 0.4,
        "tuned_report_loss_nats_high": 0.42,
        "lr_width_decades": 1.25,
    },
}


def study(
    *, state: StudyState = StudyState.RUNNING, families: tuple[str, ...] = ("sgd", "rsgd")
) -> StudyRecord:
    return StudyRecord(
        uid="u",
        name="reviews",
        spec_digest="d" * 64,
        spec={
            "seed": 7,
            "base": {"model": "hf:owner/some_model"},
            "task": {"name": "vader_movie"},
            "families": list(families),
            "phases": {"search": {"trials": 4}, "confirmation": None},
        },
        manifest={"packages": {"trialwright": "0.1.0", "torch": "2.13.0"}},
        plan=None,
        state=state,
        created_at=1.0,
        changed_at=2.0,
    )


def claim(title: str) -> dict[str, object]:
    facts = {"a": "rsgd", "b": "sgd", "verdict": "supported", "grade": "meaningful", "parts": []}
    return {"id": "C1", "title": title, **facts}


def test_it_says_what_is_asked_how_it_stands_and_how_to_repeat_it():
    text = study_description(study(), FIGURES, findings({"claims": [claim("it is better")]}), PLACES)
    assert "Which of 2 optimizer families fine-tunes hf:owner/some\\_model on vader\\_movie best" in text
    assert "through search?" in text
    assert "The study **is running**. 87 % of 8 trials have ended, 1 of them lost to their surr" in text
    assert "C1, rsgd against sgd: “it is better” is supported (meaningful)." in text
    assert "trialwright launch spec.yaml" in text
    assert "Seed 7, spec `dddddddddddd`, made with trialwright 0.1.0, torch 2.13.0." in text


def test_it_counts_exactly_once_the_study_has_ended():
    text = study_description(study(state=StudyState.FAILED), FIGURES, {}, PLACES)
    lost = "7 of 8 trials have ended, 1 of them lost to their surroundings, in 0.5 device-hours."
    assert f"The study **has ended with trials lost**. {lost}" in text


def test_the_families_stand_best_first_with_links_to_their_runs():
    lines = study_description(study(), FIGURES, {}, PLACES).splitlines()
    rows = [line for line in lines if line.startswith("| [")]
    assert rows == [
        f"| [rsgd](#/experiments/7/runs/f2{TRAINING}) | 0.4100 nats | 0.4000 to 0.4200 | - | - | 1.25 decades | - |",
        f"| [sgd](#/experiments/7/runs/f1{TRAINING}) | - | - | - | 25 % | - | - |",
    ]


def test_it_links_the_arranged_pages_and_the_files():
    text = study_description(study(), FIGURES, {}, PLACES)
    assert f"[report.html](#/experiments/7/runs/s1/artifacts/report/report.html{TRAINING})" in text
    page = "#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=families"
    assert f"[Families, best first]({page})" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("[click](javascript:alert(1))", "\\[click\\](javascript:alert(1))"),
        ("a | b\n\n# c", "a \\| b \\# c"),
        ("`x` *y* _z_ ~w~", "\\`x\\` \\*y\\* \\_z\\_ \\~w\\~"),
        ("a & b &lt;", "a &amp; b &amp;lt;"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_words_of_others_are_shown_as_they_are(text: str, shown: str):
    assert safe(text) == shown


def test_a_hostile_title_makes_no_markup():
    found = findings({"claims": [claim(HOSTILE + "<script>alert(1)</script>")]})
    for text in (
        study_description(study(), FIGURES, found, PLACES),
        family_description("rsgd", study(), found, ""),
    ):
        assert "<script" not in text
        assert "<b>" not in text
        assert "](m)" in text
        assert "\\[l\\](m)" in text


def test_it_stays_within_what_a_store_takes():
    many = tuple(f"family{number:03d}" for number in range(200))
    figures = {name: {"trials_ended": 1.0, "trials_planned": 1.0} for name in many}
    found = findings({"claims": [claim("long " * 50) for _ in range(60)]})
    text = study_description(study(families=many), figures, found, PLACES)
    assert len(text) <= MAX_CHARS + 3
    assert text.endswith("…")


def test_a_family_links_its_adapter_once_there_is_one():
    assert "adapter" not in family_description("sgd", study(), {}, "")
    text = family_description("sgd", study(), {}, "#/experiments/7/runs/f1/artifacts/adapter/README.md")
    assert "[adapter](#/experiments/7/runs/f1/artifacts/adapter/README.md)" in text
