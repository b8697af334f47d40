"""Descriptions in Markdown, as MLflow shows them on the experiment, on the study's run and on the families'.

Names of studies and families are checked where they enter; every other text (titles, reasons) is made safe here.
Links are relative to MLflow's pages and lead to its own pages of artifacts, so that they hold wherever the pages are
served and wherever the artifacts lie.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.ledger import StudyRecord, StudyState
from study.tracking.arrangement import VIEWS, artifact_path, run_path, view_path
from study.tracking.findings import NOTHING, Findings

NOTE = "mlflow.note.content"
"""The tag in which MLflow keeps a description."""
MAX_CHARS = 4800
"""Stores of older servers take 5,000 characters for a tag of an experiment."""
ABSENT = "-"
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~])")
_WORDS = {
    StudyState.PLANNED: "is planned",
    StudyState.INTERRUPTED: "was interrupted; the same command goes on",
    StudyState.STOPPED: "was stopped; the same command goes on",
    StudyState.FINISHED: "has ended",
    StudyState.FAILED: "has ended with trials lost",
}


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things of a study are in MLflow."""

    experiment: str
    study_run: str
    family_runs: Mapping[str, str]
    """Family → id of its run."""
    files: Sequence[str]
    """Artifacts of the study's run that a reader wants, such as `report/report.html`, as far as they are there."""


def safe(text: str, max_chars: int = 300) -> str:
    """A text of somebody's as Markdown that shows it literally: no markup, no HTML, one line."""
    line = " ".join(text.split())
    line = line if len(line) <= max_chars else line[: max_chars - 1] + "…"
    escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    parts = re.split(r"(&(?:amp|lt|gt);)", escaped)
    return "".join(part if part.startswith("&") else _SPECIAL.sub(r"\\\1", part) for part in parts)


def study_description(
    study: StudyRecord, families: Mapping[str, Mapping[str, float]], found: Findings, places: Places
) -> str:
    """What the study asks, how it stands, what it found, where to look and how to repeat it.

    Args:
        study: the study.
        families: the metrics of each family's run.
        found: what its report found.
        places: where its runs are.
    """
    sections = [
        _question(study),
        _state(study, families),
        _links(places),
        _table(families, found, places),
        _verdicts(found),
        _reproduce(study),
    ]
    return _joined(sections)


def family_description(family: str, study: StudyRecord, found: Findings, adapter: str) -> str:
    """What a family's run holds.

    Args:
        family: its name.
        study: the study.
        found: what its report found.
        adapter: address of the page with its adapter; empty while there is none.
    """
    of = (study.spec.get("variants") or {}).get(family, {}).get("of")
    what = f"a variant of {of}" if of else "an optimizer family"
    sections = [
        f"**{family}**, {what} of the study {study.name}. Its children are the configurations, and theirs the trials.",
        "\n".join(f"- {safe(sentence)}" for sentence in found.get(family, NOTHING).sentences),
        f"The best confirmed adapter, with its card: [adapter]({adapter})." if adapter else "",
    ]
    return _joined(sections)


def _joined(sections: Sequence[str]) -> str:
    """Sections with air between them; what does not fit is left out, the last sections first to go."""
    text = ""
    for section in filter(None, sections):
        longer = f"{text}\n\n{section}" if text else section
        if len(longer) > MAX_CHARS:
            return f"{text}\n\n…"
        text = longer
    return text


def _question(study: StudyRecord) -> str:
    spec = study.spec
    base, task = spec.get("base", {}).get("model", "a base"), spec.get("task", {}).get("name", "a task")
    families = [str(family) for family in spec.get("families", ())]
    phases = [name.replace("_", " ") for name, phase in (spec.get("phases") or {}).items() if phase]
    which = f": {', '.join(families)}" if families else ""
    through = f", through {', '.join(phases)}" if phases else ""
    return (
        f"Which of {len(families) or 'several'} optimizer families fine-tunes {safe(base)} on "
        f"{safe(task)} best, and how robustly{safe(which)}{through}?"
    )


def _state(study: StudyRecord, families: Mapping[str, Mapping[str, float]]) -> str:
    ended, planned, lost = (
        sum(int(figures.get(name, 0)) for figures in families.values() for name in names)
        for names in (("trials_ended",), ("trials_planned",), ("trials_infra_failed", "trials_out_of_memory"))
    )
    hours = sum(figures.get("device_s", 0.0) for figures in families.values()) / 3600
    losses = f", {lost} of them lost to their surroundings" if lost else ""
    if study.state is StudyState.RUNNING:  # a text that changes with every trial would be sent as often
        return f"The study **is running**. {100 * ended // max(planned, 1)} % of {planned} trials have ended{losses}."
    progress = f"{ended} of {planned} trials have ended{losses}, in {hours:.2g} device-hours."
    return f"The study **{_WORDS[study.state]}**. {progress}"


def _links(places: Places) -> str:
    pages = [f"[{shown}]({view_path(places.experiment, key)})" for key, shown in VIEWS.items()]
    files = [
        f"[{name.rpartition('/')[2]}]({artifact_path(places.experiment, places.study_run, name)})"
        for name in places.files
    ]
    lines = [f"**Pages, arranged:** {' · '.join(pages)}"]
    return "\n\n".join([*lines, *([f"**Files:** {' · '.join(files)}"] if files else [])])


def _table(families: Mapping[str, Mapping[str, float]], found: Findings, places: Places) -> str:
    """The families, best first; those without a tuned result last."""
    if not families:
        return ""
    loss = "tuned_report_loss_nats"
    best_first = sorted(families, key=lambda family: families[family].get(loss, float("inf")))
    head = "| family | tuned report loss | 95 % interval | accuracy | diverged | usable lr | verdicts |"
    rows = [head, "|---|---|---|---|---|---|---|"]
    for family in best_first:
        figures = families[family]
        run = places.family_runs.get(family)
        name = f"[{family}]({run_path(places.experiment, run)})" if run else family
        diverged = figures.get("space_diverged_frac", figures.get("diverged_frac"))
        cells = [
            name,
            _number(figures.get(loss), "{:.4f} nats"),
            _interval(figures.get(f"{loss}_low"), figures.get(f"{loss}_high")),
            _number(figures.get("tuned_report_accuracy"), "{:.3f}"),
            _number(diverged, "{:.0%}").replace("%", " %"),
            _number(figures.get("lr_width_decades"), "{:.2f} decades"),
            safe(found.get(family, NOTHING).tags.get("verdicts", "")) or ABSENT,
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _number(figure: float | None, form: str) -> str:
    return ABSENT if figure is None else form.format(figure)


def _interval(low: float | None, high: float | None) -> str:
    return ABSENT if low is None or high is None else f"{low:.4f} to {high:.4f}"


def _verdicts(found: Findings) -> str:
    sentences = found.get("", NOTHING).sentences
    return (
        "\n".join(["**Verdicts**\n", *(f"- {safe(sentence)}" for sentence in sentences)]) if sentences else ""
    )


def _reproduce(study: StudyRecord) -> str:
    packages: Mapping[str, Any] = study.manifest.get("packages") or {}
    names = ("trialwright", "torch", "transformers", "peft", "ray")
    versions = ", ".join(f"{name} {packages[name]}" for name in names if name in packages)
    return (
        "**To repeat it:** download `spec.yaml` from the study's run and\n\n"
        "```sh\ntrialwright launch spec.yaml\n```\n\n"
        f"Seed {study.spec.get('seed', ABSENT)}, spec `{study.spec_digest[:12]}`"
        + (f", made with {safe(versions)}." if versions else ".")
    )
