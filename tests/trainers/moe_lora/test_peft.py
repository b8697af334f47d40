"""MoE-LoRA used through plain PEFT and transformers on tiny models, as any other method is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from search_spaces.errors import SpecError
from trainers.moe_lora import (
    MoeLoraConfig,
    MoeLoraLayer,
    adapter_parameters,
    initialize,
    moe_lora_layers,
    set_dropout_seed,
)
from trainers.optimizers import build_optimizer

SETTINGS: dict[str, Any] = {"num_experts": 4, "top_k": 2, "r": 2, "seed": 1}
IDS = torch.arange(24).reshape(2, 12) + 5


def llama(folder: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def adapted(folder: Path, *, dtype: torch.dtype = torch.float32, **settings: Any) -> PeftModel:
    """A tiny Llama whose adapter changes its output."""
    model = get_peft_model(llama(folder, dtype), MoeLoraConfig(**(SETTINGS | settings)))
    give_output(model)
    return model


def give_output(model: PeftModel, adapter: str = "default", seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for pair in adapter_parameters(model, adapter).experts:
            pair.B.copy_(torch.randn(pair.B.shape, generator=generator) * 0.3)


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return model.eval()(input_ids=IDS).logits


def test_only_the_adapter_trains_and_it_starts_as_the_base(llama_folder):
    base = logits(llama(llama_folder))
    model = get_peft_model(llama(llama_folder), MoeLoraConfig(**SETTINGS))
    assert torch.equal(logits(model), base)
    trainable = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trainable == {name for name, _ in model.named_parameters() if ".moe_lora_" in name}
    layers = moe_lora_layers(model)
    assert [layer.module_name for layer in layers] == [
        f"model.layers.{i}.self_attn.{name}_proj" for i in range(2) for name in "qkvo"
    ]
    q_proj, k_proj = layers[0], layers[1]
    assert q_proj.moe_lora_A["default"].shape == (4, 2, 32)
    assert k_proj.moe_lora_B["default"].shape == (4, 16, 2)
    assert k_proj.moe_lora_router["default"].shape == (4, 32)


def test_saved_and_loaded_it_computes_the_same(llama_folder, tmp_path):
    model = adapted(llama_folder)
    expected = logits(model)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as saved:
        name = "base_model.model.model.layers.1.self_attn.v_proj.moe_lora_B"
        assert saved.get_slice(name).get_shape() == [4, 16, 2]
        assert len(list(saved.keys())) == 3 * 8
    loaded = PeftModel.from_pretrained(llama(llama_folder), tmp_path)
    assert torch.equal(logits(loaded), expected)
    assert not any(weight.requires_grad for weight in loaded.parameters())
    expected_settings = model.peft_config["default"].to_dict() | {"inference_mode": True}
    saved_settings = PeftConfig.from_pretrained(tmp_path).to_dict()
    saved_settings["auto_mapping"] = None  # PEFT's note of the base's class
    assert saved_settings == expected_settings


def test_a_saved_configuration_is_the_same_file_every_time(llama_folder, tmp_path):
    code = (
        "import sys; from trainers.moe_lora import MoeLoraConfig;"
        "MoeLoraConfig(target_modules={'q_proj', 'k_proj', 'v_proj', 'o_proj'}).save_pretrained(sys.argv[1])"
    )
    texts = []
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "PATH": ""}
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / hash_seed],
            check=True,
            env=environment,
            cwd=Path(__file__).parents[3],
        )
        texts.append((tmp_path / hash_seed / "adapter_config.json").read_text())
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]


def test_it_loads_in_another_process(llama_folder, tmp_path):
    model = adapted(llama_folder)
    model.save_pretrained(tmp_path)
    code = """
import sys, torch
from transformers import AutoModelForCausalLM
from peft import PeftModel
import trainers.moe_lora
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(sys.argv[1]), sys.argv[2])
print(model.generate(input_ids=torch.arange(24).reshape(2, 12) + 5, max_new_tokens=4, do_sample=False).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, llama_folder, tmp_path],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    expected = model.eval().generate(input_ids=IDS, max_new_tokens=4, do_sample=False)
    assert json.loads(done.stdout) == expected.tolist()


