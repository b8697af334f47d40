"""Perturbed adapters in packs: an evaluation a lane, each to the bit what it is on the lone adapter."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.trainers.test_pack import alone, even_bench, one_thread, setups, together
from tests.trainers.test_perturbations import ALL
from tests.trainers.test_trial import PARAMS, bench
from trainers import joint_model
from trainers.adapter import AttachedAdapter, attach_adapter
from trainers.joint_model import JointModel
from trainers.moe_lora import adapter_parameters, moe_lora_layers
from trainers.objective import Evaluation
from trainers.pack import Pack
from trainers.perturbation_kinds import Perturbation
from trainers.perturbations import disturbed_evaluations, perturbation_metrics, perturbed_scores
from trainers.tasks import Example
from trainers.trial import Trial, TrialSetup
from trainers.workbench import Workbench, open_workbench

__all__ = ["one_thread"]

INFINITE = Perturbation(kind="router_noise", amount=3e38)
"""Makes logits infinite, and the loss no number."""


def perturbed(folder: Path, *, number: int, mixed: bool = True) -> list[TrialSetup]:
    members = setups(folder, mixed=mixed)[:number]
    return [replace(one, perturbations=(*ALL, INFINITE)) for one in members]


def lanes_of_passes(monkeypatch: pytest.MonkeyPatch, most: int = 100) -> list[int]:
    """With how many lanes disturbed adapters are scored; more than the most are out of memory."""
    real, tried = joint_model.evaluate_lanes, []

    def scarce(model, examples, facts, num_lanes, **options: object):
        if num_lanes > most:
            raise torch.OutOfMemoryError("no room")
        return real(model, examples, facts, num_lanes, **options)

    real_disturbed = JointModel.evaluate_disturbed

    def counted(self, evaluations, examples):
        tried.append(len(evaluations))
        return real_disturbed(self, evaluations, examples)

    monkeypatch.setattr(joint_model, "evaluate_lanes", scarce)
    monkeypatch.setattr(JointModel, "evaluate_disturbed", counted)
    return tried


@pytest.mark.parametrize("make_bench", [even_bench, bench])
@pytest.mark.parametrize("mixed", [False, True])
def test_every_perturbation_scores_in_company_what_it_scores_alone_to_the_bit(
    tmp_path, monkeypatch, make_bench: Callable[[Path], Workbench], mixed
):
    """Mixed experts, ranks and top-k have impossible perturbations; infinite noise is absent everywhere."""
    shared = make_bench(tmp_path)
    members = perturbed(tmp_path, number=9, mixed=mixed)
    tried = lanes_of_passes(monkeypatch)
    found = together(members, Pack(shared, 4), 4)
    assert max(tried) == 4
    assert found == alone(members, shared)
    names = {key: set(said[-1]["ending"]["metrics"]) for key, said in found.items()}
    missing = {key for key, has in names.items() if "perturbed.top_k_minus_1.loss" not in has}
    assert bool(missing) == mixed
    assert all("perturbed.words_dropped_0.3.loss" in has for has in names.values())
    assert not any(f"perturbed.{INFINITE.name}.loss" in has for has in names.values())


def test_a_trial_that_ends_alone_uses_all_lanes(tmp_path, monkeypatch):
    shared = even_bench(tmp_path)
    (one,) = perturbed(tmp_path, number=1)
    tried = lanes_of_passes(monkeypatch)
    together([one], Pack(shared, 5), 5)
    assert tried == [5, 5, 1, 1]  # 4 experts and 7 perturbations read the same rows, one has rows of its own


def test_trials_that_end_together_share_passes(tmp_path, monkeypatch):
    """Of one seed, they lose the same words and share these passes as well."""
    shared = even_bench(tmp_path)
    members = [replace(one, seed=5, steps=4) for one in perturbed(tmp_path, number=3, mixed=False)]
    tried = lanes_of_passes(monkeypatch)
    assert together(members, Pack(shared, 3), 3) == alone(members, shared)
    assert tried == [3] * 12


def test_out_of_memory_scores_fewer_at_a_time(tmp_path, monkeypatch):
    shared = even_bench(tmp_path)
    members = perturbed(tmp_path, number=2)
    expected = alone(members, shared)
    tried = lanes_of_passes(monkeypatch, most=2)
    assert together(members, Pack(shared, 5), 5) == expected
    assert tried[:4] == [5, 3, 2, 2]
    assert set(tried[4:]) <= {5, 3, 2, 1}


def test_without_room_for_a_lane_each_trial_scores_its_own_adapter(tmp_path, monkeypatch):
    shared = even_bench(tmp_path)
    members = perturbed(tmp_path, number=2)
    expected = alone(members, shared)
    lanes_of_passes(monkeypatch, most=0)
    assert together(members, Pack(shared, 2), 2) == expected


def test_without_room_for_the_lone_adapter_the_trial_ends_so(tmp_path, monkeypatch):
    from trainers import trial

    def scarce(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    shared = even_bench(tmp_path)
    lanes_of_passes(monkeypatch, most=0)
    monkeypatch.setattr(trial, "perturbed_scores", scarce)
    (said,) = together(perturbed(tmp_path, number=1), Pack(shared, 2), 2).values()
    assert said[-1]["ending"]["outcome"] == "out_of_memory"


def adapters_of(shared: Workbench, experts: Sequence[int]) -> list[AttachedAdapter]:
    """Adapters in the lanes of a pack, whose every weight counts."""
    found = [
        attach_adapter(own, family="sgd", params={**PARAMS, "num_experts": number}, seed=number)
        for own, number in zip(Pack(shared, len(experts))._benches, experts, strict=True)
    ]
    for number, one in enumerate(found):
        for pair in adapter_parameters(one.model).experts:
            pair.B.data.normal_(generator=torch.Generator().manual_seed(number))
    return found


def joint_model_of(shared: Workbench, adapter: AttachedAdapter) -> JointModel:
    return JointModel(shared, [layer.module_name for layer in moe_lora_layers(adapter.model)])


def test_an_adapter_that_is_not_a_number_leaves_its_neighbours_alone(tmp_path):
    shared = even_bench(tmp_path)
    sound, sick = adapters_of(shared, [3, 4])
    for weight in sick.parameters:
        weight.data.fill_(math.nan)
    before = [weight.clone() for weight in sound.parameters]
    mine = disturbed_evaluations(sound, ALL[:-1], seed=1)
    lanes = [*mine, *disturbed_evaluations(sick, ALL[:-1], seed=1)]
    joint = joint_model_of(shared, sound)
    scores = dict(zip(lanes, joint.evaluate_disturbed(lanes, shared.data.report), strict=True))
    expected = perturbed_scores(sound, shared, ALL[:-1], seed=1)
    assert perturbation_metrics({one: scores[one] for one in mine}) == expected
    assert all(math.isnan(scores[one].loss_nats) for one in lanes if one.adapter is sick)
    usual = [scores for scores, _ in joint.evaluate([sound, sick], shared.data.report)]
    assert usual[0] == sound.evaluate(shared, shared.data.report)  # nothing of the disturbances stays
    assert all(torch.equal(*pair) for pair in zip(before, sound.parameters, strict=True))


def test_a_trial_that_has_diverged_asks_for_nothing(tmp_path):
    shared = even_bench(tmp_path)
    (one,) = perturbed(tmp_path, number=1)
    trial = Trial(one, shared)
    trial.advance()
    well, lost = (
        (Evaluation(loss_nats=loss, accuracy=0.5, num_rows=16), {})
        for loss in (trial.reports[0].metrics["select_loss_nats"], math.nan)
    )
    assert len(trial.disturbed_evaluations(well, well)) == 12
    too_large = torch.OutOfMemoryError("no room")
    for select, report in ((lost, well), (well, lost), (too_large, well), (well, too_large)):
        assert trial.disturbed_evaluations(select, report) == []
    trial.close()


def generating_bench(folder: Path) -> Workbench:
    made = bench(folder).workload
    made = made.model_copy(update={"task": made.task.model_copy(update={"scoring": "generate"})})
    return open_workbench(made, folder, folder / "cache", "cpu")


def test_trials_that_generate_answers_share_lanes_as_well(tmp_path, monkeypatch):
    shared = generating_bench(tmp_path)
    members = perturbed(tmp_path, number=4)
    tried = lanes_of_passes(monkeypatch)
    assert together(members, Pack(shared, 4), 4) == alone(members, shared)
    assert max(tried) == 4


def test_each_lane_generates_its_own_answers(tmp_path):
    """Every row's options are what the adapters say to it, of three tokens, and the first one's is right."""
    shared = generating_bench(tmp_path)
    adapters = adapters_of(shared, [3, 4])
    examples = [
        replace(example, option_ids=tuple(said_by(one, example) for one in adapters), answer=0)
        for example in shared.data.report
    ]
    shared = replace(shared, data=replace(shared.data, report=examples))
    joint = joint_model_of(shared, adapters[0])
    first, second = joint.evaluate(adapters, examples)
    assert first[0].accuracy == 1
    assert second[0].accuracy < 1
    assert [first, second] == [one.evaluate_with_routing(shared, examples) for one in adapters]
    plain = ALL[:-1]
    lanes = [disturbed_evaluations(one, plain, seed=1) for one in adapters]
    flat = [*itertools.chain.from_iterable(lanes)]
    scores = dict(zip(flat, joint.evaluate_disturbed(flat, examples), strict=True))
    found = [perturbation_metrics({one: scores[one] for one in mine}) for mine in lanes]
    assert found == [perturbed_scores(one, shared, plain, seed=1) for one in adapters]
    accuracies = {value for name, value in found[0].items() if name.endswith("accuracy")}
    assert len(accuracies) > 2


def said_by(adapter: AttachedAdapter, example: Example) -> tuple[int, ...]:
    """Three tokens of a greedy decoding by itself."""
    adapter.set_training(training=False)
    output = adapter.model.generate(
        input_ids=torch.tensor([example.prompt_ids]), max_new_tokens=3, do_sample=False, eos_token_id=None
    )
    return tuple(output[0, -3:].tolist())
