"""Planted truths through the whole of it: launch on a real Ray, ledger, report, verdicts; killed and resumed."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import Ended, Started, ledger_of, make_place, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = str(Path(__file__).parents[2])
"""Where the package `tests` is found, by the driver and by Ray's workers."""
STUDY_FILE = """
name: planted
seed: 7
base: {model: "path:base", dtype: float32, matmul_tolerance: 0}
task: {name: rows, path: rows.jsonl, prompt: "{text}:", answer: label, options: [good, bad],
       max_tokens: 32, train_rows: 40, select_rows: 16, report_rows: 16}
adapter: {target_modules: [q_proj, v_proj]}
training: {steps: 8, batch: 4, eval_every: 4, checkpoint_every: 4}
families: [sgd, rsgd, grsgd, adamw, radamw, gradamw]
phases:
  search: {trials: 4, reduction: 2, grace_steps: 4}
  sensitivity:
    replicates: 8
    points: 2
    lr_slice:
      step_decades: 1
      window:
        sgd: [1.0e-1, 1.0]
        rsgd: [1.0e-3, 1.0e-2]
        grsgd: [1.0e-3, 1.0e-2]
        adamw: [1.0e-6, 1.0e-1]
        radamw: [1.0e-6, 1.0e-1]
        gradamw: [2.5e-6, 2.5e-1]
  confirmation: {seeds: 8}
resources: {packs: 1, lanes: 4}
claims: claims.yaml
"""
"""Slices are as wide as the claims about widths need; the families that none of these names have one learning rate."""
CLAIMS_FILE = """
claims_version: 1
study: planted
families: {adamw: {}, radamw: {}, gradamw: {}, rsgd: {}, sgd: {}, grsgd: {}}
design:
  sensitivity: {replicates: 8, points: 2, lr_slice: {step_decades: 1}}
  confirmation: {seeds_max: 8}
claims:
  - id: wider
    title: radamw tolerates a wider range of learning rates
    compare: {a: radamw, b: adamw}
    underpowered: accepted
    all_of:
      - {metric: lr_width, tau: {ref: adamw.confirmed, within: 0.2}, direction: greater, sesoi: 0.2, unit: decades}
      - {metric: tuned_loss, direction: noninferior, margin: 0.1, unit: relative}
  - id: shifted
    title: gradamw tolerates a wider range of learning rates
    compare: {a: gradamw, b: adamw}
    underpowered: accepted
    metric: lr_width
    tau: {ref: adamw.confirmed, within: 0.2}
    direction: greater
    sesoi: 0.6
    unit: decades
  - {id: worse, title: rsgd reaches a lower loss, compare: {a: rsgd, b: adamw}, metric: tuned_loss, direction: less,
     sesoi: 0.05, underpowered: accepted}
  - {id: noisy, title: sgd reaches a lower loss, compare: {a: sgd, b: adamw}, metric: tuned_loss, direction: less,
     sesoi: 0.05, underpowered: accepted}
  - {id: unstable, title: grsgd diverges less often, compare: {a: grsgd, b: adamw}, metric: divergence_rate,
     direction: less, sesoi: 0.05, underpowered: accepted}
"""
TRUTHS = {
    "wider": "supported",
    "shifted": "equivalent",
    "worse": "refuted",
    "noisy": "inconclusive",
    "unstable": "refuted",
}


class StartedPlanted(Started):
    """The command with planted losses in place of training."""

    program = ("-m", "tests.end_to_end.planted_command")


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A study that ran through, and its twin that was killed halfway and launched again."""

    whole: dict[str, Any]
    halved: dict[str, Any]
    trials: list[str]
    """The trial tables of both, as written."""
    ended_before_the_kill: int
    workers: set[int]
    """Ray's worker processes that were seen while the whole study ran."""


def launch(place: Path, home: str, workers: set[int] | None = None) -> Ended:
    """Launch to the end; what Ray starts to work is added to `workers`."""
    started = StartedPlanted(place, "launch", "study.yaml", "--home", home, PYTHONPATH=ROOT)
    try:
        while workers is not None and started.process.poll() is None:
            workers |= {process.pid for process in started.workers()}
            time.sleep(0.5)
        return started.wait(1500)
    finally:
        started.clean_up()


def killed_halfway(place: Path, home: str) -> int:
    """Kill every process of a launch once a good hundred trials have ended; how many had."""
    started = StartedPlanted(place, "launch", "study.yaml", "--home", home, PYTHONPATH=ROOT)
    try:
        wait_until(lambda: num_ended(place / home) > 110, started)
    finally:
        started.clean_up()
        started.process.wait(300)
    return num_ended(place / home)


def num_ended(home: Path) -> int:
    if not (home / "ledger.db").exists():
        return 0
    with ledger_of(home) as ledger:
        if not ledger.studies():
            return 0
        return sum(record.ending is not None for record in ledger.trials("planted"))


def command(place: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "study.cli", *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    place = make_place(tmp_path_factory.mktemp("planted"))
    (place / "study.yaml").write_text(STUDY_FILE)
    (place / "claims.yaml").write_text(CLAIMS_FILE)
    command(place, "claims", "lock", "claims.yaml")
    workers: set[int] = set()
    whole = launch(place, "whole", workers)
    assert whole.code == 0, whole.err
    num_before = killed_halfway(place, "halved")
    again = launch(place, "halved")
    assert again.code == 0, again.err
    documents, tables = [], []
    for home in ("whole", "halved"):
        command(place, "report", "planted", "--home", home, "--format", "json,csv", "--out", f"{home}-report")
        documents.append(json.loads((place / f"{home}-report" / "report.json").read_text()))
        tables.append((place / f"{home}-report" / "trials.csv").read_text())
    return Planted(
        whole=documents[0],
        halved=documents[1],
        trials=tables,
        ended_before_the_kill=num_before,
        workers=workers,
    )


def test_every_planted_truth_is_found(planted):
    found = {claim["id"]: claim["verdict"] for claim in planted.whole["claims"]}
    assert found == TRUTHS


def test_nan_trials_are_counted_and_belong_to_the_result(planted):
    counts = planted.whole["trials"]["sensitivity"]["grsgd"]
    assert counts["diverged"] > 0
    assert sum(counts.values()) == 16
    unstable = next(claim for claim in planted.whole["claims"] if claim["id"] == "unstable")
    assert unstable["parts"][0]["n"] == 8


def test_the_interruption_fell_into_the_middle(planted):
    total = sum(
        n for families in planted.whole["trials"].values() for one in families.values() for n in one.values()
    )
    assert 110 < planted.ended_before_the_kill < total - 100


def test_killed_and_resumed_the_verdicts_are_the_same_to_the_digit(planted):
    assert planted.halved["claims"] == planted.whole["claims"]
    assert planted.halved["trials"] == planted.whole["trials"]


def test_trials_shorter_than_a_client_s_start_share_a_few_clients(planted):
    """Four clients, a pack, what Ray starts beforehand for each core, and as many again for what starts in vain."""
    assert 5 <= len(planted.workers) <= 2 * (5 + (os.cpu_count() or 1))
