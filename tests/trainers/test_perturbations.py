"""Robustness at inference: what each perturbation does, that it is undone, and that it repeats."""

import math
from dataclasses import replace

import pytest
import torch

from search_spaces.errors import SpecError
from tests.trainers import test_trial
from tests.trainers.test_trial import bench, figures, run, setup
from trainers import trial as trial_module
from trainers.adapter import attach_adapter
from trainers.moe_lora import adapter_parameters, moe_lora_layers
from trainers.moe_lora.disturbance import Disturbance, disturbed_gating, quantized, quantized_experts
from trainers.moe_lora.gating import top_k_gates
from trainers.perturbation_kinds import KINDS, Perturbation, perturbation_from_json
from trainers.perturbations import perturbed_scores, with_words_dropped
from trainers.tasks import Row
from trainers.trial import Trial

ALL = tuple(
    perturbation_from_json(written)
    for written in (
        *["expert_dropped", "top_k_minus_1", "top_k_plus_1"],
        *[{"router_noise": 0.5}, {"router_temperature": 2.0}],
        *[{"weights_bits": 8}, {"weights_bits": 4}, {"words_dropped": 0.3}],
    )
)
NAMES = [
    *["expert_dropped", "top_k_minus_1", "top_k_plus_1", "router_noise_0.5", "router_temperature_2"],
    *["weights_8bit", "weights_4bit", "words_dropped_0.3"],
]
LOGITS = torch.tensor([[[2.0, 1.0, 0.0, -1.0], [-1.0, 0.0, 3.0, 1.0], [0.0, 5.0, 1.0, 2.0]]])


def gates_of(logits=LOGITS, top_k=2, **disturbance: object):
    """Gates and selection of a lone lane that is disturbed."""
    return disturbed_gating([Disturbance(**disturbance)], "layer")(logits, top_k)


def same(**disturbance: object):
    """Whether a disturbance gives the usual gates, to the bit."""
    usual = top_k_gates(LOGITS, 2)
    return all(torch.equal(*pair) for pair in zip(gates_of(**disturbance), usual, strict=True))


def test_what_changes_nothing_is_the_usual_gating():
    assert same()
    assert same(temperature=1.0)
    assert same(top_k=2)
    assert same(dropped_expert=4)
    assert not same(noise=2.0)
    assert not same(temperature=2.0)
    assert not same(top_k=3)
    assert not same(dropped_expert=1)


def test_lanes_are_disturbed_together_as_each_is_alone():
    ways = [
        *[{"dropped_expert": expert} for expert in range(6)],
        *[{"noise": 0.5, "noise_stream": (seed, "n")} for seed in (1, 2)],
        *[{"temperature": 3.0}, {}, {"top_k": 3}, {"bits": 4}],
    ]
    logits = torch.randn(len(ways), 40, 5, generator=torch.Generator().manual_seed(0))
    logits[3] = math.nan
    joint = disturbed_gating([Disturbance(**way) for way in ways], "layer")
    alone = [disturbed_gating([Disturbance(**way)], "layer") for way in ways]
    for _ in range(2):  # the noise of a second pass is other noise
        gates, selected = joint(logits, 3)
        for lane, one in enumerate(alone):
            own_gates, own_selected = one(logits[lane : lane + 1], 3)
            assert torch.equal(gates[lane].nan_to_num(7), own_gates[0].nan_to_num(7))
            assert torch.equal(selected[lane], own_selected[0])
            assert bool(gates[lane].isnan().any()) == (lane == 3)


def test_a_dropped_expert_leaves_its_gates_to_the_other_selected_ones():
    gates, selected = gates_of(top_k=3, dropped_expert=1)
    usual, _ = top_k_gates(LOGITS, 3)
    for token in range(3):
        left = [expert for expert in (LOGITS[0, token].topk(3).indices.tolist()) if expert != 1]
        total = sum(math.exp(LOGITS[0, token, expert]) for expert in left)
        for expert in range(4):
            expected = math.exp(LOGITS[0, token, expert]) / total if expert in left else 0.0
            assert gates[0, token, expert].item() == pytest.approx(expected, rel=1e-6)
            assert selected[0, token, expert].item() == (expert in left)
    assert usual[0, 0, 1] > 0


