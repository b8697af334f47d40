"""`python -m tests.faults.table [LOG…]`: adds logs to `runs.jsonl` and writes its table into docs/reliability.md."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RUNS = Path(__file__).with_name("runs.jsonl")
"""Every run so far that a sound checker judged, those that did not hold too."""
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_HEADER = (
    "| tier | fault | runs | held | steps repeated: mean (most) | training lost (s): mean (most) "
    "| longer than its twin (s): median |"
)
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def main(logs: Sequence[str]) -> None:
    """Add the logs to the runs and write the table of all."""
    new = [Path(log).read_text(encoding="utf-8") for log in logs]
    with RUNS.open("a", encoding="utf-8") as runs:
        runs.writelines(text if not text or text.endswith("\n") else f"{text}\n" for text in new)
    records = [json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()]
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(records)}\n{END}{after}", encoding="utf-8")


def table(records: Iterable[Mapping[str, Any]]) -> str:
    """Runs by their fault; those of pairs count for both of theirs and stand in a line of their own, too."""
    by_fault: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        names, tier = record["faults"], record["tier"]
        by_fault[tier, names[0] if len(names) == 1 else "pairs of these"].append(record)
    lines = [_HEADER, "|---|---|---:|---:|---:|---:|---:|"]
    lines += [_line(tier, fault, by_fault[tier, fault]) for tier, fault in sorted(by_fault, key=_last_pairs)]
    everything = [record for group in by_fault.values() for record in group]
    return "\n".join([*lines, _line("", "all", everything)])


def _last_pairs(key: tuple[str, str]) -> tuple[str, bool, str]:
    return key[0], key[1].startswith("pairs"), key[1]


def _line(tier: str, fault: str, records: Sequence[Mapping[str, Any]]) -> str:
    num_held = sum(record["held"] for record in records)
    timed = [record for record in records if "wall_s" in record]
    longer_s = sorted(record["wall_s"] - record["twin_s"] for record in timed)
    figures = [
        _mean_and_most([record["steps_repeated"] for record in timed]),
        _mean_and_most([record["lost_s"] for record in timed]),
        f"{longer_s[len(longer_s) // 2]:.1f}" if timed else "",
    ]
    return f"| {tier} | {fault} | {len(records)} | {num_held} | {' | '.join(figures)} |"


def _mean_and_most(figures: Sequence[float]) -> str:
    return f"{sum(figures) / len(figures):.2g} ({max(figures):.2g})" if figures else ""


if __name__ == "__main__":
    main(sys.argv[1:])
