"""The engine alone: verdicts on any table of trials, without a study, a home or a ledger."""

import hashlib
import platform
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from search_spaces.errors import SpecError, one_line
from study.analysis_files import read_tables
from study.manifest import package_version
from study.report import ReportModel, Snapshot
from study.report.cells import estimate, interval, unit, verdict
from study.report.sentences import deciding, headline
from study.statistics.claims import ClaimSet

PACKAGES = ("trialwright", "numpy", "scipy", "pandas", "statsmodels")
"""What the numbers of an analysis depend on."""
RUNGS = ("family", "trial", "rung", "value", "cutoff", "num_recorded", "action")
WIDTH = 160
"""Columns of the terminal's table; a narrower one wraps by itself."""


def snapshot_of_tables(trials: Path, claims: Path, curves: Path | None = None) -> Snapshot:
    """A table of trials with its claims, as a report is made from it.

    Args:
        trials: a CSV or Parquet file in the trial table's format.
        claims: a claims file. One that is locked must be as it was locked; one that is not is analysed all the same,
            and the report says so.
        curves: an optional CSV or Parquet file of measurements: `trial`, `step` and `value` in nats.

    Raises:
        SpecError: a file cannot be read or breaks a rule, or the claims were changed after they were locked.
    """
    claim_set = _claim_set(claims)
    tables = read_tables(trials, curves)
    measured = tables.curves
    if "select_loss_nats" not in measured.columns:
        measured = measured.rename(columns={"value": "select_loss_nats"})
    files = [path for path in (trials, claims, curves) if path is not None]
    return Snapshot(
        name=claim_set.study or trials.stem,
        state="finished",
        spec={},
        plan=None,
        manifest={
            "analysed_files": {path.name: _sha256(path) for path in files},
            "packages": {name: package_version(name) for name in PACKAGES},
            "python": platform.python_version(),
        },
        trials=tables.trials,
        curves=measured,
        rungs=pd.DataFrame(columns=pd.Index(RUNGS)),
        events=[],
        claims=claim_set,
    )


def verdicts_text(model: ReportModel) -> str:
    """The claims with their verdicts as a short table for a terminal."""
    if model.analysis is None:
        return "No claim was judged."
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("claim", "verdict", "estimate", "interval", "unit", "what is claimed"):
        table.add_column(heading)
    for claim in model.analysis.claims:
        part = deciding(claim)
        cells = (claim.id, verdict(claim), estimate(part), interval(part), unit(part), claim.title)
        table.add_row(*(_without_markup(cell) for cell in cells))
    console = Console(width=WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    return "\n".join([*lines, "", headline(model.analysis)])


def _claim_set(path: Path) -> ClaimSet:
    from study.claims import check, load_claims

    file = load_claims(path)
    if file.registered is not None:
        file = check(path).file
    return file.claim_set()


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SpecError(f"'{path}' cannot be read ({error.strerror}): name a file that can.") from None


def _without_markup(text: str) -> str:
    """Text that the terminal's table shows as it is written."""
    return one_line(text).replace("[", "\\[")