def test_dropping_an_unselected_expert_changes_no_token():
    for token, unselected in ((0, 3), (1, 0), (2, 0)):
        gates, selected = gates_of(dropped_expert=unselected)
        usual_gates, usual_selected = top_k_gates(LOGITS, 2)
        assert torch.equal(gates[0, token], usual_gates[0, token])
        assert torch.equal(selected[0, token], usual_selected[0, token])


def test_dropping_the_only_selected_expert_leaves_nothing():
    gates, selected = gates_of(top_k=1, dropped_expert=0)
    assert gates[0, 0].tolist() == [0.0] * 4
    assert not selected[0, 0].any()
    assert gates[0, 1].tolist() == [0.0, 0.0, 1.0, 0.0]


def test_a_far_less_likely_expert_takes_over_in_full():
    gates, _ = gates_of(torch.tensor([[[500.0, 0.0, -1000.0]]]), dropped_expert=0)
    assert gates.tolist() == [[[0.0, 1.0, 0.0]]]


def test_a_higher_temperature_flattens_the_same_selection():
    gates, selected = gates_of(temperature=2.0)
    _, usual_selected = top_k_gates(LOGITS, 2)
    assert torch.equal(selected, usual_selected)
    assert gates[0, 0, 0].item() == pytest.approx(1 / (1 + math.exp(-0.5)), rel=1e-6)


def test_noise_has_its_scale_and_repeats_from_its_seed():
    seen = []

    def spy(seed):
        zeros = torch.zeros(1, 20_000, 4)
        gates, _ = gates_of(zeros, 4, noise=0.5, noise_stream=(seed, "noise"))
        logs = gates.log()
        seen.append(logs)
        return (logs - logs.mean(-1, keepdim=True)).square().sum(-1).mean() / 3

    assert spy(1).item() == pytest.approx(
        0.25, rel=0.02
    )  # the log of a softmax is its logits but for a shift
    spy(1)
    spy(2)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_quantising_rounds_each_row_on_its_own_scale():
    weight = torch.tensor([[0.7, -0.36, 0.04], [0.0, 0.0, 0.0], [70.0, 14.0, -69.9]])
    found = quantized(weight, 4)  # 7 levels to each side: steps of 0.1, none and 10
    expected = torch.tensor([[0.7, -0.4, 0.0], [0.0, 0.0, 0.0], [70.0, 10.0, -70.0]])
    torch.testing.assert_close(found, expected)
    random = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0))
    for bits in (2, 4, 8):
        step = random.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
        assert ((quantized(random, bits) - random).abs() <= step / 2 * (1 + 1e-5)).all()
        levels = (quantized(random, bits) / step).round().unique()
        assert len(levels) <= 2**bits - 1


def test_words_are_dropped_from_the_prompt_alone():
    row = Row(prompt="Review: a fine\n film  of\tcharm\nSentiment:", options=(" good", " bad"), answer=1)
    assert with_words_dropped([row], 0.0, seed=3) == [row]
    (all_gone,) = with_words_dropped([row], 1.0, seed=3)
    assert all_gone.prompt == "Sentiment:"
    thinned = with_words_dropped([row] * 400, 0.25, seed=3)
    assert {(one.options, one.answer) for one in thinned} == {(row.options, row.answer)}
    words = row.prompt.split()
    for one in thinned:
        rest = iter(words)
        assert all(word in rest for word in one.prompt.split())  # in order, none invented
        assert not one.prompt.startswith((" ", "\n", "\t"))
    kept = sum(len(one.prompt.split()) for one in thinned) / (400 * len(words))
    assert kept == pytest.approx(0.75, abs=0.02)
    assert with_words_dropped([row] * 400, 0.25, seed=3) == thinned
    assert with_words_dropped([row] * 400, 0.25, seed=4) != thinned


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return bench(tmp_path_factory.mktemp("bench"))


