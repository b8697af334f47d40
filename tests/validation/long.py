"""`make validate`: every cell with 2000 studies, the tables and figures of docs/validation.md.

Run as `python -m tests.validation.long [--studies 2000] [--workers 2] [--docs docs]`. Progress goes to standard
error with the time left. The exit status is 1 where a figure lies outside its band.
"""

import argparse
import importlib.metadata
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tests.validation import figures
from tests.validation.bands import LONG_SIGMAS
from tests.validation.familywise import familywise_rates
from tests.validation.figures import BLUE, GREEN, VERMILLION
from tests.validation.jobs import Found, Job, jobs, warm
from tests.validation.tables_of_results import coverage_table, results, table, verdict_table

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
PACKAGES = ("numpy", "scipy", "pandas", "statsmodels")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all cells and rewrite the results in the document."""
    parser = argparse.ArgumentParser(description="Validate the statistics engine by simulation.")
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies in a cell")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument(
        "--docs", type=Path, default=Path("docs"), help="where the document and its images lie"
    )
    options = parser.parse_args(arguments)
    began = time.monotonic()
    found = list(_run(jobs(options.studies), workers=options.workers, num=options.studies))
    minutes = (time.monotonic() - began) / 60
    rates = [rate for one in found for rate in one.rates]
    data = _merged([one.data for one in found])
    parts = data["familywise"]
    hits = {what: np.concatenate([parts[part][what] for part in sorted(parts)]) for what in parts[0]}
    rates = sorted([*rates, *familywise_rates(hits, sigmas=LONG_SIGMAS)], key=lambda rate: rate.cell)
    images = options.docs / "images" / "validation"
    images.mkdir(parents=True, exist_ok=True)
    _draw(data, images)
    about = _about(options.studies, options.workers, minutes)
    _rewrite(options.docs / "validation.md", "\n".join([about, "", results(rates), *_further(data)]))
    missed = [rate for rate in rates if not rate.passed]
    for rate in missed:
        _say(str(rate))
    _say(f"{len(rates)} figures, {len(missed)} outside their band, after {minutes:.1f} minutes.")
    return 1 if missed else 0


def _run(work: list[Job], *, workers: int, num: int) -> Iterator[Found]:
    """Results in the order in which they come; processes are forked, so that all have the design points."""
    began = time.monotonic()
    _say(f"{len(work)} pieces of work on {workers} processes; first, the design points.")
    warm(num)
    total, done = sum(job.seconds for job in work), 0.0
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        started = time.monotonic()
        pending = {pool.submit(job.run): job for job in work}
        for future in as_completed(pending):
            job = pending[future]
            found = future.result()
            done += job.seconds
            left = (time.monotonic() - started) * (total - done) / done
            missed = sum(not rate.passed for rate in found.rates)
            outside = f", {missed} outside their band" if missed else ""
            elapsed = (time.monotonic() - began) / 60
            _say(f"{elapsed:5.1f} min, about {left / 60:4.1f} left: {job.name}{outside}")
            yield found


def _merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested mappings joined; nothing is in two of them but at different keys."""
    merged: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            known = merged.get(key)
            merged[key] = _merged([known, value]) if isinstance(known, dict) else value
    return merged


def _draw(data: Mapping[str, Any], images: Path) -> None:
    same, unequal = data["p"]["same family twice"], data["p"]["unequal noise"]
    figures.null_p_values(
        {
            "t, same family twice": {name: by["t"] for name, by in same.items() if "t" in by},
            "sign-flip, same family twice": {name: by["sign-flip"] for name, by in same.items() if "t" in by},
            "t against the truth, unequal noise": {
                name: by["t"] for name, by in unequal.items() if "t" in by
            },
        },
        images / "p-values.svg",
    )
    figures.coverage_by_units(_ordered(data["intervals"]), images / "coverage.svg")
    figures.power_curves(data["power"], images / "power.svg")
    figures.verdict_areas(data["verdicts"], images / "verdicts.svg")
    _draw_traps(data, images)
    budgets = data["tuning"]
    styles = {"bootstrap of one search": figures.WRONG, "replicated searches": figures.RIGHT}
    figures.lines(
        {name: ([k / 20 for k in by_k], list(by_k.values()), styles[name]) for name, by_k in budgets.items()},
        images / "tuning-curve.svg",
        title="Intervals of a tuning curve, one search of 20 trials",
        y_label="coverage of 95 % intervals",
        x_label="budget over the trials of the search",
        target=0.95,
    )


def _draw_traps(data: Mapping[str, Any], images: Path) -> None:
    right = {"audit", "full budget", "best of search"}
    bars = []
    for name, values in data["search"].items():
        error = float(values.std(ddof=1) / np.sqrt(len(values)))
        bars.append((name, float(values.mean()), error, name in right))
    figures.bars(
        bars,
        images / "search.svg",
        title="Early stopping: a true difference of 0, estimated",
        x_label="mean estimate in nats, family b less family a",
    )
    noise = data["noise"]
    styles = {
        "plug-in sensitivity": (VERMILLION, "--"),
        "lr_width against 0": (BLUE, "--"),
        "lr_width against its truth": (BLUE, "-"),
        "basin_area against 0": (GREEN, "--"),
        "basin_area against its truth": (GREEN, "-"),
    }
    figures.lines(
        {name: (list(noise), [noise[r][name] for r in noise], style) for name, style in styles.items()},
        images / "noise.svg",
        title="Families that differ in noise alone, 20 replicates",
        y_label="share of studies that see a difference",
        x_label="noise of one family over that of the other",
        target=0.05,
    )
    bars = [
        (name, float(hit.mean()), float(hit.std() / np.sqrt(len(hit))), not name.startswith("peeking"))
        for name, hit in data["sequential"].items()
    ]
    figures.bars(
        bars, images / "looks.svg", title="Reading early: no effect, found", x_label="share of studies"
    )


def _ordered(coverage: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{kind} differences": dict(sorted(coverage[kind].items())) for kind in ("normal", "lognormal")}


def _further(data: Mapping[str, Any]) -> list[str]:
    """Figures that no band judges: all four intervals by distribution, noise, tuning curves."""
    noise, tuning = data["noise"], data["tuning"]
    return [
        *verdict_table(data["verdicts"]),
        "### Coverage of four intervals of a mean",
        "",
        *coverage_table(_ordered(data["intervals"])),
        "",
        "### Share of studies that see a difference where noise alone differs",
        "",
        *table(
            ["analysis, 20 replicates", *(f"ratio {ratio:g}" for ratio in noise)],
            [
                [name, *(f"{noise[ratio][name]:.3f}" for ratio in noise)]
                for name in next(iter(noise.values()))
            ],
        ),
        "",
        "### Coverage of intervals of a tuning curve",
        "",
        *table(
            ["method", *(f"k = {k}" for k in next(iter(tuning.values())))],
            [[name, *(f"{share:.3f}" for share in by_k.values())] for name, by_k in tuning.items()],
        ),
    ]


def _about(studies: int, workers: int, minutes: float) -> str:
    processes = "1 process" if workers == 1 else f"{workers} processes"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(tz=UTC):%Y-%m-%d}, commit {_commit()}, {studies} studies a cell, {processes}, "
        f"{minutes:.0f} minutes; Python {platform.python_version()}, {versions}."
    )


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "study", "tests/validation") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def _rewrite(document: Path, text: str) -> None:
    """Put `text` between the document's marks."""
    written = document.read_text(encoding="utf-8")
    before, _, rest = written.partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
