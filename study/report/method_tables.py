"""How a study was done: failures, cost, spaces, protocol, limits, checklist and provenance, as blocks of print."""

from collections.abc import Mapping
from typing import Any

import yaml

from study.records import Outcome
from study.report import words
from study.report.accounting import PHASE_TITLES
from study.report.blocks import Block, Column, Facts, Items, Listing, Paragraph, Section, Table
from study.report.descriptive_tables import audits_table, divergences_table, rungs_table
from study.report.forecast import forecast_sentences, forecast_table
from study.report.model import ReportModel
from study.report.precision import precision_facts
from study.report.registration import registration_sentence
from study.statistics.results import Analysis

DASH = "\u2013"
FAILURES, SEARCH = "Trials and failures", "Search"
"""Titles of sections that hold figures too."""
OUTCOMES = {outcome: outcome.value.replace("_", " ") for outcome in Outcome}


def limits(model: ReportModel) -> Section:
    """What was not shown."""
    facts = tuple((limit.title, limit.text) for limit in model.limits)
    return Section(title="What is not shown", blocks=(Facts(title="", facts=facts),))


def protocol(model: ReportModel) -> Section:
    """The phases as they were run."""
    facts = tuple((step.title, step.text) for step in model.protocol)
    text = "The protocol is not recorded with this table."
    return Section(
        title="Protocol", blocks=(Facts(title="", facts=facts) if facts else Paragraph(text=text),)
    )


def checklist(model: ReportModel) -> Section:
    """The items of the NeurIPS paper checklist that a study can answer."""
    facts = tuple(
        (f"{item.number}. {item.title}", f"{item.answer}. {' '.join(item.sentences)}")
        for item in model.checklist
    )
    return Section(title="Checklist", blocks=(Facts(title="NeurIPS paper checklist", facts=facts),))


def failures(model: ReportModel) -> Section:
    """Every trial counted once, and why some were lost."""
    shown = [outcome for outcome in Outcome if model.accounting.totals[outcome.value]]
    rows = tuple(
        (
            PHASE_TITLES[count.phase],
            count.family,
            f"{count.planned:,}",
            *(f"{count.by_outcome[outcome.value]:,}" for outcome in shown),
            f"{count.open:,}",
        )
        for count in model.accounting.counts
    )
    columns = (
        Column(title="Phase"),
        Column(title="Family"),
        Column(title="Planned", numeric=True),
        *(Column(title=OUTCOMES[outcome].capitalize(), numeric=True) for outcome in shown),
        Column(title="Open", numeric=True),
    )
    divergences = divergences_table(model)
    blocks: list[Block] = [divergences] if divergences else []
    blocks.append(Table(title="Every trial, by outcome", columns=columns, rows=rows))
    if model.accounting.beside:
        blocks.append(Paragraph(text="Some of them stand beside the design, in no curve and no rate of it:"))
        blocks.append(Items(items=model.accounting.beside))
    if model.accounting.missing:
        blocks.append(Items(items=model.accounting.missing))
    lost = tuple(
        f"{len(group.trials)} {OUTCOMES[group.outcome]} ({', '.join(group.families)}): {group.reason}"
        for group in model.accounting.lost
    )
    blocks.append(Items(items=lost) if lost else Paragraph(text="No trial was lost."))
    return Section(title=FAILURES, blocks=tuple(blocks))


def search(model: ReportModel) -> Section:
    """What survived the search, which is evidence of nothing else."""
    tables = (audits_table(model), rungs_table(model))
    shown = tuple(table for table in tables if table is not None)
    text = "Each family has a scheduler of its own. What survives here chooses a configuration and is no evidence."
    return Section(title=SEARCH, blocks=(Paragraph(text=text), *shown))


