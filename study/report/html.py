"""The report as one HTML page that needs nothing but itself: no request, font or script from elsewhere."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from study.records import Outcome, Phase
from study.report import cells, sentences, words
from study.report.accounting import PHASE_TITLES
from study.report.figures import FIGURES, Figure, panel_svg
from study.report.figures.style import MARKS, mark
from study.report.forecast import forecast_sentences, forecast_table
from study.report.model import ReportModel
from study.report.precision import precision_facts
from study.report.registration import registration_sentence
from study.report.scales import Scale, scale_of
from study.report.variations import VARIANTS
from study.statistics.results import Verdict

TEMPLATES = "study.report.templates"
OUTCOME_TITLES = {
    Outcome.FINISHED: "finished",
    Outcome.STOPPED: "stopped",
    Outcome.DIVERGED: "diverged",
    Outcome.OUT_OF_MEMORY: "out of memory",
    Outcome.INFRA_FAILED: "infra failed",
    Outcome.CANCELLED: "cancelled",
}

VERDICT_CLASSES = {
    Verdict.SUPPORTED: "supported",
    Verdict.REFUTED: "refuted",
    Verdict.EQUIVALENT: "equivalent",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_EVALUABLE: "not-evaluable",
}
VERDICT_MARKS = {
    Verdict.SUPPORTED: "\u2713",
    Verdict.REFUTED: "\u2717",
    Verdict.EQUIVALENT: "=",
    Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_EVALUABLE: "\u2205",
}
"""A sign beside the verdict's word, so that neither colour nor reading is needed to find one."""


def render(model: ReportModel, figures: Sequence[Figure]) -> str:
    """The page.

    Args:
        model: the report's content.
        figures: those to show; the page puts each in its section by its name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "interval": words.interval,
        "percent": words.percent,
        "percent_interval": words.percent_interval,
        "param": words.param,
        "dimension": words.dimension,
        "duration": words.duration,
        "moment": words.moment,
        "compact": words.compact,
        "fact": words.fact,
        "label": words.label,
        "has_digests": words.has_digests,
        "yaml": _yaml,
        "spaced": _spaced,
        "claim_sentence": sentences.claim_sentence,
        "level_words": sentences.level_words,
        "verdict_label": cells.verdict,
        "cell_estimate": cells.estimate,
        "cell_interval": cells.interval,
        "cell_unit": cells.unit,
        "cell_effect": cells.effect_size,
        "cell_p": cells.p_value,
        "cell_e": cells.e_value,
    }
    return environment.get_template("report.html").render(_context(model, figures))


def _context(model: ReportModel, figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        "model": model,
        "style": Markup(_source("style.css")),  # noqa: S704 - our own file
        "script": Markup(_source("report.js")),  # noqa: S704 - our own file
        "figures": _by_kind(figures),
        "families": {name: _family(name, model.families) for name in model.families},
        "phases": {phase: PHASE_TITLES[phase] for phase in Phase},
        "outcomes": OUTCOME_TITLES,
        "loss_scale": _loss_scale(model),
        "loss_places": words.decimals([t.loss for t in model.tuned]),
        "rate_scale": scale_of([0.0, _largest_rate(model)]),
        "space_names": list(dict.fromkeys(d.name for d in model.spaces)),
        "params": list(dict.fromkeys(name for row in model.trials for name in row.params)),
        "costs": {(c.family, c.phase): c for c in model.budget.costs},
        "forecast": forecast_table(model.forecast, model.spec) if model.forecast else None,
        "forecast_sentences": forecast_sentences(model.forecast, model.spec),
        "precision": precision_facts(model.events),
        "device_seconds": sum(cost.device_seconds for cost in model.budget.costs),
        "variants": VARIANTS,
        **_judged(model),
    }


def _judged(model: ReportModel) -> dict[str, Any]:
    """What the page says of the claims."""
    analysis = model.analysis
    stability = analysis.stability if analysis else ()
    return {
        "contents": _contents(model),
        "headline": sentences.headline(analysis) if analysis else "",
        "registration_sentence": registration_sentence(model.registration) if model.registration else "",
        "verdict_class": VERDICT_CLASSES,
        "verdict_mark": VERDICT_MARKS,
        "choices": list(dict.fromkeys(one.choice for one in stability)),
        "stability": {(one.claim, one.choice): one for one in stability},
        "endpoint_notes": _endpoint_notes(model),
    }


def _contents(model: ReportModel) -> list[tuple[str, str]]:
    """Sections in their order: id and title."""
    verdicts, tuned = ("verdicts", "Verdicts"), ("answer", "Tuned families")
    first = [verdicts, tuned, ("behind", "Behind the verdicts")] if model.analysis else [tuned, verdicts]
    return [
        *first,
        ("sensitivity", "Sensitivity"),
        ("failures", "Failures"),
        ("search", "Search"),
        ("compute", "Compute"),
        ("spaces", "Spaces"),
        ("protocol", "Protocol"),
        ("checklist", "Checklist"),
        ("provenance", "Provenance"),
        ("trials", "All trials"),
    ]


def _endpoint_notes(model: ReportModel) -> list[str]:
    """What a reader must know of single endpoints, each sentence once with the claims that it concerns."""
    notes: dict[str, list[str]] = {}
    for claim in model.analysis.claims if model.analysis else ():
        for note in (note for part in claim.parts for note in part.notes):
            notes.setdefault(note, []).append(claim.id)
    return [f"{', '.join(dict.fromkeys(ids))}: {note}" for note, ids in notes.items()]


def _by_kind(figures: Sequence[Figure]) -> dict[str, list[dict[str, Any]]]:
    """Figures by kind; a kind without a figure has none to show."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in FIGURES}
    for figure in figures:
        found.setdefault(figure.kind or figure.name, []).append(_drawn(figure))
    return found


def _drawn(figure: Figure) -> dict[str, Any]:
    """A figure with its panels as markup, which `panel_svg` makes from numbers and escapes itself."""
    panels = [Markup(panel_svg(figure, i)) for i in range(len(figure.panels))]  # noqa: S704
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": _spaced(figure.caption),
        "panels": panels,
    }


def _family(name: str, families: tuple[str, ...]) -> dict[str, str]:
    """What a page needs to mark a family: the class of its colour and the form of its mark."""
    look = mark(name, families)
    return {"class": look.role, "shape": look.shape, "known": "yes" if name in MARKS else "no"}


def _loss_scale(model: ReportModel) -> Scale:
    values: list[float] = []
    for result in model.tuned:
        values += result.seed_losses
        if result.loss is not None and result.loss.interval is not None:
            values += [result.loss.interval.low, result.loss.interval.high]
    return scale_of(values)


def _largest_rate(model: ReportModel) -> float:
    rates = [m.rate.interval.high for m in model.divergence_maps if m.rate and m.rate.interval]
    return max(rates, default=1.0)


def _spaced(text: str) -> str:
    """Percent signs and sample sizes that stay with their number."""
    return text.replace(" %", "\u202f%").replace("n = ", "n\u00a0=\u00a0")


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _source(name: str) -> str:
    return (resources.files(TEMPLATES) / name).read_text(encoding="utf-8")