def trained(shared, folder, **changes: object):
    return run(Trial(replace(setup(folder), **changes), shared))[-1].ending


def test_perturbed_scores_join_the_ending_and_change_nothing_else(shared, tmp_path):
    plain = figures(run(Trial(setup(tmp_path / "plain"), shared)))
    whole = figures(run(Trial(replace(setup(tmp_path / "whole"), perturbations=ALL), shared)))
    found = whole[-1]["ending"].pop("metrics")
    expected = plain[-1]["ending"].pop("metrics")
    assert whole == plain
    assert list(found) == [
        *expected,
        *(f"perturbed.{name}.{figure}" for name in NAMES for figure in ("loss", "accuracy")),
    ]
    assert {name: found[name] for name in expected} == expected
    assert all(math.isfinite(figure) for figure in found.values())
    value = plain[-1]["ending"]["value"]
    moved = [name for name in NAMES if found[f"perturbed.{name}.loss"] != value]
    assert moved == NAMES


def test_perturbations_of_no_size_give_the_unperturbed_score_to_the_bit(shared, tmp_path):
    nothing = tuple(
        Perturbation(kind=kind, amount=amount)
        for kind, amount in (("router_noise", 0.0), ("router_temperature", 1.0), ("words_dropped", 0.0))
    )
    ending = trained(shared, tmp_path, perturbations=nothing)
    for perturbation in nothing:
        assert ending.metrics[f"perturbed.{perturbation.name}.loss"] == ending.value
        assert ending.metrics[f"perturbed.{perturbation.name}.accuracy"] == ending.metrics["report_accuracy"]


@pytest.mark.parametrize("encoder", [False, True])
def test_an_impossible_top_k_is_absent(tmp_path, encoder):
    shared = bench(tmp_path, encoder=encoder)
    first, last = (replace(setup(tmp_path / name), perturbations=ALL) for name in ("first", "last"))
    params = {**first.params, "num_experts": 2}
    one = run(Trial(replace(first, params={**params, "top_k": 1}), shared))[-1].ending.metrics
    both = run(Trial(replace(last, params={**params, "top_k": 2}), shared))[-1].ending.metrics
    assert "perturbed.top_k_minus_1.loss" not in one
    assert "perturbed.top_k_plus_1.loss" in one
    assert "perturbed.top_k_minus_1.loss" in both
    assert "perturbed.top_k_plus_1.loss" not in both


