"""The fast mixture against the expert-by-expert one: outputs, every gradient, and the method's identities."""

import pytest
import torch
from torch import Tensor

from search_spaces.families import FAMILIES
from tests.trainers import reference
from tests.trainers.nets import FEATURES, adapted_net, data, twin, twin_output, weights
from trainers.moe_lora import adapter_parameters, moe_lora_layers
from trainers.moe_lora.experts import Mixing, mix_experts

SHAPES = [(1, 1, 1), (4, 1, 2), (4, 2, 3), (5, 5, 2), (20, 10, 4)]
"""num_experts, top_k, rank."""
EXPONENTS = sorted({family.gate_exponent for family in FAMILIES.values()} | {0.0})
TOLERANCES = [(torch.float32, 1e-6), (torch.float64, 1e-12)]


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    scale = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES, ids=["fp32", "fp64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("input_gradient", ["exact", "faithful"])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_forward_and_all_gradients(exponent, input_gradient, shape, dtype, tolerance):
    num_experts, top_k, r = shape
    model = adapted_net(
        dtype=dtype,
        num_experts=num_experts,
        top_k=top_k,
        r=r,
        gate_exponent=exponent,
        input_gradient=input_gradient,
    )
    layers = twin(model, torch.float64)
    x, target = data(3, dtype)
    x.requires_grad_()
    x_twin = x.detach().double().requires_grad_()

    y = model(x)
    ((y - target) ** 2).mean().backward()
    y_twin = twin_output(layers, x_twin)
    ((y_twin - target.double()) ** 2).mean().backward()

    assert_near(y, y_twin, tolerance)
    assert_near(x.grad, x_twin.grad, tolerance)
    for layer, pair, router in zip(
        layers, adapter_parameters(model).experts, adapter_parameters(model).routers, strict=True
    ):
        assert_near(pair.A.grad, torch.stack([a.grad for a in layer.A]), tolerance)
        assert_near(pair.B.grad, torch.stack([b.grad for b in layer.B]), tolerance)
        assert_near(router.grad, layer.router.grad, tolerance)
        assert pair.B.grad.abs().max() > 1e-3  # the comparison is not of zeros


@pytest.mark.parametrize("input_gradient", ["exact", "faithful"])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_gradients_under_a_dropout_mask(exponent, input_gradient):
    keep, keep_probability = torch.rand(1, 9, 6) > 0.4, 0.6
    x = torch.randn(9, 6, dtype=torch.float64, requires_grad=True)
    layer = reference.Layer(
        weight=torch.zeros(5, 6, dtype=torch.float64),
        bias=None,
        router=torch.randn(4, 6, dtype=torch.float64, requires_grad=True),
        A=[torch.randn(2, 6, dtype=torch.float64, requires_grad=True) for _ in range(4)],
        B=[torch.randn(5, 2, dtype=torch.float64, requires_grad=True) for _ in range(4)],
        top_k=2,
        scale=3.0,
        exponent=exponent,
        input_gradient=input_gradient,
    )
    mixing = Mixing(
        top_k=2, scale=3.0 / keep_probability, gate_exponent=exponent, exact=input_gradient == "exact"
    )
    A, B = (torch.stack(w).detach().requires_grad_() for w in (layer.A, layer.B))
    router = layer.router.detach().requires_grad_()
    y, *_ = mix_experts(x, router, A, B, mixing=mixing, keep_LTI=keep.to(torch.uint8))
    dy = torch.randn_like(y)
    actual = torch.autograd.grad(y, (x, router, A, B), dy)

    y_twin = layer(x, keep[0].double() / keep_probability)
    expected = torch.autograd.grad(y_twin, (x, layer.router, *layer.A, *layer.B), dy)
    torch.testing.assert_close(y, y_twin, rtol=0, atol=1e-12)
    for got, want in zip(
        actual, (*expected[:2], torch.stack(expected[2:6]), torch.stack(expected[6:])), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_plain_gradients_are_the_derivative(top_k):
    """Finite differences know nothing of our formulas; only a = 1 is a derivative."""
    generator = torch.Generator().manual_seed(1)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    mixing = Mixing(top_k=top_k, scale=2.0, gate_exponent=1.0, exact=True)
    keep = (torch.rand(2, 3, 5, generator=generator) > 0.3).to(torch.uint8)

    def outputs(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        return mix_experts(*inputs, mixing=mixing, keep_LTI=keep)[:2]

    inputs = (leaf(2, 3, 5), leaf(2, 4, 5), leaf(2, 4, 2, 5), leaf(2, 4, 6, 2))
    assert torch.autograd.gradcheck(outputs, inputs, eps=1e-6, atol=1e-7)


def gradients(exponent: float, input_gradient: str = "exact", **settings: int) -> tuple[Tensor, list[Tensor]]:
    """dL/dx and the gradients of all weights, for the same weights and tokens at every exponent."""
    model = adapted_net(gate_exponent=exponent, input_gradient=input_gradient, **settings)
    x, target = data(3, torch.float64)
    x.requires_grad_()
    ((model(x) - target) ** 2).mean().backward()
    assert x.grad is not None
    return x.grad, [w.grad for w in weights(model)]


@pytest.mark.parametrize("exponent", [0.5, 0.0])
def test_exact_mode_leaves_the_input_gradient_plain(exponent):
    plain, _ = gradients(1.0)
    torch.testing.assert_close(gradients(exponent)[0], plain, rtol=0, atol=1e-14)
    assert (gradients(exponent, "faithful")[0] - plain).abs().max() > 1e-4


@pytest.mark.parametrize("exponent", [0.5, 0.0])
def test_the_routers_gradient_is_the_same_for_every_exponent(exponent):
    *_, first, second = gradients(1.0)[1]
    *_, other_first, other_second = gradients(exponent)[1]
    torch.testing.assert_close(other_second, second, rtol=0, atol=1e-14)
    torch.testing.assert_close(other_first, first, rtol=0, atol=1e-14)
    # in faithful mode the last layer's router still sees the same; the one below sees another dL/dy
    torch.testing.assert_close(gradients(exponent, "faithful")[1][-1], second, rtol=0, atol=1e-14)


@pytest.mark.parametrize("input_gradient", ["exact", "faithful"])
@pytest.mark.parametrize("exponent", [0.5, 0.0])
def test_with_one_expert_per_token_every_exponent_is_plain(exponent, input_gradient):
    plain_x, plain = gradients(1.0, input_gradient, top_k=1)
    other_x, other = gradients(exponent, input_gradient, top_k=1)
    assert torch.equal(plain_x, other_x)
    assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


def test_lanes_do_not_see_each_other():
    generator = torch.Generator().manual_seed(0)
    x, router, A, B, dy = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in [(3, 9, 6), (3, 4, 6), (3, 4, 2, 6), (3, 4, 5, 2), (3, 9, 5)]
    )
    mixing = Mixing(top_k=2, scale=2.0, gate_exponent=0.5, exact=True)
    together = mix_experts(x, router, A, B, mixing=mixing)[0]
    grads = torch.autograd.grad(together, (x, router, A, B), dy)
    for lane in range(3):
        inputs = [w[lane].detach().requires_grad_() for w in (x, router, A, B)]
        alone = mix_experts(*inputs, mixing=mixing)[0]
        torch.testing.assert_close(alone, together[lane], rtol=0, atol=1e-14)
        for got, want in zip(torch.autograd.grad(alone, inputs, dy[lane]), grads, strict=True):
            torch.testing.assert_close(got, want[lane], rtol=0, atol=1e-13)


def test_work_and_memory_do_not_grow_by_loops_over_experts():
    """As many operations for 32 experts as for 16, and no tensor of tokens x experts x features is kept."""

    def profile(num_experts: int) -> tuple[int, int]:
        saved = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += tensor.numel()
            return tensor

        model = adapted_net(dtype=torch.float32, num_experts=num_experts, top_k=2)
        layer = moe_lora_layers(model)[0]
        with (
            torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler,
            torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
        ):
            layer(torch.randn(64, FEATURES[0], requires_grad=True)).sum().backward()
        return sum(event.name.startswith("aten::") for event in profiler.events()), saved

    few_operations, _ = profile(16)
    many_operations, saved = profile(32)
    assert many_operations == few_operations
    tokens, experts, rank, (inputs, outputs, _) = 64, 32, 2, FEATURES
    of_tokens = tokens * (inputs + 2 * experts + experts * rank)
    of_weights = experts * (inputs + rank * (inputs + outputs)) + inputs * outputs
    assert saved <= of_tokens + of_weights
