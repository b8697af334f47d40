"""What does a whole training step cost over the bare base?

The step is the trainers' own: batch, forward, loss, backward, clipping, optimizer, for adapters with 20 experts of rank
4 on q, k, v and o of SmolLM2-135M, 8 rows of 64 tokens, dropout on. The bare base runs the same rows to the same logits
and back to its input embeddings, and has no gradient of any weight. `profile` compares the time that operations
take of themselves in a step of both sides.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from frame import Benchmark, Countdown, Goal, Paired, Result, Setting, paired, profiled, run
from transformers.utils import logging
from workbenches import SEED, DType, random_workbench

from trainers.adapter import attach_adapter
from trainers.batches import Batch, make_batch
from trainers.objective import training_loss
from trainers.training_step import Interval, NextStep, accumulate_gradients, apply_gradients, step_rows
from trainers.workbench import Workbench

FAMILIES = ("adamw", "radamw")
PAIRS = 6
ROWS, TOKENS = 8, 64
PARAMS = {"lr": 1e-4, "router_lr": 1e-4, "num_experts": 20, "top_k": 10, "rank": 4}


@dataclass(frozen=True, kw_only=True)
class Sides:
    """One step of training, and the base alone on the same rows."""

    ours: Callable[[], object]
    bare: Callable[[], object]


def measure(setting: Setting) -> Result:
    """Two families, and both dtypes where the processor has them; the headline is AdamW in the device's own."""
    logging.disable_progress_bar()
    main: DType = "bfloat16" if setting.device.type == "cuda" else "float32"
    other: DType = "float32" if main == "bfloat16" else "bfloat16"
    asked: list[tuple[DType, str]] = [(main, family) for family in FAMILIES]
    if main == "bfloat16" or torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001 (torch has no other)
        asked.append((other, FAMILIES[0]))
    else:
        setting.say(
            "This processor has no instructions for bfloat16, whose row is left out: a step takes minutes."
        )
    countdown = Countdown(setting, len(asked))
    found: list[Paired] = []
    table, shares = [], []
    for dtype, family in asked:
        sides = _sides(dtype, family, setting)
        found.append(
            paired(sides.ours, sides.bare, pairs=2 if setting.quick else PAIRS, device=setting.device)
        )
        table.append({"dtype": dtype, "family": family, **found[-1].row("ours", "base")})
        countdown.turn(f"{dtype}, {family}: {table[-1]['ratio']:.2f} times")
        if len(found) == 1:
            both = {"ours": sides.ours, "base": sides.bare}
            shares = profiled(both, setting.device, by="extra_ms")
    return Result(ratios=found[0].ratios, table=table, more={"profile": shares})


def _sides(dtype: DType, family: str, setting: Setting) -> Sides:
    workbench = random_workbench(
        dtype, rows=ROWS, tokens=TOKENS, device=setting.device, tiny=setting.quick, say=setting.say
    )
    bare_model = copy.deepcopy(workbench.foundation.model)
    bare_model.enable_input_require_grads()
    adapter = attach_adapter(workbench, family=family, params=PARAMS, seed=SEED)
    interval = Interval()

    def ours() -> None:
        step = interval.num_steps
        made = accumulate_gradients(workbench, adapter, seed=SEED, step=step, micro_batch=ROWS)
        apply_gradients(adapter, made, lr_frac=1.0, interval=interval)

    def bare() -> float:
        loss_sum, _ = training_loss(bare_model, _batch(workbench, interval.num_steps))
        torch.autograd.backward(loss_sum)
        return loss_sum.item()

    return Sides(ours=ours, bare=bare)


def _batch(workbench: Workbench, step: int) -> Batch:
    """The rows that training would take."""
    rows = step_rows(workbench, NextStep(seed=SEED, step=step, micro_batch=ROWS))
    return make_batch(rows.pieces[0], workbench.foundation, rows.width)


BENCHMARK = Benchmark(
    name="over_base",
    question="How long is a whole training step, measured in passes of the bare base?",
    goal=Goal(at_most=1.15),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
