"""The report's sections for print, of which PDF, Markdown and TeX show what suits them."""

from collections.abc import Mapping

from study.records import Outcome
from study.report import words
from study.report.blocks import Block, Column, Section, Table
from study.report.claim_tables import intervals_table, stability_table, tests_table, verdict_section
from study.report.descriptive_tables import (
    mixed_table,
    perturbations_table,
    rope_table,
    sensitivities_table,
    variations_table,
    who,
    whose,
)
from study.report.method_tables import (
    checklist,
    compute,
    failures,
    limits,
    protocol,
    provenance,
    search,
    spaces,
)
from study.report.model import ReportModel
from study.report.tuned import TunedResult

BEHIND, FAMILIES, SENSITIVITY = "Behind the verdicts", "Tuned families on fresh seeds", "Sensitivity"
"""Titles of sections that hold figures too."""
DASH = "\u2013"
INTERVAL = "95 % interval"


def facts_of(model: ReportModel) -> tuple[tuple[str, str], ...]:
    """The study in a few figures."""
    totals = model.accounting.totals
    lost = sum(
        totals[outcome.value] for outcome in (Outcome.OUT_OF_MEMORY, Outcome.INFRA_FAILED, Outcome.CANCELLED)
    )
    named = {"Base": ("base", "model"), "Task": ("task", "name")}
    found = [
        (title, str(model.spec[section][key]))
        for title, (section, key) in named.items()
        if isinstance(model.spec.get(section), Mapping) and key in model.spec[section]
    ]
    ended = f"{totals['planned'] - totals['open']:,} of {totals['planned']:,}"
    seconds = sum(cost.device_seconds for cost in model.budget.costs)
    return (
        ("State", model.state),
        *found,
        ("Families", str(len(model.families))),
        ("Trials ended", ended),
        ("Diverged", f"{totals[Outcome.DIVERGED.value]:,}"),
        ("Lost", f"{lost:,}"),
        ("Device time", words.duration(seconds)),
    )


def answer_sections(model: ReportModel) -> tuple[Section, ...]:
    """Verdicts, the tests behind them, what is not shown, and the families' results."""
    return (verdict_section(model), *_behind(model), limits(model), _families(model), _sensitivity(model))


def _behind(model: ReportModel) -> tuple[Section, ...]:
    """The tests, and other readings of the same data; nothing without claims."""
    found = model.analysis
    if found is None:
        return ()
    tables = (
        intervals_table(found),
        tests_table(found),
        stability_table(found),
        rope_table(model),
        mixed_table(model),
    )
    shown = tuple(table for table in tables if table is not None)
    return (Section(title=BEHIND, blocks=shown),)


def _sensitivity(model: ReportModel) -> Section:
    table = sensitivities_table(model)
    return Section(title=SENSITIVITY, blocks=() if table is None else (table,))


def method_sections(model: ReportModel) -> tuple[Section, ...]:
    """How it was done, at what cost, and where it comes from."""
    return (
        failures(model),
        search(model),
        compute(model),
        spaces(model),
        protocol(model),
        provenance(model),
        checklist(model),
    )


def _families(model: ReportModel) -> Section:
    tables = (
        families_table(model),
        configurations_table(model),
        variations_table(model),
        perturbations_table(model),
    )
    blocks: tuple[Block, ...] = tuple(table for table in tables if table is not None)
    return Section(title=FAMILIES, blocks=blocks)


def families_table(model: ReportModel) -> Table:
    """Each family's tuned configuration on fresh seeds."""
    places = words.decimals([result.loss for result in model.tuned])
    columns = (
        *who(model),
        Column(title="Report loss, nats", numeric=True),
        Column(title=INTERVAL, numeric=True),
        Column(title="Accuracy, %", numeric=True),
        Column(title=INTERVAL, numeric=True),
        Column(title="Seeds", numeric=True),
        Column(title="Diverged", numeric=True),
        Column(title="Best of search", numeric=True),
    )
    rows = tuple(
        (*whose(model, result.family, result.workload), *_tuned_row(result, places)) for result in model.tuned
    )
    note = (
        "Mean over seeds with Student's t-interval, for one family at a time; a diverged seed counts with the loss at "
        "initialisation. Whether two intervals overlap decides nothing: families share seeds, and their comparison is "
        "a paired one. Best of search is the lowest select loss, which chose the configuration and is no estimate."
    )
    return Table(title="Tuned families", columns=columns, rows=rows, note=note)


def _tuned_row(result: TunedResult, places: int) -> tuple[str, ...]:
    loss, accuracy = result.loss, result.accuracy
    return (
        words.number(loss.mean if loss else None, places),
        words.interval(loss, places),
        f"{100 * accuracy.mean:.1f}" if accuracy else DASH,
        words.percent_interval(accuracy),
        str(loss.num_units if loss else 0),
        str(result.num_diverged) if result.num_seeds else DASH,
        words.number(result.search_loss, places),
    )


def configurations_table(model: ReportModel) -> Table | None:
    """The tuned hyperparameters, where there are any yet."""
    names = list(dict.fromkeys(name for result in model.tuned for name in result.params))
    if not names:
        return None
    rows = tuple(
        (
            *whose(model, result.family, result.workload),
            *(words.param(result.params[name]) if name in result.params else DASH for name in names),
        )
        for result in model.tuned
    )
    columns = (
        *who(model),
        *(Column(title=name, numeric=True) for name in names),
    )
    return Table(title="Tuned configurations", columns=columns, rows=rows)
