"""The other side of `study_makespan`: the same trials as one writes them with Ray Tune alone.

Every trial is a process that loads the base, loops over the experts, asks for logits at every position and computes
in PyTorch's default precision. `ASHAScheduler` compares the trials in the order in which they arrive.

    python plain_tune.py PLAN.json RESULTS.json

PLAN.json holds `workload`, `parts_dir`, the scheduler's `grace_steps` and `reduction`, and `trials` with `key`,
`family`, `params`, `seed` and `steps`. RESULTS.json gets, by trial and step, the loss on the select rows.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from plain import PlainLayer, PlainOptimizer
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from search_spaces.families import family as family_named
from trainers.adapter import attach_adapter
from trainers.batches import make_batch
from trainers.foundation import Foundation, load_foundation
from trainers.moe_lora import moe_lora_layers
from trainers.tasks import Example, encode_splits, load_splits
from trainers.training_step import rows_of_step
from trainers.workbench import Workbench
from trainers.workload import Workload


class PlainLinear(nn.Module):
    """A linear layer with its mixture added, expert by expert."""

    def __init__(self, base_layer: nn.Module, plain: PlainLayer) -> None:
        """Wrap the frozen layer."""
        super().__init__()
        self.base_layer = base_layer
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        """The base's output and the experts'."""
        output: Tensor = self.base_layer(x) + self.plain(x)
        return output


def train(config: dict[str, Any]) -> None:
    """One trial, from an empty process to its last step."""
    sys.path[:0] = [config["here"]]
    workload = Workload.model_validate(config["workload"])
    trial, recipe = config["trial"], workload.training
    bench = _bench(workload, Path(config["parts_dir"]))
    adapter = attach_adapter(bench, family=trial["family"], params=trial["params"], seed=trial["seed"])
    layers = []
    for layer in moe_lora_layers(adapter.model):
        plain = PlainLayer(layer)
        layers.append(plain)
        bench.foundation.model.set_submodule(layer.module_name, PlainLinear(layer.base_layer, plain))
    optimizer = PlainOptimizer(
        layers,
        family_named(trial["family"]),
        lr=trial["params"]["lr"],
        router_lr=trial["params"]["router_lr"],
        damping=trial["params"].get("damping", 1e-6),
        eps=recipe.eps,
    )
    rows = bench.data.train
    for step in range(trial["steps"]):
        chosen = rows_of_step(trial["seed"], step, recipe.batch, len(rows))
        optimizer.rule.zero_grad()
        loss, num_targets = _loss(bench.foundation, [rows[row] for row in chosen])
        torch.autograd.backward(loss / num_targets)
        optimizer.step()
        if (step + 1) % recipe.eval_every == 0:
            tune.report(
                {"step": step + 1, "loss_nats": _score(bench.foundation, bench.data.select, recipe.batch)}
            )


def _bench(workload: Workload, parts_dir: Path) -> Workbench:
    splits = load_splits(workload.task, parts_dir)
    foundation = load_foundation(workload.base, parts_dir)
    data = encode_splits(
        splits,
        foundation.tokenizer,
        kind=foundation.kind,
        max_tokens=workload.task.max_tokens,
        tokenizer_digest=foundation.tokenizer_digest,
    )
    return Workbench(workload=workload, foundation=foundation, data=data, report_rows=splits.report)


def _loss(foundation: Foundation, examples: Sequence[Example]) -> tuple[Tensor, int]:
    """Sum over the targets, from logits at every position."""
    batch = make_batch(examples, foundation)
    logits = foundation.model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids
    ).logits.float()
    scored = logits[:, -batch.targets.shape[1] :]
    losses = cross_entropy(scored.flatten(0, 1), batch.targets.flatten(), reduction="none")
    return losses[batch.target_mask.flatten()].sum(), int(batch.target_mask.sum())


@torch.no_grad()
def _score(foundation: Foundation, examples: Sequence[Example], rows: int) -> float:
    total, num_targets = 0.0, 0
    for start in range(0, len(examples), rows):
        loss, number = _loss(foundation, examples[start : start + rows])
        total, num_targets = total + loss.item(), num_targets + number
    return total / num_targets


def main(plan_file: str, results_file: str) -> None:
    """Run all trials and write what they measured."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    here = str(Path(__file__).parent)
    paths = os.pathsep.join([here, str(Path(here).parent)])
    ray.init(
        address="local",
        num_cpus=len(os.sched_getaffinity(0)),
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    common = {"workload": plan["workload"], "parts_dir": plan["parts_dir"], "here": here}
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={**common, "trial": tune.grid_search(plan["trials"])},
        tune_config=tune.TuneConfig(
            scheduler=ASHAScheduler(
                time_attr="step",
                metric="loss_nats",
                mode="min",
                grace_period=plan["grace_steps"],
                reduction_factor=plan["reduction"],
                max_t=plan["trials"][0]["steps"],
            )
        ),
        run_config=tune.RunConfig(storage_path=str(Path(results_file).parent / "ray"), verbose=0),
    )
    measured = {}
    for result in tuner.fit():
        history = result.metrics_dataframe
        measured[result.config["trial"]["key"]] = dict(
            zip(map(str, history["step"]), history["loss_nats"], strict=True)
        )
    Path(results_file).write_text(json.dumps(measured), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
