"""The life of lanes: joined, left, refilled, diverged, out of memory; neighbours never notice."""

from dataclasses import dataclass, replace
from weakref import ref

import pytest
import torch
from safetensors import SafetensorError

from search_spaces.errors import SpecError
from study.packs.failures import STORE_FAILURES, in_a_line
from tests.trainers.test_pack import alone, even_bench, one_thread, setups, together
from tests.trainers.test_trial import bench, figures, run, setup
from trainers.pack import Pack
from trainers.reports import Report
from trainers.tasks import Example
from trainers.training_step import NextStep, step_rows
from trainers.trial import Trial

__all__ = ["one_thread"]


def test_lanes_are_refilled_while_the_others_go_on(tmp_path):
    shared = even_bench(tmp_path)
    members = setups(tmp_path)
    assert together(members, Pack(shared, 3), 3) == alone(members, shared)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_lane_that_is_not_a_number_touches_no_neighbour(tmp_path, mixed):
    """Neighbours measure to the bit what they do beside a healthy trial of the same shape."""
    shared = even_bench(tmp_path)
    members = setups(tmp_path / "sick", mixed=mixed)[:5]
    members[1] = replace(members[1], steps=8)
    expected = together(members, Pack(shared, 5), 5)
    healthy = [replace(one, checkpoint_dir=one.checkpoint_dir / "healthy") for one in members]
    pack = Pack(shared, 5)
    reports: dict[str, list[Report]] = {one.key: [] for one in healthy}
    for one in healthy:
        pack.seat(one)
    while len(pack.free_lanes) < 5:
        for said in pack.advance():
            reports[said.key].append(said.report)
        sick = pack._trials[1]
        if sick is not None and len(reports[healthy[0].key]) == 3:
            for weight in sick.adapter.parameters:
                weight.data.fill_(float("nan"))
    ending = reports[healthy[1].key][-1].ending
    assert ending is not None
    assert ending.outcome == "diverged"
    assert "nan" in ending.reason
    for one in [healthy[0], *healthy[2:]]:
        assert figures(reports[one.key]) == expected[one.key]


def test_a_diverging_trial_ends_as_it_does_alone(tmp_path):
    shared = even_bench(tmp_path)
    members = setups(tmp_path)[:3]
    members.append(replace(setup(tmp_path / "wild", family="sgd", lr=1e30), key="wild"))
    measured = together(members, Pack(shared, 4), 4)
    assert measured == alone(members, shared)
    assert measured["wild"][-1]["ending"]["outcome"] == "diverged"


def test_a_stopped_trial_goes_on_elsewhere_from_its_checkpoint(tmp_path):
    shared = even_bench(tmp_path)
    members = setups(tmp_path)[:3]
    expected = alone(members, shared)
    pack = Pack(shared, 3)
    for one in members:
        pack.seat(one)
    for _ in range(5):
        pack.advance()
    pack.stop(1)
    assert pack.free_lanes == (1,)
    assert figures(run(Trial(members[1], shared))) == expected[members[1].key]
    pack.close()
    resumed = Pack(shared, 2)  # both go on from step 3
    lanes = {resumed.seat(members[index]): members[index].key for index in (0, 2)}
    reports: dict[str, list[Report]] = {key: [] for key in lanes.values()}
    while len(resumed.free_lanes) < 2:
        for said in resumed.advance():
            reports[said.key].append(said.report)
    for key, said in reports.items():
        assert figures(said) == [one for one in expected[key] if one["step"] > 3]


def test_lanes_measure_nothing_again_that_came_after_their_checkpoints(tmp_path):
    shared = even_bench(tmp_path)
    members = setups(tmp_path)[:2]
    pack = Pack(shared, 2)
    for one in members:
        pack.seat(one)
    for _ in range(5):
        pack.advance()
    before = [pack.reports(lane) for lane in (0, 1)]
    assert [[report.step for report in reports] for reports in before] == [[0, 2, 4], [0, 2, 4]]
    pack.close()
    resumed = Pack(shared, 2)  # both go on from step 3
    for one in members:
        resumed.seat(one)
    again = [list(resumed.reports(lane)) for lane in (0, 1)]
    for said in resumed.advance():
        again[said.lane].append(said.report)
    assert again == [list(reports) for reports in before]  # to the seconds that they took
    resumed.close()
    expected = alone(members, shared)
    assert [figures(run(Trial(one, shared))) for one in members] == [expected[one.key] for one in members]


def test_a_trial_that_was_over_repeats_its_last_report(tmp_path):
    shared = even_bench(tmp_path)
    one = setup(tmp_path)
    last = run(Trial(one, shared))[-1]
    pack = Pack(shared, 1)
    pack.seat(one)
    assert [figures([said.report]) for said in pack.advance()] == [figures([last])]
    assert pack.free_lanes == (0,)