def compute(model: ReportModel) -> Section:
    """What each family cost, and whether budgets were equal."""
    rows = []
    for family in model.families:
        mine = [cost for cost in model.budget.costs if cost.family == family]
        seconds, steps = sum(c.device_seconds for c in mine), sum(c.steps for c in mine)
        started = sum(c.trials for c in mine)
        per_step = f"{seconds / steps:.3f}" if steps else DASH
        rows.append((family, f"{started:,}", f"{steps:,}", words.duration(seconds), per_step))
    columns = (
        Column(title="Family"),
        Column(title="Trials", numeric=True),
        Column(title="Optimizer steps", numeric=True),
        Column(title="Device time", numeric=True),
        Column(title="Seconds per step", numeric=True),
    )
    marks = {None: "open", True: "holds", False: "does not hold"}
    checks = tuple(f"{check.name}: {marks[check.holds]}. {check.evidence}" for check in model.budget.checks)
    note = "Every trial is counted, failed and stopped ones too."
    table = Table(title="", columns=columns, rows=tuple(rows), note=note)
    return Section(title="Compute", blocks=(table, *forecast_blocks(model), Items(items=checks)))


def forecast_section(model: ReportModel) -> Section:
    """The cost as predicted, for formats that do not show the compute by family."""
    return Section(title="Compute", blocks=forecast_blocks(model))


def forecast_blocks(model: ReportModel) -> tuple[Block, ...]:
    """Predicted and actual cost, or why there is no prediction."""
    if model.forecast is not None:
        return (forecast_table(model.forecast, model.spec),)
    return tuple(Paragraph(text=sentence) for sentence in forecast_sentences(None, model.spec))


def spaces(model: ReportModel) -> Section:
    """What each family was allowed to vary, and what was drawn."""
    rows = tuple(
        (
            space.family,
            space.name,
            words.dimension(space.declared),
            ", ".join(words.param(v) for v in space.sampled),
        )
        for space in model.spaces
    )
    if not rows:
        return Section(title="Search spaces", blocks=(Paragraph(text="No space is recorded."),))
    columns = (
        Column(title="Family"),
        Column(title="Hyperparameter"),
        Column(title="Declared", wide=True),
        Column(title="Drawn: values, or lowest and highest", wide=True),
    )
    return Section(title="Search spaces", blocks=(Table(title="", columns=columns, rows=rows),))


def provenance(model: ReportModel) -> Section:
    """Versions, digests and the registration."""
    blocks: list[Block] = []
    if model.analysis is not None:
        blocks.append(Facts(title="Claims", facts=_registration(model, model.analysis)))
    simple = {name: value for name, value in model.manifest.items() if not isinstance(value, Mapping)}
    if simple:
        facts = tuple((words.label(name), words.fact(name, value)) for name, value in simple.items())
        blocks.append(Facts(title="Study", facts=facts))
    for name, value in model.manifest.items():
        if isinstance(value, Mapping) and name not in ("spaces", "claims"):
            facts = tuple((words.label(key), words.fact(key, item)) for key, item in value.items())
            blocks.append(Facts(title=words.label(name).capitalize(), facts=facts))
    if measured := precision_facts(model.events):
        blocks.append(Facts(title="Matrix products in float32", facts=measured))
    if model.spec:
        blocks.append(Listing(title="The study file", text=_yaml(model.spec)))
    return Section(title="Provenance", blocks=tuple(blocks) or (Paragraph(text="No manifest is recorded."),))


def _registration(model: ReportModel, found: Analysis) -> tuple[tuple[str, str], ...]:
    """When the claims were locked, and what happened to them since."""
    registered = model.registration
    locked: tuple[tuple[str, str], ...] = ()
    if registered is not None:
        known = (("SHA-256", registered.sha256), ("commit", registered.commit))
        locked = (
            ("registration", registration_sentence(registered)),
            *(fact for fact in known if fact[1]),
            *(("amended", amendment) for amendment in registered.amendments),
        )
    return (
        *locked,
        ("level before correction", f"{found.claim_set.alpha:g}"),
        ("duplicate rows dropped", str(found.num_duplicates)),
        *(("note", note) for note in found.notes),
        *((words.label(name), words.compact(value)) for name, value in found.provenance.items()),
    )


def _yaml(value: Any) -> str:
    return yaml.safe_dump(
        _plain(value), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
