"""The long run's results as Markdown."""

from collections.abc import Iterable, Mapping, Sequence

from study.records import Phase
from study.statistics.metrics import METRICS
from study.statistics.results import Verdict
from tests.validation.bands import Rate
from tests.validation.scenarios import ASKED, COVERED, LAYOUT, NULLS

SHOWN = (0.0, 0.5, 0.8)
"""True effects at which the probability of every verdict is written out."""
TITLES = {
    "V4": "V4. Verdicts at their boundaries",
    "V5": "V5. Ten null claims in one file",
    "V6": "V6. Reading early",
    "V7": "V7. The search trap",
    "V8": "V8. The minimum and the fixed grid",
    "V9": "V9. The unit of analysis",
}


def results(rates: Sequence[Rate]) -> str:
    """Every cell's table; a figure outside its band stands in bold with its band."""
    missed = [rate for rate in rates if not rate.passed]
    lines = [f"{len(rates)} figures, {len(missed)} outside their band.", ""]
    lines += [f"- {rate}" for rate in missed] + ([""] if missed else [])
    again = [rate for rate in rates if rate.note.startswith("second sample")]
    if again:
        lines += ["Outside their band at first, and simulated anew with twice the studies:", ""]
        lines += [f"- {rate} ({rate.note})" for rate in again] + [""]
    lines += [*_levels(rates), *_coverage(rates)]
    for cell, title in TITLES.items():
        mine = [rate for rate in rates if rate.cell == cell]
        lines += [f"### {title}", "", *_list(mine), ""]
    lines += [
        "### Intervals of a mean",
        "",
        *_list([r for r in rates if r.scenario.startswith("methods")]),
        "",
    ]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _levels(rates: Sequence[Rate]) -> list[str]:
    """V1 as metrics by scenarios: the share of true nulls that each test rejects at 5 %."""
    found = {(r.scenario, r.what): r for r in rates if r.cell == "V1"}
    head = ["metric", "units", *(scenario.name for scenario in NULLS)]
    rows = []
    for metric in ASKED:
        cells = []
        for scenario in NULLS:
            names = [f"{metric}, {test}" for test in ("t", "sign-flip", "exact binomial")]
            shown = [_shown(found[scenario.name, name]) for name in names if (scenario.name, name) in found]
            cells.append(" / ".join(shown) or "-")
        rows.append([f"`{metric}`", _units(metric), *cells])
    return [
        "### V1. Share of true nulls that are rejected at 5 %",
        "",
        "t-test / sign-flip test; `win_probability`: exact binomial test.",
        "",
        *table(head, rows),
        "",
    ]


def _coverage(rates: Sequence[Rate]) -> list[str]:
    """V2 as metrics by numbers of units."""
    found = {(r.scenario, r.what, r.n): r for r in rates if r.cell == "V2"}
    lines = ["### V2. Share of 95 % intervals that hold the true difference", ""]
    for scenario in COVERED:
        rows = []
        for metric in scenario.metrics:
            for interval in ("engine", "t"):
                cells = [found.get((scenario.name, f"{metric}, {interval}", n)) for n in (5, 10, 20)]
                if any(cells):
                    name = f"`{metric}`" + (", t alone" if interval == "t" else "")
                    rows.append([name, *(_shown(cell) if cell else "-" for cell in cells)])
        lines += [f"{scenario.name[0].upper()}{scenario.name[1:]}:", ""]
        lines += [*table(["metric", "5 units", "10 units", "20 units"], rows), ""]
    return lines


def _list(rates: Sequence[Rate]) -> list[str]:
    ordered = sorted(rates, key=lambda rate: (rate.scenario, rate.n if rate.cell == "V2" else 0))
    rows = [
        [
            rate.scenario,
            rate.what,
            str(rate.n or "-"),
            _shown(rate),
            f"{rate.low:.3f} to {'∞' if rate.high == float('inf') else f'{rate.high:.3f}'}",
            rate.note,
        ]
        for rate in ordered
    ]
    return table(["setting", "figure", "units", "found", "band", "note"], rows)


def _shown(rate: Rate) -> str:
    figure = f"{rate.observed:.3f}"
    return figure if rate.passed else f"**{figure}**"


def _units(metric: str) -> str:
    if METRICS[metric].phase == Phase.CONFIRMATION:
        return f"{LAYOUT.seeds} seeds"
    return f"{LAYOUT.replicates} replicates"


def coverage_table(coverage: Mapping[str, Mapping[int, Mapping[str, float]]]) -> list[str]:
    """Coverage of 95 % intervals by distribution, method and number of units."""
    rows = [
        [kind, method, *(f"{by_n[n][method]:.3f}" for n in sorted(by_n))]
        for kind, by_n in coverage.items()
        for method in next(iter(by_n.values()))
    ]
    sizes = sorted(next(iter(coverage.values())))
    return table(["differences", "interval", *(f"{n} units" for n in sizes)], rows)


def verdict_table(shares: Mapping[int, Mapping[float, Mapping[Verdict, float]]]) -> list[str]:
    """Probability of every verdict at a few true effects."""
    verdicts = (Verdict.SUPPORTED, Verdict.EQUIVALENT, Verdict.INCONCLUSIVE, Verdict.REFUTED)
    rows = [
        [f"{effect:g}", str(n), *(f"{by_effect[effect][verdict]:.3f}" for verdict in verdicts)]
        for n, by_effect in shares.items()
        for effect in SHOWN
    ]
    head = ["true effect in sd", "units", *(verdict.value for verdict in verdicts)]
    title = "### Verdicts at a smallest effect of interest and bound of half a standard deviation"
    return [title, "", *table(head, rows), ""]