def test_the_base_runs_once_for_all_lanes_and_stays_as_it_was(tmp_path):
    shared = even_bench(tmp_path)
    base = shared.foundation.model
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    pack = Pack(shared, 3)
    for one in setups(tmp_path)[:3]:
        pack.seat(one)
    pack.advance()
    joint = pack._joint_model(pack._trials[0].adapter)._model
    sizes = []
    joint.register_forward_pre_hook(
        lambda _, __, named: sizes.append(len(named["input_ids"])), with_kwargs=True
    )
    pack.advance()
    assert sizes == [3 * 4]
    assert joint.lm_head.weight is base.lm_head.weight
    pack.close()
    assert all(torch.equal(before[name], weight) for name, weight in base.state_dict().items())
    assert before.keys() == base.state_dict().keys()


def scarce_memory(monkeypatch: pytest.MonkeyPatch, max_rows: int) -> list[int]:
    """Let passes of more rows than these fail; returns the sizes that were tried."""
    from trainers import joint_model

    real, tried = joint_model.target_losses, []

    def scarce(model, batch):
        tried.append(len(batch.input_ids))
        if tried[-1] > max_rows:
            raise torch.OutOfMemoryError("no room")
        return real(model, batch)

    monkeypatch.setattr(joint_model, "target_losses", scarce)
    return tried


def test_out_of_memory_lets_fewer_lanes_train_at_a_time(tmp_path, monkeypatch):
    shared = even_bench(tmp_path)
    members = setups(tmp_path)[:5]
    expected = alone(members, shared)
    tried = scarce_memory(monkeypatch, 8)
    assert together(members, Pack(shared, 5), 5) == expected
    assert sum(size > 8 for size in tried) == 2


@pytest.mark.parametrize("load_balance_weight", [0.0, 0.01])
def test_passes_that_did_not_fit_leave_their_memory_to_the_next(tmp_path, monkeypatch, load_balance_weight):
    from trainers import joint_model

    @dataclass(eq=False)
    class Saved:
        tensor: torch.Tensor

    real, saved, num_kept = joint_model.target_losses, [], []

    def pack(tensor):
        one = Saved(tensor.detach())  # an output would hold itself by its graph
        saved.append(ref(one))
        return one

    def scarce(model, batch):
        num_kept.append(sum(one() is not None for one in saved))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor):
            losses = real(model, batch)
        if len(batch.input_ids) > 4:
            raise torch.OutOfMemoryError("no room")
        return losses

    shared = even_bench(tmp_path, adapter={"load_balance_weight": load_balance_weight})
    trained = Pack(shared, 3)
    for one in setups(tmp_path)[:3]:
        trained.seat(one)
    trained.advance()
    monkeypatch.setattr(joint_model, "target_losses", scarce)
    trained.advance()
    assert len(saved) > 100
    assert len(num_kept) > 3
    assert set(num_kept) == {0}


def test_out_of_memory_in_one_lane_halves_its_micro_batch(tmp_path, monkeypatch):
    shared = even_bench(tmp_path)
    members = setups(tmp_path)[:2]
    scarce_memory(monkeypatch, 1)
    for reports in together(members, Pack(shared, 2), 2).values():
        assert reports[-1]["ending"]["outcome"] == "finished"
        assert reports[-1]["metrics"]["micro_batch"] == 1


def test_out_of_memory_with_one_row_is_an_outcome(tmp_path, monkeypatch):
    shared = even_bench(tmp_path)
    scarce_memory(monkeypatch, 0)
    (reports,) = together([setup(tmp_path)], Pack(shared, 2), 2).values()
    assert reports[-1]["ending"]["outcome"] == "out_of_memory"


@pytest.mark.parametrize("split", ["select", "report"])
def test_a_lane_whose_evaluation_does_not_fit_ends_and_no_other(tmp_path, monkeypatch, split):
    from trainers.adapter import AttachedAdapter
    from trainers.joint_model import JointModel

    shared = even_bench(tmp_path)
    members = setups(tmp_path)[:3]
    expected = alone(members, shared)
    pack = Pack(shared, 3)
    for one in members:
        pack.seat(one)
    too_large, examples = pack._trials[1].adapter, getattr(shared.data, split)
    joint, lone = JointModel.evaluate, AttachedAdapter.evaluate_with_routing

    def scarce(real):
        def evaluate(self, first, second):
            adapters = [self] if real is lone else first
            if too_large in adapters and second is examples:
                raise torch.OutOfMemoryError("no room")
            return real(self, first, second)

        return evaluate

    monkeypatch.setattr(JointModel, "evaluate", scarce(joint))
    monkeypatch.setattr(AttachedAdapter, "evaluate_with_routing", scarce(lone))
    said = [one for _ in range(20) for one in pack.advance()]
    told = {one.key: [other.report for other in said if other.key == one.key] for one in members}
    ending = told[members[1].key][-1].ending
    assert ending.outcome == "out_of_memory"
    for one in (members[0], members[2]):
        assert figures(told[one.key]) == expected[one.key]


