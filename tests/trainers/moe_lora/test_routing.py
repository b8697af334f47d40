"""Routing statistics, padding masks and the load-balancing loss."""

import math
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from tests.trainers.nets import adapted_net, data
from trainers.moe_lora import (
    MoeLoraConfig,
    adapter_parameters,
    load_balancing_loss,
    moe_lora_layers,
    routing_statistics,
    set_token_mask,
)


def one_layer(**settings: Any) -> nn.Module:
    config = MoeLoraConfig(
        **({"num_experts": 3, "top_k": 2, "r": 1, "lora_dropout": 0.0, "target_modules": ["0"]} | settings)
    )
    model = get_peft_model(nn.Sequential(nn.Linear(3, 2, bias=False)).double(), config)
    with torch.no_grad():
        adapter_parameters(model).routers[0].copy_(torch.eye(3))  # the tokens are the logits
    return model


TOKENS = torch.tensor(
    [[1.0, 0.0, -9.0], [math.log(3.0), 0.0, -9.0], [-9.0, 2.0, 2.0], [5.0, 5.0, 1.0]], dtype=torch.float64
)


def binary_entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


ENTROPIES = [binary_entropy(1 / (1 + math.exp(-1))), binary_entropy(0.75), math.log(2), math.log(2)]


def test_entropy_and_load_of_a_worked_example():
    model = one_layer()
    with routing_statistics(model) as statistics:
        model(TOKENS)
    assert statistics.gate_entropy_nats == pytest.approx(sum(ENTROPIES) / 4, abs=1e-12)
    assert statistics.expert_load_frac.tolist() == pytest.approx([3 / 8, 4 / 8, 1 / 8])


def test_padding_does_not_count():
    model = one_layer()
    set_token_mask(model, torch.tensor([1, 1, 1, 0]))
    with routing_statistics(model) as statistics:
        output = model(TOKENS)
    assert statistics.gate_entropy_nats == pytest.approx(sum(ENTROPIES[:3]) / 3, abs=1e-12)
    assert statistics.expert_load_frac.tolist() == pytest.approx([2 / 6, 3 / 6, 1 / 6])
    set_token_mask(model, None)
    assert torch.equal(model(TOKENS), output)


def test_batches_are_weighted_by_their_tokens():
    model = one_layer()
    with routing_statistics(model) as together:
        model(TOKENS)
    with routing_statistics(model) as apart:
        model(TOKENS[:1])
        model(TOKENS[1:])
    assert apart.gate_entropy_nats == pytest.approx(together.gate_entropy_nats)
    torch.testing.assert_close(apart.expert_load_frac, together.expert_load_frac)


def test_a_padded_batch_of_a_language_model_counts_as_its_rows_alone(llama_folder):
    base = AutoModelForCausalLM.from_pretrained(llama_folder)
    model = get_peft_model(base, MoeLoraConfig(num_experts=5, top_k=2, r=2, seed=0)).eval()
    rows = [torch.arange(7) + 10, torch.arange(4) + 40]
    ids, mask = torch.zeros(2, 7, dtype=torch.long), torch.zeros(2, 7, dtype=torch.long)
    for row, tokens in enumerate(rows):  # padded on the left
        ids[row, -len(tokens) :], mask[row, -len(tokens) :] = tokens, 1
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    set_token_mask(model, mask)
    with routing_statistics(model) as batched:
        model(input_ids=ids, attention_mask=mask, position_ids=positions)
    set_token_mask(model, None)
    with routing_statistics(model) as alone:
        for tokens in rows:
            model(input_ids=tokens.unsqueeze(0))
    assert batched.gate_entropy_nats == pytest.approx(alone.gate_entropy_nats, abs=1e-6)
    torch.testing.assert_close(batched.expert_load_frac, alone.expert_load_frac)
    assert float(batched.expert_load_frac.sum()) == pytest.approx(1.0)


def test_layers_with_unlike_numbers_of_experts():
    model = adapted_net(num_experts=4, top_k=4, experts_per_layer={"second": 6})
    with routing_statistics(model) as statistics:
        model(data(0, torch.float64)[0])
    per_layer = [[1 / 4] * 4 + [0] * 2, None]
    first = torch.tensor(per_layer[0])
    second = statistics.layers["second"].slots_LE[0] / statistics.layers["second"].slots_LE[0].sum()
    torch.testing.assert_close(statistics.expert_load_frac.double(), (first.double() + second.double()) / 2)


