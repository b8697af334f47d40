"""Processes of a machine share the weights of their base, and compute what they compute with weights of their own."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from trainers import shared_weights
from trainers.foundation import Foundation, load_foundation
from trainers.shared_weights import ALIGNMENT_BYTES, share_weights
from trainers.workload import Base

MIB = 2**20
IDS = torch.arange(1, 25).view(2, 12)


def load(folder: Path, cache_dir: Path | None = None, **options: Any) -> Foundation:
    base = Base(model=f"path:{folder}", dtype=options.pop("dtype", "float32"))
    return load_foundation(base, folder, cache_dir=cache_dir, **options)


@pytest.fixture(scope="module")
def bfloat16_dir(llama_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose weights must be converted to float32 when they are loaded, about 50 MiB then."""
    folder = tmp_path_factory.mktemp("bfloat16") / "model"
    shutil.copytree(llama_dir, folder)
    config = LlamaConfig.from_pretrained(llama_dir)
    config.update({"hidden_size": 512, "head_dim": 128, "intermediate_size": 1536, "num_hidden_layers": 4})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).bfloat16().save_pretrained(folder, safe_serialization=True)
    return folder


PROGRAM = """
import json, sys
from pathlib import Path
import torch
from trainers.foundation import load_foundation
from trainers.workload import Base

torch.set_num_threads(1)
base = Base(model=f"path:{sys.argv[1]}", dtype="float32")
cache = Path(sys.argv[2]) if sys.argv[2] else None
model = load_foundation(base, Path("."), cache_dir=cache).model
ids = torch.arange(1, 25).view(2, 12)
inputs = model.get_input_embeddings()(ids).detach().requires_grad_()
loss = model(inputs_embeds=inputs, labels=ids).loss
loss.backward()
print(loss.item().hex(), inputs.grad.double().sum().item().hex(), flush=True)
sys.stdin.readline()
figures = dict(line.split()[:2] for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
print(*(int(figures[name]) * 1024 for name in ("Anonymous:", "Pss:")), flush=True)
sys.stdin.readline()
"""


class Process:
    """A process that trains for a moment, then waits."""

    def __init__(self, folder: Path, cache_dir: Path | None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), str(cache_dir or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> list[str]:
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()

    def nudge(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.communicate("\n\n", timeout=300)


@pytest.mark.slow  # three processes that load torch and transformers
@pytest.mark.skipif(not shared_weights.MAPS.exists(), reason="needs Linux's account of memory")
def test_processes_that_begin_together_keep_one_copy_and_compute_the_same(bfloat16_dir: Path, tmp_path: Path):
    processes = [Process(bfloat16_dir, cache_dir) for cache_dir in (None, tmp_path, tmp_path)]
    try:
        trained = [process.hear() for process in processes]
        for process in processes:
            process.nudge()
        (own, own_pss), *others = [[int(figure) for figure in process.hear()] for process in processes]
    finally:
        for process in processes:
            process.end()
    assert len(trained[0]) == 2
    assert trained == [trained[0]] * 3
    weights = sum(weight.nbytes for weight in load(bfloat16_dir).model.parameters())
    assert weights > 45 * MIB
    for anonymous, pss in others:
        assert anonymous < own - 0.8 * weights
        assert pss < own_pss - 0.3 * weights  # half of one copy, where the two share it
    assert len(list(tmp_path.glob("*.weights"))) == 1


def test_weights_keep_their_bytes_alignment_and_ties(bfloat16_dir: Path, tmp_path: Path):
    own, shared = load(bfloat16_dir).model, load(bfloat16_dir, tmp_path).model
    assert shared.lm_head.weight is shared.model.embed_tokens.weight
    weights = dict(shared.named_parameters())
    for name, weight in own.named_parameters():
        assert torch.equal(weight.view(torch.uint8), weights[name].view(torch.uint8))
        assert weights[name].data_ptr() % ALIGNMENT_BYTES == 0
        assert not weights[name].requires_grad
    assert torch.equal(own(IDS).logits, shared(IDS).logits)
    (path,) = tmp_path.glob("*.weights")
    assert {name: tuple(one.shape) for name, one in load_file(path).items()} == {
        name: tuple(weight.shape) for name, weight in weights.items()
    }


def test_writing_to_a_weight_changes_nobody_else_s(bfloat16_dir: Path, tmp_path: Path):
    first, second = load(bfloat16_dir, tmp_path).model, load(bfloat16_dir, tmp_path).model
    (path,) = tmp_path.glob("*.weights")
    before, bytes_before = second.lm_head.weight.clone(), path.read_bytes()
    with torch.no_grad():
        first.lm_head.weight.zero_()
    assert torch.equal(second.lm_head.weight, before)
    assert path.read_bytes() == bytes_before


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def hold_another_model(path: Path) -> None:
    save_file({"weight": torch.ones(16)}, path)


def shift_the_weights(path: Path) -> None:
    save_file({"a": torch.ones(1), **load_file(path)}, path)


@pytest.mark.parametrize("damage", [flip_last_byte, cut_in_half, hold_another_model, shift_the_weights])
def test_a_damaged_or_foreign_file_is_written_anew(
    damage: Callable[[Path], None], bfloat16_dir: Path, tmp_path: Path
):
    load(bfloat16_dir, tmp_path)
    (path,) = tmp_path.glob("*.weights")
    whole = path.read_bytes()
    damage(path)
    again = load(bfloat16_dir, tmp_path)
    assert torch.equal(again.model(IDS).logits, load(bfloat16_dir).model(IDS).logits)
    assert sorted(tmp_path.iterdir()) == [path.with_suffix(".lock"), path]
    assert path.read_bytes() == whole


def test_another_base_has_another_file(bfloat16_dir: Path, tmp_path: Path):
    for digest in ("a", "b"):
        assert share_weights(load(bfloat16_dir).model, tmp_path, base_digest=digest) > 45 * MIB
    assert len(list(tmp_path.glob("*.weights"))) == 2


def test_weights_that_are_mapped_already_are_not_written(bfloat16_dir: Path, tmp_path: Path):
    load(bfloat16_dir, tmp_path, dtype="bfloat16")
    assert list(tmp_path.iterdir()) == []


def test_a_head_is_trained_and_so_not_shared(bert_dir: Path, tmp_path: Path):
    model = load(bert_dir, tmp_path, num_labels=2).model
    written = {name for path in tmp_path.glob("*.weights") for name in load_file(path)}
    assert written.isdisjoint(name for name, _ in model.named_parameters() if "classifier" in name)


def test_without_room_the_weights_stay_where_they_are(
    bfloat16_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    full = shutil.disk_usage(tmp_path)._replace(free=20 * MIB)
    monkeypatch.setattr(shared_weights.shutil, "disk_usage", lambda _: full)
    assert share_weights(load(bfloat16_dir).model, tmp_path, base_digest="a") == 0
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_without_a_folder_the_weights_stay_where_they_are(bfloat16_dir: Path, tmp_path: Path):
    no_folder = tmp_path / "file"
    no_folder.write_text("")
    assert share_weights(load(bfloat16_dir).model, no_folder, base_digest="a") == 0