def test_what_a_pack_cannot_hold_is_refused(tmp_path):
    shared = even_bench(tmp_path)
    pack = Pack(shared, 1)
    pack.seat(setup(tmp_path))
    with pytest.raises(ValueError, match="All 1 lanes are taken"):
        pack.seat(setup(tmp_path))
    with pytest.raises(ValueError, match="at least 1"):
        Pack(shared, 0)
    with pytest.raises(SpecError, match=r"is an encoder, .* write resources\.lanes 1"):
        Pack(bench(tmp_path, encoder=True), 2)


def test_an_encoder_trains_in_a_pack_of_one_lane(tmp_path):
    shared = bench(tmp_path, encoder=True)
    members = [replace(setup(tmp_path / str(seed), seed=seed), key=str(seed)) for seed in (3, 4)]
    assert together(members, Pack(shared, 1), 1) == alone(members, shared)


def test_a_full_disk_ends_one_lane_and_no_other(tmp_path, monkeypatch):
    from trainers import trial

    shared = even_bench(tmp_path)
    members = setups(tmp_path)[:3]
    expected = alone(members, shared)
    real = trial.save_checkpoint

    def full_for_one(folder, checkpoint):
        if folder == members[1].checkpoint_dir and checkpoint.step >= 3:
            raise OSError(28, "No space left on device")
        return real(folder, checkpoint)

    monkeypatch.setattr(trial, "save_checkpoint", full_for_one)
    pack = Pack(shared, 3)
    for one in members:
        pack.seat(one)
    said = [one for _ in range(20) for one in pack.advance()]
    failures = [one for one in said if one.failure is not None]
    assert [(one.lane, one.key, one.report) for one in failures] == [(1, members[1].key, None)]
    assert "No space left" in str(failures[0].failure)
    assert pack.free_lanes == (0, 1, 2)
    for one in (members[0], members[2]):
        assert figures([told.report for told in said if told.key == one.key]) == expected[one.key]


def test_a_disk_that_is_full_when_an_adapter_is_kept_ends_one_lane_and_no_other(tmp_path, monkeypatch):
    from peft import peft_model

    shared = even_bench(tmp_path)
    members = setups(tmp_path)[:3]
    expected = alone(members, shared)
    real = peft_model.safe_save_file

    def full_for_one(weights, path, **kept: object):
        if str(path).startswith(str(members[1].adapter_dir)):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        return real(weights, path, **kept)

    monkeypatch.setattr(peft_model, "safe_save_file", full_for_one)
    pack = Pack(shared, 3)
    for one in members:
        pack.seat(one)
    said = [one for _ in range(20) for one in pack.advance()]
    (failed,) = (one for one in said if one.failure is not None)
    assert (failed.key, failed.report) == (members[1].key, None)
    assert STORE_FAILURES.search(in_a_line(failed.failure))
    for one in (members[0], members[2]):
        assert figures([told.report for told in said if told.key == one.key]) == expected[one.key]


def test_a_restored_trial_shows_all_that_it_reported(tmp_path):
    shared = even_bench(tmp_path)
    one = setup(tmp_path)
    pack = Pack(shared, 2)
    pack.seat(one)
    said = [told.report for _ in range(4) for told in pack.advance()]
    pack.close()
    resumed = Pack(shared, 2)
    lane = resumed.seat(one)
    assert figures(resumed.reports(lane)) == figures(said)
    assert resumed.reports(1) == ()


def test_lanes_of_another_width_run_in_passes_of_their_own(tmp_path):
    """Rows of 40 positions beside rows of 10: neither is padded to the other's bucket."""
    shared = bench(tmp_path)
    long = Example(prompt_ids=(5,) * 40, option_ids=shared.data.train[0].option_ids, answer=0)
    half = len(shared.data.train) // 2
    train = (*shared.data.train[:half], *[long] * half)
    task = shared.workload.task.model_copy(update={"max_tokens": 64})
    shared = replace(
        shared,
        data=replace(shared.data, train=train),
        workload=shared.workload.model_copy(update={"task": task}),
    )
    members = setups(tmp_path, mixed=True)[:4]
    rows = [
        step_rows(shared, NextStep(seed=one.seed, step=step, micro_batch=1))
        for one in members
        for step in (0, 1)
    ]
    assert {one.width for one in rows} <= {32, 63}
    assert together(members, Pack(shared, 4), 4) == alone(members, shared)