def test_dropping_one_of_two_experts_leaves_an_adapter_of_the_other(shared, tmp_path):
    """Both are selected for every token, so what is left has a gate of 1: an adapter of one expert."""
    params = {**test_trial.PARAMS, "num_experts": 2, "top_k": 2}
    ending = trained(shared, tmp_path, params=params, perturbations=(Perturbation(kind="expert_dropped"),))
    losses = []
    for kept in (0, 1):
        pair = attach_adapter(shared, family="gradamw", params=params, seed=1)
        weights = _saved_weights(tmp_path, pair)
        pair.detach()
        single = attach_adapter(
            shared, family="gradamw", params={**params, "num_experts": 1, "top_k": 1}, seed=1
        )
        with torch.no_grad():
            for mine, (a, b) in zip(adapter_parameters(single.model).experts, weights, strict=True):
                mine.A.copy_(a[kept : kept + 1])
                mine.B.copy_(b[kept : kept + 1])
        losses.append(single.evaluate(shared, shared.data.report).loss_nats)
        single.detach()
    assert ending.metrics["perturbed.expert_dropped.loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert losses[0] != losses[1]


def _saved_weights(folder, adapter):
    """A and B of each layer of a finished trial's kept adapter."""
    from safetensors.torch import load_file

    saved = load_file(folder / "adapter" / "adapter_model.safetensors")
    return [
        tuple(
            next(weight for key, weight in saved.items() if key.endswith(f"{pair.name}.moe_lora_{factor}"))
            for factor in "AB"
        )
        for pair in adapter_parameters(adapter.model).experts
    ]


def test_weights_are_put_back_to_the_bit_even_when_scoring_fails(shared):
    adapter = attach_adapter(shared, family="rsgd", params=test_trial.PARAMS, seed=2)
    before = {name: tensor.clone() for name, tensor in adapter.tensors().items()}

    def fails() -> None:
        with quantized_experts(adapter.model, 4):
            changed = adapter.tensors()
            assert any(not torch.equal(before[name], changed[name]) for name in before)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fails()
    perturbed_scores(adapter, shared, ALL, seed=2)
    after = adapter.tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {layer.gating for layer in moe_lora_layers(adapter.model)} == {top_k_gates}
    adapter.detach()


def test_a_trial_killed_while_it_is_perturbed_repeats_the_same_scores(shared, tmp_path, monkeypatch):
    whole = figures(run(Trial(replace(setup(tmp_path / "whole"), perturbations=ALL), shared)))
    cut = replace(setup(tmp_path / "cut"), perturbations=ALL)

    def killed(adapter, workbench, perturbations, *, seed):
        perturbed_scores(adapter, workbench, perturbations[:4], seed=seed)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "perturbed_scores", killed)
        first = Trial(cut, shared)
        with pytest.raises(KeyboardInterrupt):
            run(first)
        first.close()
    assert figures(run(Trial(cut, shared))) == whole


def test_other_seeds_meet_other_noise_and_other_words(shared):
    adapter = attach_adapter(shared, family="sgd", params=test_trial.PARAMS, seed=2)
    with torch.no_grad():
        for pair in adapter_parameters(adapter.model).experts:
            pair.B.normal_(generator=torch.Generator().manual_seed(0))
    first, again, other = (perturbed_scores(adapter, shared, ALL, seed=seed) for seed in (2, 2, 3))
    adapter.detach()
    assert first == again
    differing = {name for name in first if name.endswith("loss") and first[name] != other[name]}
    assert differing == {"perturbed.router_noise_0.5.loss", "perturbed.words_dropped_0.3.loss"}


def test_a_diverged_trial_has_no_perturbed_scores(tmp_path):
    wild = replace(setup(tmp_path, family="sgd", lr=1e30), perturbations=ALL)
    ending = run(Trial(wild, bench(tmp_path, encoder=True)))[-1].ending
    assert ending.outcome == "diverged"
    assert ending.metrics == {}


def test_names_are_stable_and_every_kind_reads_back():
    assert [perturbation.name for perturbation in ALL] == NAMES
    assert {perturbation.kind for perturbation in ALL} == set(KINDS)
    assert [perturbation_from_json(perturbation.to_json()) for perturbation in ALL] == list(ALL)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("expert_droped", "Unknown perturbation 'expert_droped', did you mean 'expert_dropped'?"),
        ({"router_nose": 1}, "did you mean 'router_noise'?"),
        ("router_noise", r"router_noise needs its standard deviation .*: write \{router_noise: <number>\}"),
        ({"expert_dropped": 2}, "expert_dropped has no amount, but 2 is written: write its name alone"),
        (
            {"weights_bits": 3.5},
            "weights_bits is 3.5, but its bits of each weight is a whole number from 2 to 16",
        ),
        ({"words_dropped": 1.5}, "words_dropped is 1.5, but .* is a number from 0 to 1: correct it"),
        ({"router_temperature": 0}, "router_temperature is 0, but .* is a number from 1e-06 upwards"),
        ({"router_noise": True}, "is no perturbation: write a name"),
        ({"router_noise": 1, "weights_bits": 4}, "is no perturbation"),
        (3, "3 is no perturbation"),
    ],
)
def test_what_is_no_perturbation_is_refused(written, message):
    with pytest.raises(SpecError, match=message):
        perturbation_from_json(written)
