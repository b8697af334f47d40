"""`python -m tests.faults.table LOG…`: writes the table of a campaign's logs into docs/reliability.md."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_HEADER = (
    "| tier | fault | runs | held | beside another | steps repeated: mean (most) | training lost (s): mean (most) "
    "| longer than its twin (s): median |"
)
PAIRS = "pairs of these"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def main(logs: Sequence[str]) -> None:
    """Put the table of all runs in the logs in the place of the one before."""
    lines = [line for log in logs for line in Path(log).read_text(encoding="utf-8").splitlines()]
    records = [json.loads(line) for line in lines]
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(records)}\n{END}{after}", encoding="utf-8")


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Runs by their fault; those of two faults stand in a line of their own."""
    by_fault: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    beside: Counter[tuple[str, str]] = Counter()
    for record in records:
        names, tier = record["faults"], record["tier"]
        is_alone = len(names) == 1
        by_fault[tier, names[0] if is_alone else PAIRS].append(record)
        if not is_alone:
            beside.update((tier, name) for name in names)
    lines = [_HEADER, "|---|---|---:|---:|---:|---:|---:|---:|"]
    lines += [_line(key, by_fault[key], beside[key]) for key in sorted(by_fault, key=_last_pairs)]
    return "\n".join([*lines, _line(("", "all"), records, 0)])


def _last_pairs(key: tuple[str, str]) -> tuple[str, bool, str]:
    tier, fault = key
    return tier, fault == PAIRS, fault


def _line(key: tuple[str, str], records: Sequence[Mapping[str, Any]], num_beside: int) -> str:
    tier, fault = key
    num_held = sum(record["held"] for record in records)
    timed = [record for record in records if "wall_s" in record]
    longer_s = sorted(record["wall_s"] - record["twin_s"] for record in timed)
    figures = [
        str(num_beside or ""),
        _mean_and_most([record["steps_repeated"] for record in timed]),
        _mean_and_most([record["lost_s"] for record in timed]),
        f"{longer_s[len(longer_s) // 2]:.1f}" if timed else "",
    ]
    return f"| {tier} | {fault} | {len(records)} | {num_held} | {' | '.join(figures)} |"


def _mean_and_most(figures: Sequence[float]) -> str:
    return f"{sum(figures) / len(figures):.2g} ({max(figures):.2g})" if figures else ""


if __name__ == "__main__":
    main(sys.argv[1:])
