"""Does compiling pay: how much quicker are a pack's forward and backward passes with torch.compile?

Both sides run two lanes on SmolLM2-135M, 4 rows of 32 tokens each, eight experts of rank 4. Compiled are the base's
blocks, or the experts' two functions, or both; drawing dropout and what a lane must know of a pass stay outside, since
they change with every step. On a CPU a pack has one thread, and so have these. On a GPU the mode `reduce-overhead`,
which replays CUDA graphs, is tried as well. The first call, in which the compiler works, is timed by itself, and comes
again for every number of lanes and every width of rows; `differs` is by how much the lanes' losses move.
"""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from frame import Benchmark, Countdown, Goal, Result, Setting, paired, run
from workbenches import MODEL, random_workbench

from trainers.adapter import AttachedAdapter, attach_adapter
from trainers.joint_model import JointModel, sharing_copy
from trainers.moe_lora import experts, moe_lora_layers
from trainers.moe_lora.packed import PackedLayer
from trainers.training_step import Accumulated, NextStep, step_rows
from trainers.workbench import Workbench

FAMILIES = ("adamw", "gradamw")
PARAMS = {"lr": 1e-4, "router_lr": 1e-4, "num_experts": 8, "top_k": 2, "rank": 4, "damping": 1e-6}
ROWS, TOKENS, PAIRS = 4, 32, 10
PARTS = (("experts",), ("blocks",), ("blocks", "experts"))

Step = Callable[[], list[float]]
"""Runs all lanes forward and backward and gives their losses in nats a token."""


def measure(setting: Setting) -> Result:
    """One row for each that is compiled; the headline is the best of them."""
    on_gpu = setting.device.type == "cuda"
    if not on_gpu:
        torch.set_num_threads(1)
    asked = list(itertools.product(PARTS, ("default", "reduce-overhead") if on_gpu else ("default",)))
    countdown = Countdown(setting, len(asked))
    bench = random_workbench(
        "bfloat16" if on_gpu else "float32",
        rows=ROWS,
        tokens=TOKENS,
        device=setting.device,
        tiny=setting.quick,
        say=setting.say,
    )
    plain = joint_step(bench)
    table, found = [], []
    for parts, mode in asked:
        torch.compiler.reset()
        compiled = compiled_step(plain, bench, parts, mode)
        with TemporaryDirectory() as cache, mock.patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache):
            began = time.monotonic()
            losses = compiled()
            first_call_s = time.monotonic() - began
        both = paired(plain, compiled, pairs=2 if setting.quick else PAIRS, device=setting.device)
        found.append(both)
        table.append(
            {
                "compiled": " and ".join(parts),
                "mode": mode,
                "first_call_s": first_call_s,
                "differs": max(abs(one - two) for one, two in zip(losses, plain(), strict=True)),
                **both.row("plain", "compiled"),
            }
        )
        countdown.turn(f"{table[-1]['compiled']}, {mode}: {table[-1]['ratio']:.2f} times")
    best = max(range(len(table)), key=lambda number: float(table[number]["ratio"]))
    return Result(ratios=found[best].ratios, table=table)


def joint_step(bench: Workbench) -> Step:
    """The passes of the lanes' first step, which may be repeated."""
    adapters = [_attached(bench, family, seed) for seed, family in enumerate(FAMILIES)]
    joint = JointModel(bench, [layer.module_name for layer in moe_lora_layers(adapters[0].model)])
    coming = [NextStep(seed=seed, step=0, micro_batch=ROWS) for seed, _ in enumerate(adapters)]
    rows = [step_rows(bench, one) for one in coming]

    def step() -> list[float]:
        made = joint.gradients(adapters, coming, rows)
        return [one.loss_nats for one in made if isinstance(one, Accumulated)]

    return step


def compiled_step(step: Step, bench: Workbench, parts: Sequence[str], mode: str) -> Step:
    """The same step, with the parts' functions compiled in place of the plain ones while it runs."""
    in_place: list[tuple[Any, str, Callable[..., Any]]] = []
    if "experts" in parts:
        in_place += [
            (experts, name, torch.compile(getattr(experts, name), mode=mode))
            for name in ("mix", "expert_gradients")
        ]
    if "blocks" in parts:
        block = type(bench.foundation.model.get_submodule("model.layers.0"))
        in_place += [
            (PackedLayer, "forward", torch.compiler.disable(PackedLayer.forward)),
            (block, "forward", torch.compile(block.forward, mode=mode)),
        ]

    def compiled() -> list[float]:
        with ExitStack() as stack:
            for owner, name, function in in_place:
                stack.enter_context(mock.patch.object(owner, name, function))
            return step()

    return compiled


def _attached(bench: Workbench, family: str, seed: int) -> AttachedAdapter:
    own = replace(bench, foundation=replace(bench.foundation, model=sharing_copy(bench.foundation.model)))
    return attach_adapter(own, family=family, params=PARAMS, seed=seed)


BENCHMARK = Benchmark(
    name="compiled",
    question=f"How much quicker are a pack's passes with torch.compile, on {MODEL}?",
    goal=Goal(at_least=1.05),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
