"""What was claimed and what came of it, as blocks of print."""

from study.report import cells, sentences
from study.report.blocks import Block, Column, Items, Paragraph, Section, Table
from study.report.model import ReportModel
from study.statistics.claims import Role
from study.statistics.results import Analysis, ClaimResult, PartResult, Stability

VERDICTS = "Verdicts"
"""Title of the section, which holds figures too."""
NOTHING_CLAIMED = (
    "Not judged. This report describes and claims nothing: no claim was registered for it, no test was made, and no "
    "order of the families is asserted."
)
NOTHING_JUDGED = "Not judged yet. Claims are registered, and no trial is there to judge them by."
STABILITY_NOTE = (
    "One choice is changed at a time and the claim is judged again at its own level. A dash: the claim does not have "
    "this choice."
)
CORRECTIONS = {
    Role.PRIMARY: "primary claims by Holm's method",
    Role.SECONDARY: "secondary claims by Benjamini and Hochberg's",
    Role.EXPLORATORY: "exploratory claims not at all",
}


def verdict_section(model: ReportModel) -> Section:
    """The claims with their verdicts, one row an endpoint."""
    found = model.analysis
    if found is None:
        text = NOTHING_JUDGED if model.num_registered else NOTHING_CLAIMED
        return Section(title=VERDICTS, blocks=(Paragraph(text=text),))
    blocks: tuple[Block, ...] = (
        Paragraph(text=sentences.headline(found)),
        claims_table(found),
        Items(items=tuple(told(claim) for claim in found.claims)),
    )
    return Section(title=VERDICTS, blocks=blocks)


def claims_table(found: Analysis) -> Table:
    """One row for each claim, with its estimates."""
    columns = (
        Column(title="Claim"),
        Column(title="What is claimed", wide=True),
        Column(title="Verdict"),
        Column(title="Endpoint", wide=True),
        Column(title="Estimate", numeric=True),
        Column(title="Interval", numeric=True),
        Column(title="Unit"),
        Column(title="n"),
    )
    rows = [
        _claim_row(claim, part, first=index == 0)
        for claim in found.claims
        for index, part in enumerate(claim.parts)
    ]
    note = (
        "An estimate above the value of no difference speaks for the family that is claimed. Intervals stand at the "
        f"claim's level after correction: {_corrections(found)}."
    )
    return Table(title="Claims", columns=columns, rows=tuple(rows), note=note)


def intervals_table(found: Analysis) -> Table:
    """One row for each endpoint: its own verdict and the kind of its interval."""
    columns = (
        Column(title="Claim"),
        Column(title="Endpoint", wide=True),
        Column(title="Verdict"),
        Column(title="Interval", numeric=True),
        Column(title="Level", numeric=True),
        Column(title="Kind", wide=True),
        Column(title="n"),
    )
    rows = [
        (
            claim.id,
            _where(claim, part, endpoint(part)),
            cells.verdict(part) + (" (fragile)" if part.fragile else ""),
            cells.interval(part),
            sentences.level_words(part.level) or cells.DASH,
            part.ci_kind or cells.DASH,
            cells.sample(part),
        )
        for claim in found.claims
        for part in claim.parts
    ]
    note = "Fragile: Student's t and the sign-flip test disagree at the claim's level."
    return Table(title="Intervals", columns=columns, rows=tuple(rows), note=note)


def tests_table(found: Analysis) -> Table:
    """One row for each endpoint: by what it was tested."""
    columns = (
        Column(title="Claim"),
        Column(title="Endpoint", wide=True),
        Column(title="p, t", numeric=True),
        Column(title="p, sign-flip", numeric=True),
        Column(title="p, corrected", numeric=True),
        Column(title="Effect size", numeric=True),
        Column(title="Pairs won", numeric=True),
        Column(title="e-value", numeric=True),
    )
    rows = [
        (
            claim.id,
            _where(claim, part, endpoint(part)),
            cells.p_value(part.p_t),
            cells.p_value(part.p_signflip),
            cells.p_value(part.p_adjusted),
            cells.effect_size(part),
            cells.win_probability(part),
            cells.e_value(part.e_value),
        )
        for claim in found.claims
        for part in claim.parts
    ]
    note = (
        "p-values are two-sided against the margin. Effect size: mean over standard deviation of the paired "
        "differences. Pairs won: share with its 95 % interval. An e-value holds whenever it is looked at."
    )
    return Table(title="Tests", columns=columns, rows=tuple(rows), note=note)


def stability_table(found: Analysis) -> Table | None:
    """One row for each claim, one column for each other choice of the analysis."""
    choices = tuple(dict.fromkeys(one.choice for one in found.stability))
    if not choices:
        return None
    verdicts = {(one.claim, one.choice): one for one in found.stability}
    rows = []
    for claim in found.claims:
        here = [verdicts.get((claim.id, choice)) for choice in choices]
        rows.append((claim.id, cells.verdict(claim), *(_stands(one) for one in here)))
    columns = (Column(title="Claim"), Column(title="Verdict"), *(Column(title=choice) for choice in choices))
    return Table(title="Verdicts under other choices", columns=columns, rows=tuple(rows), note=STABILITY_NOTE)


def _stands(one: Stability | None) -> str:
    if one is None:
        return cells.DASH
    text = str(one.verdict) if one.changed else "the same"
    return f"{text}: {one.detail}" if one.detail else text


def endpoint(part: PartResult) -> str:
    """The metric in words, with who is compared."""
    return f"{part.title}: {part.a} against {part.b}" if part.b else f"{part.title}: {part.a}"


def _claim_row(claim: ClaimResult, part: PartResult, *, first: bool) -> tuple[str, ...]:
    head = (claim.id, claim.title, cells.verdict(claim)) if first else ("", "", "")
    return (
        *head,
        _where(claim, part, part.title),
        cells.estimate(part),
        cells.interval(part),
        cells.unit(part),
        cells.sample(part),
    )


def _where(claim: ClaimResult, part: PartResult, name: str) -> str:
    """An endpoint's name, with its workload where the claim has several."""
    several = len({one.workload for one in claim.parts}) > 1
    return f"{name}; {part.workload}" if several else name


def told(claim: ClaimResult) -> str:
    """A claim's finding as the sentence that every format has."""
    role = "" if claim.role is Role.PRIMARY else f" ({claim.role})"
    amended = f" Amended {claim.amended.rstrip('.')}." if claim.amended else ""
    return f"{claim.id}{role}: {sentences.claim_sentence(claim)}{amended}"


def _corrections(found: Analysis) -> str:
    roles = dict.fromkeys(claim.role for claim in found.claims)
    return ", ".join(text for role, text in CORRECTIONS.items() if role in roles)
