"""Initial weights and dropout come from seeds and names alone, and have the right distributions."""

import hashlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from scipy import stats
from torch import nn

from tests.trainers.nets import adapted_net, data, weights
from trainers.moe_lora import MoeLoraConfig, adapter_parameters, initialize, moe_lora_layers, set_dropout_seed
from trainers.moe_lora.dropout import keep_mask, keep_probability

CPU = torch.device("cpu")
SUMMARY = """
import hashlib, torch
from tests.trainers.nets import adapted_net, data
from trainers.moe_lora import initialize, set_dropout_seed, adapter_parameters
from tests.trainers.nets import weights
model = adapted_net(dtype=torch.float32, lora_dropout=0.2, seed=3)
initialize(model, seed=42)
drawn = b"".join(w.detach().numpy().tobytes() for w in weights(model))
for pair in adapter_parameters(model).experts:
    torch.nn.init.ones_(pair.B)
set_dropout_seed(model, 7)
output = model.train()(data(0, torch.float32)[0]).detach().numpy().tobytes()
summary = hashlib.sha256(drawn).hexdigest() + hashlib.sha256(output).hexdigest()
"""


def test_another_process_draws_the_same():
    here: dict[str, str] = {}
    torch.manual_seed(99)  # the global stream is no part of it
    exec(SUMMARY, here)  # noqa: S102 - the same text runs in the other process
    done = subprocess.run(
        [sys.executable, "-c", SUMMARY + "print(summary)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == here["summary"]


def test_weights_depend_on_seed_and_name_alone():
    """Neither the order of modules nor their neighbours nor the family's settings matter."""

    def net(names: list[str], **settings: Any) -> dict[str, torch.Tensor]:
        base = nn.ModuleDict({name: nn.Linear(6, 5) for name in names})
        config = MoeLoraConfig(num_experts=4, top_k=2, r=3, target_modules=names, **settings)
        model = get_peft_model(base, config)
        initialize(model, seed=1)
        return {pair.name: pair.A.detach() for pair in adapter_parameters(model).experts}

    forwards, backwards = net(["a", "b"]), net(["c", "b", "a"], gate_exponent=0.5, input_gradient="faithful")
    assert torch.equal(forwards["a"], backwards["a"])
    assert torch.equal(forwards["b"], backwards["b"])
    assert not torch.equal(forwards["a"], forwards["b"])
    assert not torch.equal(net(["a"], seed=5)["a"], net(["a"])["a"] + 1)
    first, second = forwards["a"][0], forwards["a"][1]
    assert not torch.equal(first, second)  # experts are drawn independently


def test_the_configurations_seed_is_used_at_birth():
    one, same, other = (weights(adapted_net(seed=s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])


def test_initial_weights_have_the_distributions_of_torch():
    """Kaiming-uniform with a = sqrt(5) per expert, and nn.Linear's default for the router: same law, by a KS test."""
    base = nn.Sequential(nn.Linear(50, 40, bias=False))
    model = get_peft_model(base, MoeLoraConfig(num_experts=30, top_k=2, r=16, target_modules=["0"]))
    initialize(model, seed=0)
    (pair,), (router,) = adapter_parameters(model).experts, adapter_parameters(model).routers
    expert = torch.empty(16 * 30, 50)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nn.init.kaiming_uniform_(expert, a=math.sqrt(5))
        linear = nn.Linear(50, 30, bias=False).weight
    assert not pair.B.any()
    for ours, theirs in ((pair.A, expert), (router, linear)):
        drawn, reference = ours.detach().flatten().numpy(), theirs.detach().flatten().numpy()
        assert stats.ks_2samp(drawn, reference).pvalue > 1e-3
        assert float(abs(ours.detach()).max()) <= 1 / math.sqrt(50)


@pytest.mark.parametrize("dropout", [0.05, 0.5])
def test_masks_drop_at_the_right_rate_independently(dropout):
    mask = keep_mask([3, 4], 400, 300, dropout=dropout, device=CPU)
    assert mask.shape == (2, 400, 300)
    assert mask.dtype == torch.uint8
    assert set(mask.unique().tolist()) == {0, 1}
    dropped = 1 - mask.double()
    for lane in dropped:
        count = int(lane.sum())
        assert stats.binomtest(count, lane.numel(), 1 - keep_probability(dropout)).pvalue > 1e-4
    between = torch.corrcoef(dropped.flatten(1))[0, 1]
    along = torch.corrcoef(torch.stack([dropped[0].flatten()[:-1], dropped[0].flatten()[1:]]))[0, 1]
    assert abs(float(between)) < 5 / math.sqrt(mask[0].numel())
    assert abs(float(along)) < 5 / math.sqrt(mask[0].numel())
    assert keep_probability(dropout) == pytest.approx(1 - dropout, abs=2**-17)


def test_a_mask_is_the_same_bits_everywhere():
    """Fixed once, so that no platform or library version changes measurements unnoticed."""
    mask = keep_mask([12345], 40, 50, dropout=0.25, device=CPU)
    assert hashlib.sha256(mask.numpy().tobytes()).hexdigest()[:16] == "57b759a2cf5e9dcc"
    assert torch.equal(mask, keep_mask([12345], 40, 50, dropout=0.25, device=CPU))
    assert torch.equal(mask[0], keep_mask([7, 12345], 40, 50, dropout=0.25, device=CPU)[1])


def test_dropout_keeps_the_expectation():
    """The mean over many masks is the output without dropout, for a layer that is linear in its mask."""
    model = adapted_net(lora_dropout=0.3)
    layer = moe_lora_layers(model)[0]
    x = data(0, torch.float64)[0]
    expected = layer.eval()(x)
    layer.train()
    outputs = []
    for seed in range(3000):
        layer.dropout_seed = seed
        outputs.append(layer(x).detach())
    stacked = torch.stack(outputs)
    standard_error = stacked.std(0) / math.sqrt(len(outputs))
    assert ((stacked.mean(0) - expected).abs() / standard_error).max() < 5


def test_dropout_follows_the_seed_and_the_layer():
    model = adapted_net(lora_dropout=0.5).train()
    x = data(0, torch.float64)[0]
    set_dropout_seed(model, 1)
    once, again = model(x), model(x)
    set_dropout_seed(model, 2)
    other = model(x)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    layer, twin = moe_lora_layers(model)
    layer.dropout_seed = twin.dropout_seed = 1
    settings = layer.moe_lora_settings["default"]
    masks = [one._dropout_mask(settings, torch.ones(9, 6)) for one in (layer, twin)]
    assert not torch.equal(*masks)


def test_without_a_seed_dropout_follows_torchs_global_stream():
    model = adapted_net(lora_dropout=0.5).train()
    x = data(0, torch.float64)[0]
    set_dropout_seed(model, 1)
    set_dropout_seed(model, None)
    torch.manual_seed(0)
    first, second = model(x), model(x)
    torch.manual_seed(0)
    assert torch.equal(model(x), first)
    assert not torch.equal(first, second)


def test_no_dropout_in_evaluation():
    model = adapted_net(lora_dropout=0.5).eval()
    x = data(0, torch.float64)[0]
    assert torch.equal(model(x), model(x))
    assert torch.equal(model(x), adapted_net(lora_dropout=0.0)(x))