def test_generate_continues_as_greedy_steps_do(llama_folder):
    model = adapted(llama_folder)
    generated = model.eval().generate(input_ids=IDS, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    tokens = IDS
    for _ in range(3):  # without a cache
        with torch.no_grad():
            tokens = torch.cat([tokens, model(input_ids=tokens).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(generated, tokens)


def test_disabling_gives_the_base_back(llama_folder):
    model = adapted(llama_folder)
    base, with_adapter = logits(llama(llama_folder)), logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), base)
    assert torch.equal(logits(model), with_adapter)
    assert not torch.allclose(with_adapter, base, atol=1e-3)
    assert adapter_parameters(model).experts[0].A.requires_grad


def test_a_second_adapter_of_another_shape(llama_folder):
    model = adapted(llama_folder)
    first = logits(model)
    model.add_adapter("other", MoeLoraConfig(num_experts=3, top_k=1, r=5, target_modules=["v_proj"], seed=9))
    assert torch.equal(logits(model), first)  # added, not yet active
    assert not adapter_parameters(model, "other").experts[0].A.requires_grad
    give_output(model, "other", seed=4)
    model.set_adapter("other")
    assert len(adapter_parameters(model, "other").experts) == 2
    assert not torch.allclose(logits(model), first, atol=1e-3)
    assert adapter_parameters(model, "other").experts[0].A.requires_grad
    assert not adapter_parameters(model).experts[0].A.requires_grad
    model.set_adapter("default")
    assert torch.equal(logits(model), first)
    model.delete_adapter("other")
    assert torch.equal(logits(model), first)
    with pytest.raises(ValueError, match="no MoE-LoRA adapter named 'other'"):
        adapter_parameters(model, "other")


def test_two_active_adapters_add_up(llama_folder):
    model = adapted(llama_folder, target_modules=["model.layers.1.self_attn.v_proj"])
    model.add_adapter("other", MoeLoraConfig(**SETTINGS, target_modules=["model.layers.1.self_attn.v_proj"]))
    give_output(model, "other", seed=4)
    layer = moe_lora_layers(model.eval())[0]
    x = torch.randn(3, 32)
    outputs = []
    for names in (["default"], ["other"], ["default", "other"], []):
        model.base_model.set_adapter(names)
        outputs.append(layer(x))
    torch.testing.assert_close(outputs[2] - outputs[3], outputs[0] + outputs[1] - 2 * outputs[3])


def test_merging_is_refused_with_the_reason(llama_folder):
    model = adapted(llama_folder)
    before = logits(model)
    for merge in (
        model.merge_and_unload,
        model.merge_adapter,
        moe_lora_layers(model)[0].merge,
        moe_lora_layers(model)[0].unmerge,
    ):
        with pytest.raises(
            SpecError, match=r"cannot be merged: its gates differ from token to token"
        ) as error:
            merge()
        assert "\n" not in str(error.value)
    assert torch.equal(logits(model), before)
    assert torch.equal(logits(model.unload()), logits(llama(llama_folder)))


def loss_and_gradients(model: PeftModel) -> tuple[Tensor, list[Tensor]]:
    model.train()
    set_dropout_seed(model, 11)
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    return loss.detach(), [w.grad.clone() for w in model.parameters() if w.requires_grad]


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_gradient_checkpointing_recomputes_with_the_same_dropout(llama_folder, use_reentrant):
    plain, checkpointed = (adapted(llama_folder, lora_dropout=0.3) for _ in range(2))
    checkpointed.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    checkpointed.enable_input_require_grads()
    loss, gradients = loss_and_gradients(plain)
    loss_again, gradients_again = loss_and_gradients(checkpointed)
    assert torch.equal(loss, loss_again)
    for got, want in zip(gradients_again, gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-7)


def test_gradient_checkpointing_under_torchs_own_stream(llama_folder):
    plain, checkpointed = (adapted(llama_folder, lora_dropout=0.3).train() for _ in range(2))
    checkpointed.gradient_checkpointing_enable({"use_reentrant": False})
    gradients = []
    for model in (plain, checkpointed):
        torch.manual_seed(5)
        model(input_ids=IDS, labels=IDS).loss.backward()
        gradients.append([w.grad for w in model.parameters() if w.requires_grad])
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-7)


def test_a_bf16_base_keeps_fp32_adapters(llama_folder):
    # every expert is selected: rounding in the base must not send a token to another one
    model = adapted(llama_folder, dtype=torch.bfloat16, lora_dropout=0.0, num_experts=4, top_k=4)
    wide = adapted(llama_folder, lora_dropout=0.0, num_experts=4, top_k=4)
    parameters = adapter_parameters(model)
    trainable = [w for pair in parameters.experts for w in (pair.A, pair.B)] + list(parameters.routers)
    assert {w.dtype for w in trainable} == {torch.float32}
    for ours, theirs in zip(parameters.experts, adapter_parameters(wide).experts, strict=True):
        assert torch.equal(ours.A, theirs.A)  # not rounded on the way
    assert logits(model).dtype == torch.bfloat16
    torch.testing.assert_close(logits(model).float(), logits(wide), rtol=0, atol=0.05)
    optimizer = build_optimizer(model, family="grsgd", lr=0.3, router_lr=1e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model.train()(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1


def test_the_router_is_single_precision_whatever_surrounds_it(llama_folder):
    """Two experts whose logits differ by less than bf16 can tell, under a bf16 base and under autocast."""
    base = nn.Sequential(nn.Linear(32, 8, bias=False)).bfloat16()
    model = get_peft_model(
        base, MoeLoraConfig(num_experts=2, top_k=1, r=1, target_modules=["0"], lora_dropout=0.0)
    )
    layer = moe_lora_layers(model)[0]
    with torch.no_grad():
        layer.moe_lora_router["default"].fill_(1.0)
        layer.moe_lora_router["default"][1] += 1e-4  # expert 1 wins; in bf16 it would be a tie
        layer.moe_lora_A["default"].fill_(1.0)
        layer.moe_lora_B["default"].copy_(torch.tensor([1.0, -1.0])[:, None, None].expand(2, 8, 1))
        base[0].base_layer.weight.zero_()
    x = torch.ones(5, 32, dtype=torch.bfloat16)
    assert (model(x) < 0).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (model(x) < 0).all()


def test_an_encoder_with_a_head(bert_folder, tmp_path):
    def encoder() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return AutoModelForSequenceClassification.from_pretrained(bert_folder, num_labels=3)

    model = get_peft_model(encoder(), MoeLoraConfig(**SETTINGS, modules_to_save=["classifier"]))
    assert len(moe_lora_layers(model)) == 6  # query, key and value of two layers
    head = adapter_parameters(model).head
    assert [tuple(w.shape) for w in head] == [(3, 32), (3,)]
    optimizer = build_optimizer(model, family="radamw", lr=1e-2, router_lr=1e-3, head_lr=5e-2)
    assert [(g["name"], g["lr"]) for g in optimizer.param_groups][-1] == ("head", 5e-2)
    before = head[0].detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=IDS, labels=torch.tensor([0, 2])).loss.backward()
        optimizer.step()
    assert optimizer.last_step.head_grad_norm > 0
    assert not torch.equal(head[0], before)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(encoder(), tmp_path)
    assert torch.equal(logits(loaded), logits(model))


def test_conv1d_layers_of_gpt2():
    base = GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=1, n_head=2, pad_token_id=0)
    )
    model = get_peft_model(base, MoeLoraConfig(**SETTINGS))  # c_attn is found by default
    (pair,) = adapter_parameters(model).experts
    assert (pair.A.shape, pair.B.shape) == ((4, 2, 16), (4, 48, 2))
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert pair.B.grad.abs().max() > 0


