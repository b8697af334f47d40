"""The studies that faults strike: small, with rungs, a choice, and a claim that is judged."""

import subprocess
import sys
from pathlib import Path
from string import Template

from tests.end_to_end.command import make_place

ROOT = str(Path(__file__).parents[2])
"""Where the package `tests` is found."""
STUDY = "faults"
STEPS, CHECKPOINT_EVERY = 8, 4
NUM_SEARCHED = 4
"""Trials of each family in the search."""
STUDY_FILE = """
name: faults
seed: $seed
base: {model: "path:$base", dtype: float32, matmul_tolerance: 0}
task: {name: rows, path: "$rows", prompt: "{text}:", answer: label, options: [good, bad],
       max_tokens: 32, train_rows: 40, select_rows: 16, report_rows: 16}
adapter: {target_modules: [q_proj, v_proj]}
training: {steps: 8, batch: 4, eval_every: 2, checkpoint_every: 4}
families: [sgd, adamw]
spaces:
  all: {num_experts: [2, 4], rank: [2], top_k: [1, 2]}
phases:
  search: {trials: $searched, reduction: 2, grace_steps: 2}
  confirmation: {seeds: $seeds, default_seeds: 0, perturbed_seeds: 0}
resources: {packs: $packs, lanes: 2}
claims: claims.yaml
"""
CLAIMS_FILE = """
claims_version: 1
study: faults
families: {adamw: {}, sgd: {}}
design: {confirmation: {seeds_max: $seeds}}
claims:
  - {id: lower, title: sgd reaches a lower loss, compare: {a: sgd, b: adamw}, metric: tuned_loss, direction: less,
     sesoi: 0.05, underpowered: accepted}
"""


def write_study(
    folder: Path, seed: int, *, packs: int = 1, seeds: int = 7, seen_as: Path | None = None
) -> Path:
    """A folder with base, rows, locked claims and `study.yaml`.

    Args:
        folder: made here.
        seed: of the study.
        packs: how many it asks for.
        seeds: of the confirmation.
        seen_as: the folder's path for the driver, if another.
    """
    folder.mkdir(parents=True)
    make_place(folder)
    seen = seen_as or folder
    values = {"seed": seed, "packs": packs, "searched": NUM_SEARCHED, "seeds": seeds}
    values |= {"base": seen / "base", "rows": seen / "rows.jsonl"}
    for name, template in {"study.yaml": STUDY_FILE, "claims.yaml": CLAIMS_FILE}.items():
        (folder / name).write_text(Template(template).substitute(values))
    subprocess.run(
        [sys.executable, "-m", "study.cli", "claims", "lock", "claims.yaml", "--study", "study.yaml"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder
