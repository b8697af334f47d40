"""How much sooner are a trial's perturbed scores made in lanes than one by one on its adapter?

Both sides score one adapter, with 8 experts of rank 4 on q, k, v and o of SmolLM2-135M: every expert dropped in turn,
one expert more and one fewer a token, noise and temperature on the routers, weights of 8 and of 4 bits. With dropped
words an evaluation has rows of its own and shares no lanes, so that it is left out. On a CPU both sides have one
thread, as a pack has. 32 rows of 32 tokens are a full pass of an evaluation there, and a larger split is more of them;
four rows leave room. That the sides' figures are the same is for tests/trainers/test_pack_perturbations.py to say.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from frame import Benchmark, Countdown, Goal, Result, Setting, paired, run
from workbenches import MODEL, SEED, random_workbench

from trainers.adapter import attach_adapter
from trainers.joint_model import JointModel, sharing_copy
from trainers.moe_lora import adapter_parameters, moe_lora_layers
from trainers.objective import Evaluation
from trainers.perturbation_kinds import Perturbation
from trainers.perturbations import (
    DisturbedEvaluation,
    disturbed_evaluations,
    perturbation_metrics,
    perturbed_scores,
)
from trainers.workbench import Workbench

PARAMS = {"lr": 1e-4, "router_lr": 1e-4, "num_experts": 8, "top_k": 2, "rank": 4}
PERTURBATIONS = (
    *[Perturbation(kind=kind) for kind in ("expert_dropped", "top_k_minus_1", "top_k_plus_1")],
    *[Perturbation(kind=kind, amount=2.0) for kind in ("router_noise", "router_temperature")],
    *[Perturbation(kind="weights_bits", amount=bits) for bits in (8, 4)],
)
TOKENS = 32
SIZES = {(4, 2): 6, (4, 4): 6, (4, 8): 6, (32, 4): 3}
"""Pairs by rows and lanes."""

Scoring = Callable[[], dict[str, float]]


def measure(setting: Setting) -> Result:
    """One row for each number of rows and of lanes; the headline is a full pass."""
    if setting.device.type == "cpu":
        torch.set_num_threads(1)
    countdown = Countdown(setting, len(SIZES))
    bench = random_workbench(
        "float32" if setting.device.type == "cpu" else "bfloat16",
        rows=2,
        tokens=TOKENS,
        device=setting.device,
        tiny=setting.quick,
        say=setting.say,
    )
    table, found = [], []
    for (rows, lanes), pairs in SIZES.items():
        data = replace(bench.data, report=bench.data.train[:rows])
        one_by_one, in_lanes = _sides(replace(bench, data=data), lanes)
        both = paired(one_by_one, in_lanes, pairs=2 if setting.quick else pairs, device=setting.device)
        found.append(both)
        table.append({"rows": rows, "lanes": lanes, **both.row("one_by_one", "in_lanes")})
        countdown.turn(f"{rows} rows, {lanes} lanes: {table[-1]['ratio']:.2f} times")
    return Result(ratios=found[-1].ratios, table=table)


def _sides(bench: Workbench, num_lanes: int) -> tuple[Scoring, Scoring]:
    """The scores of an adapter whose every weight counts, one by one and in lanes."""
    own = replace(bench, foundation=replace(bench.foundation, model=sharing_copy(bench.foundation.model)))
    adapter = attach_adapter(own, family="sgd", params=PARAMS, seed=SEED)
    with torch.no_grad():
        for pair in adapter_parameters(adapter.model).experts:
            pair.B.normal_(std=0.02)
    joint = JointModel(bench, [layer.module_name for layer in moe_lora_layers(adapter.model)])

    def one_by_one() -> dict[str, float]:
        return perturbed_scores(adapter, own, PERTURBATIONS, seed=SEED)

    def in_lanes() -> dict[str, float]:
        waiting = disturbed_evaluations(adapter, PERTURBATIONS, seed=SEED)
        scores: dict[DisturbedEvaluation, Evaluation] = {}
        while waiting:
            lanes, waiting = waiting[:num_lanes], waiting[num_lanes:]
            scores |= zip(lanes, joint.evaluate_disturbed(lanes, bench.data.report), strict=True)
        return perturbation_metrics(scores)

    return one_by_one, in_lanes


BENCHMARK = Benchmark(
    name="perturbed",
    question=f"How much sooner are a trial's perturbed scores made in lanes than one by one, on {MODEL}?",
    goal=Goal(at_least=1.0),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