def test_experts_per_layer(llama_folder):
    config = MoeLoraConfig(**SETTINGS, experts_per_layer={"v_proj": 7, r"layers\.1\.self_attn\.q_proj": 2})
    model = get_peft_model(llama(llama_folder), config)
    experts = {layer.module_name: len(layer.moe_lora_A["default"]) for layer in moe_lora_layers(model)}
    assert experts["model.layers.0.self_attn.q_proj"] == 4
    assert experts["model.layers.1.self_attn.q_proj"] == 2
    assert experts["model.layers.0.self_attn.v_proj"] == experts["model.layers.1.self_attn.v_proj"] == 7
    assert logits(model).isfinite().all()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_4_bit_base(tmp_path, device):
    pytest.importorskip("bitsandbytes", reason="the extra `quantized` is not installed")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=64, **shape)).save_pretrained(tmp_path)
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=quantization, device_map={"": device}
    )
    model = get_peft_model(base, MoeLoraConfig(**SETTINGS))
    assert moe_lora_layers(model)[0].base_layer.weight.dtype == torch.uint8
    optimizer = build_optimizer(model, family="gradamw", lr=1e-2, router_lr=1e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model(input_ids=IDS.to(device), labels=IDS.to(device)).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert adapter_parameters(model).experts[0].A.dtype == torch.float32
    assert losses[-1] < losses[0]


def test_layers_that_cannot_be_adapted_are_refused(llama_folder):
    with pytest.raises(
        SpecError, match=r"names 'model.embed_tokens', a Embedding, but MoE-LoRA adapts linear"
    ):
        get_peft_model(llama(llama_folder), MoeLoraConfig(**SETTINGS, target_modules=["embed_tokens"]))
    with pytest.raises(SpecError, match=r"target_modules is absent and Sequential has no attention layers"):
        get_peft_model(nn.Sequential(nn.Linear(3, 3)), MoeLoraConfig(**SETTINGS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 5}, "top_k is 5 but must be at most the number of experts, 4"),
        ({"experts_per_layer": {"q_proj": 1}}, "top_k is 2 but must be at most the number of experts, 1"),
        ({"top_k": 0}, "top_k is 0 but must be at least 1"),
        ({"r": 0}, "r is 0 but must be at least 1"),
        ({"lora_alpha": 0.0}, r"lora_alpha is 0.0 but must be above 0"),
        ({"lora_dropout": 1.0}, r"lora_dropout is 1.0 but must lie in \[0, 1\)"),
        ({"gate_exponent": 1.5}, r"gate_exponent is 1.5 but must lie in \[0, 1\]"),
        ({"load_balance_weight": -1.0}, "load_balance_weight is -1.0 but must not be below 0"),
        ({"input_gradient": "right"}, "input_gradient is 'right' but must be one of exact, faithful"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, message):
    with pytest.raises(SpecError, match=message) as error:
        MoeLoraConfig(**(SETTINGS | settings))
    assert "\n" not in str(error.value)


def test_initialising_an_absent_adapter_is_refused(llama_folder):
    with pytest.raises(ValueError, match="no MoE-LoRA adapter named 'other'"):
        initialize(adapted(llama_folder), 1, "other")


def test_layers_say_what_they_are(llama_folder):
    layer = moe_lora_layers(adapted(llama_folder))[0]
    assert isinstance(layer, MoeLoraLayer)
    assert repr(layer).startswith("moe_lora.MoeLoraLayer(")