def test_nothing_is_collected_outside_the_block():
    model = one_layer()
    with routing_statistics(model) as statistics:
        with pytest.raises(
            ValueError, match="No token has passed adapter 'default' inside routing_statistics"
        ):
            _ = statistics.gate_entropy_nats
        model(TOKENS)
    before = statistics.gate_entropy_nats
    model(TOKENS[2:])
    assert statistics.gate_entropy_nats == before
    assert moe_lora_layers(model)[0].routing is None


def test_a_mask_of_another_shape_is_refused():
    model = one_layer()
    set_token_mask(model, torch.ones(7))
    model(TOKENS)  # nobody counts: nobody minds
    with (
        routing_statistics(model),
        pytest.raises(ValueError, match=r"mask has shape \(7,\) but 0 reads tokens of shape \(4,\)"),
    ):
        model(TOKENS)


def balance_by_hand(logits: Tensor, top_k: int) -> Tensor:
    """Switch Transformers' loss, token by token."""
    num_tokens, num_experts = logits.shape
    load = torch.zeros(num_experts, dtype=logits.dtype)
    for token in logits:
        load[token.topk(top_k).indices] += 1 / (num_tokens * top_k)
    return num_experts * (load * logits.softmax(-1).mean(0)).sum()


def test_load_balancing_loss_and_its_gradient():
    model = one_layer(load_balance_weight=0.01)
    router = adapter_parameters(model).routers[0]
    model.train()(TOKENS)
    loss = load_balancing_loss(model)
    expected_router = router.detach().clone().requires_grad_()
    expected = balance_by_hand(TOKENS @ expected_router.T, 2)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(router.grad, expected_router.grad)


def test_padding_is_not_balanced():
    model = one_layer(load_balance_weight=0.01)
    set_token_mask(model, torch.tensor([0, 1, 1, 1]))
    model.train()(TOKENS)
    router = adapter_parameters(model).routers[0]
    torch.testing.assert_close(load_balancing_loss(model), balance_by_hand(TOKENS[1:] @ router.T, 2))


def test_perfect_balance_is_1_per_layer():
    model = adapted_net(num_experts=3, top_k=3, load_balance_weight=1.0)
    for router in adapter_parameters(model).routers:
        nn.init.zeros_(router)
    model.train()(data(0, torch.float64)[0])
    assert float(load_balancing_loss(model).detach()) == pytest.approx(2.0)


def test_minimising_it_balances_the_load():
    model = one_layer(top_k=1, load_balance_weight=1.0).train()
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1.0
    router = adapter_parameters(model).routers[0]
    with torch.no_grad():
        router[0] += 0.5

    def spread() -> float:
        with routing_statistics(model) as statistics:
            model(x)
        return float(statistics.expert_load_frac.max() - statistics.expert_load_frac.min())

    before = spread()
    optimizer = torch.optim.SGD([router], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        model(x)
        load_balancing_loss(model).backward()
        optimizer.step()
    assert spread() < before / 3


def test_it_adds_up_with_the_task_under_gradient_checkpointing(llama_folder):
    gradients = []
    ids = torch.arange(12).unsqueeze(0) + 5
    for checkpointed in (False, True):
        base = AutoModelForCausalLM.from_pretrained(llama_folder)
        config = MoeLoraConfig(num_experts=4, top_k=2, r=2, seed=0, lora_dropout=0.0, load_balance_weight=1.0)
        model = get_peft_model(base, config).train()
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        loss = model(input_ids=ids, labels=ids).loss
        (loss + load_balancing_loss(model)).backward()
        gradients.append([router.grad for router in adapter_parameters(model).routers])
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-7)
        assert want.abs().max() > 1e-6


@pytest.mark.parametrize(("weight", "training"), [(0.0, True), (1.0, False)])
def test_without_a_recorded_loss_there_is_an_error(weight, training):
    model = one_layer(load_balance_weight=weight).train(training)
    model(TOKENS)
    with pytest.raises(ValueError, match="'default' has recorded no load-balancing loss"):
        load_balancing_loss(model)


def test_reentrant_checkpointing_would_lose_its_gradient_and_is_refused(llama_folder):
    base = AutoModelForCausalLM.from_pretrained(llama_folder)
    model = get_peft_model(base, MoeLoraConfig(num_experts=4, top_k=2, r=2, load_balance_weight=1.0)).train()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    model.enable_input_require_grads()
    ids = torch.arange(12).unsqueeze(0) + 5
    model(input_ids=ids, labels=ids)
    with pytest.raises(ValueError, match=r"'default' has no gradient; .*use_reentrant"):
        load_balancing_loss(model)
