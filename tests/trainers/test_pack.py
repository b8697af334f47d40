"""Packs: a trial measures in company, to the bit on one thread in float32, what it measures alone."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search_spaces.families import FAMILIES
from tests.trainers.test_trial import figures, run, setup, workload
from trainers.moe_lora.gating import lane_top_k_gates, top_k_gates
from trainers.pack import Pack
from trainers.reports import Report
from trainers.trial import Trial, TrialSetup
from trainers.workbench import Workbench, open_workbench
from trainers.workload import Variant

SHAPES = [
    {"num_experts": 4, "top_k": 2, "rank": 2},
    {"num_experts": 12, "top_k": 5, "rank": 1},
    {"num_experts": 3, "top_k": 3, "rank": 4},
    {"num_experts": 6, "top_k": 1, "rank": 3},
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def even_bench(folder: Path, *, adapter: dict[str, object] | None = None, **training: object) -> Workbench:
    """A workbench on which every row has as many tokens: digits are tokens of their own."""
    rows = [
        {"text": f"{number:02d} is {label}{number % 10}", "label": label}
        for number in range(40)
        for label in "78"
    ]
    path = folder / "even.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    made = workload(folder, **training)
    task = made.task.model_copy(update={"path": str(path), "options": ("7", "8")})
    made = made.model_copy(update={"task": task, "adapter": made.adapter.model_copy(update=adapter or {})})
    even = open_workbench(made, folder, folder / "cache", "cpu")
    assert len({len(row.prompt_ids) + len(row.option_ids[row.answer]) for row in even.data.train}) == 1
    return even


def setups(folder: Path, *, mixed: bool = False) -> list[TrialSetup]:
    """A trial of every family, each with its own seed, learning rate and steps."""
    return [
        replace(
            setup(
                folder / family,
                family=family,
                seed=11 + number,
                steps=6 + number % 3,
                lr=3e-2 / (1 + number % 2),
                damping=10.0 ** -(2 + number % 3),
                **({"lr_ratio": 4.0} if family == "loraplus" else {}),
                **(SHAPES[number % len(SHAPES)] if mixed else {}),
            ),
            key=family,
        )
        for number, family in enumerate(sorted(FAMILIES))
    ]


def alone(members: Sequence[TrialSetup], shared: Workbench) -> dict[str, list[dict[str, object]]]:
    return {
        one.key: figures(run(Trial(replace(one, checkpoint_dir=one.checkpoint_dir / "alone"), shared)))
        for one in members
    }


def together(members: Sequence[TrialSetup], pack: Pack, num_lanes: int) -> dict[str, list[dict[str, object]]]:
    """Reports of all, seated in turn as lanes become free."""
    waiting = list(members)
    reports: dict[str, list[Report]] = {one.key: [] for one in members}
    while waiting or len(pack.free_lanes) < num_lanes:
        while waiting and pack.free_lanes:
            pack.seat(waiting.pop(0))
        for said in pack.advance():
            reports[said.key].append(said.report)
    return {key: figures(said) for key, said in reports.items()}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("input_gradient", ["exact", "faithful"])
def test_every_family_measures_in_company_what_it_measures_alone_to_the_bit(
    tmp_path, input_gradient, dropout
):
    shared = even_bench(tmp_path, adapter={"dropout": dropout, "input_gradient": input_gradient})
    members = setups(tmp_path)
    assert together(members, Pack(shared, len(members)), len(members)) == alone(members, shared)


def test_mixed_ranks_keep_every_bit(tmp_path):
    shared = even_bench(tmp_path)
    members = [
        replace(one, params={**one.params, "rank": 1 + number % 4})
        for number, one in enumerate(setups(tmp_path))
    ]
    assert together(members, Pack(shared, len(members)), len(members)) == alone(members, shared)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("input_gradient", ["exact", "faithful"])
def test_mixed_shapes_keep_every_bit(tmp_path, input_gradient, dropout):
    shared = even_bench(tmp_path, adapter={"dropout": dropout, "input_gradient": input_gradient})
    members = setups(tmp_path, mixed=True)
    assert together(members, Pack(shared, len(members)), len(members)) == alone(members, shared)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("input_gradient", ["exact", "faithful"])
def test_mixed_lengths_keep_every_bit(tmp_path, input_gradient, dropout):
    made = workload(tmp_path)
    adapter = made.adapter.model_copy(update={"dropout": dropout, "input_gradient": input_gradient})
    made = made.model_copy(update={"adapter": adapter})
    shared = open_workbench(made, tmp_path, tmp_path / "cache", "cpu")
    members = setups(tmp_path, mixed=True)
    assert together(members, Pack(shared, len(members)), len(members)) == alone(members, shared)


def test_gates_of_mixed_lanes_are_those_of_each_lane():
    """The batched form, which accelerators use."""
    kinds = [(4, 2), (12, 5), (3, 3), (6, 1)]
    logits_LTE = torch.randn(4, 50, 12, generator=torch.Generator().manual_seed(0))
    experts_L11, top_k_L11 = (torch.tensor(column)[:, None, None] for column in zip(*kinds, strict=True))
    gates_LTE, selected_LTE = lane_top_k_gates(logits_LTE, top_k_L11, experts_L11, 5)
    for lane, (num_experts, top_k) in enumerate(kinds):
        gates, selected = top_k_gates(logits_LTE[lane : lane + 1, :, :num_experts], top_k)
        assert torch.equal(selected_LTE[lane, :, :num_experts], selected[0])
        torch.testing.assert_close(gates_LTE[lane, :, :num_experts], gates[0], rtol=1e-6, atol=0)
        assert not gates_LTE[lane, :, num_experts:].any()
        assert not selected_LTE[lane, :, num_experts:].any()


def test_lanes_may_differ_in_what_a_variant_fixes(tmp_path):
    shared = even_bench(tmp_path)
    fixed = [
        {"input_gradient": "faithful"},
        {"input_gradient": "exact"},
        {"gate_exponent": 0.25},
        {"gate_exponent": 0.0, "input_gradient": "faithful"},
        {"simultaneous": False, "bias_correction": False},
    ]
    members = [
        replace(
            setup(tmp_path / str(number), seed=number, family="gradamw"),
            key=str(number),
            variant=Variant(of="gradamw", **one),
        )
        for number, one in enumerate(fixed)
    ]
    assert together(members, Pack(shared, len(members)), len(members)) == alone(members, shared)


@pytest.mark.parametrize(
    "options",
    [{"micro_batch": 3}, {"gradient_checkpointing": True}, {"warmup": 0.3, "expert_max_norm": 1e-3}],
)
def test_recipes_measure_the_same(tmp_path, options):
    shared = even_bench(tmp_path, **options)
    members = setups(tmp_path)[:4]
    assert together(members, Pack(shared, 4), 4) == alone(members, shared)


def test_load_balancing_stays_within_each_lane(tmp_path):
    shared = even_bench(tmp_path, adapter={"load_balance_weight": 0.1})
    same = setups(tmp_path / "same")[:3]
    assert together(same, Pack(shared, 3), 3) == alone(same, shared)
    members = setups(tmp_path / "mixed", mixed=True)[:4]
    assert together(members, Pack(shared, 4), 4) == alone(members, shared)
