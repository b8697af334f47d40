"""The report as one HTML page that needs nothing but itself: no request, font or script from elsewhere."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from study.records import Outcome, Phase
from study.report import words
from study.report.accounting import PHASE_TITLES
from study.report.figures import Figure, panel_svg
from study.report.figures.style import MARKS, mark
from study.report.model import ReportModel
from study.report.scales import Scale, scale_of

TEMPLATES = "study.report.templates"
OUTCOME_TITLES = {
    Outcome.FINISHED: "finished",
    Outcome.STOPPED: "stopped",
    Outcome.DIVERGED: "diverged",
    Outcome.OUT_OF_MEMORY: "out of memory",
    Outcome.INFRA_FAILED: "infra failed",
    Outcome.CANCELLED: "cancelled",
}


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
    }
    return environment.get_template("report.html").render(_context(model, figures))


def _context(model: ReportModel, figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        "model": model,
        "style": Markup(_source("style.css")),  # noqa: S704 - our own file
        "script": Markup(_source("report.js")),  # noqa: S704 - our own file
        "figures": {figure.name: _drawn(figure) for figure in figures},
        "families": {name: _family(name, model.families) for name in model.families},
        "phases": {phase: PHASE_TITLES[phase] for phase in Phase},
        "outcomes": OUTCOME_TITLES,
        "loss_scale": _loss_scale(model),
        "loss_places": words.decimals([t.loss for t in model.tuned]),
        "rate_scale": scale_of([0.0, _largest_rate(model)]),
        "space_names": list(dict.fromkeys(d.name for d in model.spaces)),
        "params": list(dict.fromkeys(name for row in model.trials for name in row.params)),
        "costs": {(c.family, c.phase): c for c in model.budget.costs},
        "device_seconds": sum(cost.device_seconds for cost in model.budget.costs),
    }


def _drawn(figure: Figure) -> dict[str, Any]:
    """A figure with its panels as markup, which `panel_svg` makes from numbers and escapes itself."""
    panels = [Markup(panel_svg(figure, i)) for i in range(len(figure.panels))]  # noqa: S704
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption.replace(" %", "\u202f%"),
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


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _source(name: str) -> str:
    return (resources.files(TEMPLATES) / name).read_text(encoding="utf-8")
