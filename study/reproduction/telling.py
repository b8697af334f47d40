"""What differs here and what came of a reproduction, for people."""

from collections.abc import Sequence

from study.reproduction.comparison import Comparison, FigureDifference
from study.reproduction.differences import Difference, Promise
from study.reproduction.record import Record
from study.reproduction.reproducing import Reproduction

MAX_WIDTH = 44
"""Longest value in a table."""
NUM_SHOWN = 5
"""Outcomes and figures that are listed; the JSON document has more."""
_COLUMNS = ("equal", "within", "differ", "missing_then", "missing_now")


def before_text(record: Record, promised: Promise, found: Sequence[Difference]) -> str:
    """What is known before anything runs."""
    rows = [(one.fact, _cut(one.then), _cut(one.now)) for one in found]
    lines = [f"Study {record.name}: nothing differs here."]
    if rows:
        lines = [
            f"What differs here from where study {record.name} ran:",
            *aligned((("", "then", "here"), *rows)),
        ]
    return "\n".join([*lines, promise_text(promised)])


def promise_text(promised: Promise) -> str:
    """What the measurements must be."""
    if promised.exact:
        return (
            "Every figure must be the same to the bit: float32 on one thread, equal processor and versions."
        )
    reasons = "; ".join(promised.because[:NUM_SHOWN])
    more = len(promised.because) - NUM_SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    return (
        f"Losses must agree within {promised.tolerance:g} (relative), not to the bit, since {reasons}{rest}."
    )


def result_text(result: Reproduction) -> str:
    """The verdict with its numbers."""
    found = result.comparison
    if found is None:
        return f"Interrupted ({result.reason}): the same command goes on. What was run lies in {result.home}."
    verdict = "is reproduced" if found.reproduced else "is NOT reproduced"
    what = "" if result.sample is None else f" in a sample of {len(result.sample)} trials"
    counts = (
        f"{found.equal:,} equal, {found.within:,} within the tolerance, {found.differ:,} differ, "
        f"{found.missing_then:,} missing then, {found.missing_now:,} missing here"
    )
    figures = "all figures" if result.promise.exact else "losses"
    lines = [
        f"Study {result.study} {verdict}{what}: {found.trials:,} trials, {figures}: {counts}.",
        *_table(found),
    ]
    if found.largest is not None:
        lines.append(f"Largest difference: {_figure(found.largest)}")
    lines += [
        f"Ended otherwise: {one.trial}, {one.then} then, {one.now} here" for one in found.outcomes[:NUM_SHOWN]
    ]
    lines += [f"Differs: {_figure(one)}" for one in found.worst[:NUM_SHOWN]]
    if len(found.outcomes) + len(found.worst) > NUM_SHOWN:
        lines.append("More differences: --json lists them.")
    if found.lost_then:
        lines.append(f"{len(found.lost_then)} trials were lost to their surroundings then: not compared.")
    return "\n".join([*lines, f"The rerun: {result.home}"])


def _table(found: Comparison) -> list[str]:
    heads = ("metric", *(name.replace("_", " ") for name in _COLUMNS), "largest difference")
    rows = [
        (
            name if count.is_judged else f"({name})",
            *(f"{getattr(count, column):,}" for column in _COLUMNS),
            f"{count.largest.relative:.1e}" if count.largest and count.largest.relative else "",
        )
        for name, count in found.metrics.items()
    ]
    return aligned((heads, *rows))


def _figure(one: FigureDifference) -> str:
    then, now = ("absent" if figure is None else repr(figure) for figure in (one.then, one.now))
    relative = "" if one.relative is None else f" ({one.relative:.1e} relative)"
    return f"{one.trial}, step {one.step}, {one.metric}: {then} then, {now} here{relative}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns stand under each other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cut(value: str) -> str:
    return value if len(value) <= MAX_WIDTH else f"{value[: MAX_WIDTH - 1]}…"
