"""Checkpoints: whole or absent, whatever happens while or after they are written."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from trainers import places
from trainers.checkpoint import Checkpoint, load_newest, save_checkpoint


def made(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    return Checkpoint(
        step=step,
        tensors={
            "weights/a": torch.randn(3, 4, generator=generator),
            "weights/half": torch.randn(5, generator=generator).to(torch.bfloat16),
            "moments/0/step": torch.tensor(float(step)),
            "moments/0/exp_avg": torch.randn(2, 3, generator=generator).T,
            "count": torch.tensor([2**40 + step]),
        },
        state={"reports": [{"step": step, "loss": 0.1 + step}], "nan": 1e-300, "text": "é\n"},
    )


def same(one: Checkpoint | None, other: Checkpoint) -> bool:
    return (
        one is not None
        and (one.step, one.state) == (other.step, other.state)
        and one.tensors.keys() == other.tensors.keys()
        and all(
            torch.equal(tensor, other.tensors[name]) and tensor.dtype == other.tensors[name].dtype
            for name, tensor in one.tensors.items()
        )
    )


def test_what_was_written_comes_back_to_the_bit(tmp_path):
    saved = made(7)
    assert (
        save_checkpoint(tmp_path / "deep" / "trial", saved) == tmp_path / "deep" / "trial" / "step-00000007"
    )
    assert same(load_newest(tmp_path / "deep" / "trial"), saved)


def test_there_is_none_before_the_first(tmp_path):
    assert load_newest(tmp_path / "never") is None


def test_the_newest_two_are_kept_in_the_order_of_steps(tmp_path):
    for step in (8, 9, 10, 100):
        save_checkpoint(tmp_path, made(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    assert same(load_newest(tmp_path), made(100))


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path):
    save_checkpoint(tmp_path, made(4))
    other = Checkpoint(step=4, tensors={"weights/a": torch.ones(1)}, state={"reports": []})
    save_checkpoint(tmp_path, other)
    assert same(load_newest(tmp_path), other)


def test_nothing_is_pickled(tmp_path):
    folder = save_checkpoint(tmp_path, made(1))
    assert sorted(path.name for path in folder.iterdir()) == ["state.json", "tensors.safetensors"]
    json.loads((folder / "state.json").read_text())


@pytest.mark.parametrize("file", ["state.json", "tensors.safetensors"])
def test_a_flipped_bit_anywhere_falls_back_to_the_checkpoint_before(tmp_path, file):
    save_checkpoint(tmp_path, made(1))
    damaged = save_checkpoint(tmp_path, made(2)) / file
    whole = damaged.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        damaged.write_bytes(flipped)
        found = load_newest(tmp_path)
        assert same(found, made(1)) or same(found, made(2))  # white space may differ without harm
        assert same(found, made(1)) or file == "state.json"


@pytest.mark.parametrize("file", ["state.json", "tensors.safetensors"])
@pytest.mark.parametrize("length", [None, 0, 10])
def test_a_missing_or_cut_file_falls_back_to_the_checkpoint_before(tmp_path, file, length):
    save_checkpoint(tmp_path, made(1))
    damaged = save_checkpoint(tmp_path, made(2)) / file
    if length is None:
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[:length])
    assert same(load_newest(tmp_path), made(1))


def test_when_both_are_damaged_there_is_none(tmp_path):
    for step in (1, 2):
        (save_checkpoint(tmp_path, made(step)) / "state.json").write_text('{"sha256": 1, "facts": []}')
    assert load_newest(tmp_path) is None


@pytest.mark.parametrize("call", range(6))
def test_a_crash_at_any_call_leaves_the_old_or_the_new_one(tmp_path, monkeypatch, call):
    save_checkpoint(tmp_path, made(1))
    calls = 0

    def dying(real):
        def act(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls > call:
                raise KeyboardInterrupt
            return real(*arguments, **named)

        return act

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", dying(os.fsync))
        patched.setattr(Path, "rename", dying(Path.rename))
        patched.setattr(shutil, "rmtree", dying(shutil.rmtree))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, made(2))
    found = load_newest(tmp_path)
    assert same(found, made(1)) or same(found, made(2))
    save_checkpoint(tmp_path, made(3))
    assert same(load_newest(tmp_path), made(3))


def test_files_are_on_disk_before_the_folder_gets_its_name(tmp_path, monkeypatch):
    order: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("sync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "rename", lambda path, to: (order.append("rename"), rename(path, to))[1])
    save_checkpoint(tmp_path, made(1))
    assert order == ["sync", "sync", "rename", "sync"]


def test_a_full_disk_leaves_the_checkpoint_before_and_no_rubbish(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, made(1))

    def full(path, content):
        path.write_bytes(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(places, "_write_durably", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, made(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert same(load_newest(tmp_path), made(1))


_WRITER = """
import sys, itertools, torch
from pathlib import Path
from trainers.checkpoint import Checkpoint, save_checkpoint
for step in itertools.count(1):
    weights = torch.full((64, 1024), float(step))
    save_checkpoint(Path(sys.argv[1]), Checkpoint(step=step, tensors={"w": weights}, state={"at": step}))
    print(step, flush=True)
"""


def test_a_writer_that_is_killed_leaves_a_whole_checkpoint(tmp_path):
    chance = random.Random(1)
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    for _ in range(5):
        last = int(writer.stdout.readline())
    time.sleep(chance.random() * 0.05)
    writer.send_signal(signal.SIGKILL)
    last = max([last, *map(int, writer.stdout.read().split())])
    writer.wait()
    found = load_newest(tmp_path)
    assert found.step in {last, last + 1}
    assert torch.equal(found.tensors["w"], torch.full((64, 1024), float(found.step)))
    assert found.state == {"at": found.step}


@pytest.mark.parametrize(
    "facts", [{"step": "7"}, {"step": -1}, {"step": True}, {"state": []}, {"state": None}]
)
def test_a_checkpoint_of_another_form_falls_back_though_its_checksum_is_right(tmp_path, facts):
    save_checkpoint(tmp_path, made(1))
    state_path = save_checkpoint(tmp_path, made(2)) / "state.json"
    document = json.loads(state_path.read_text())
    document["facts"] |= facts
    text = json.dumps(document["facts"], sort_keys=True)
    document["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    state_path.write_text(json.dumps(document))
    assert same(load_newest(tmp_path), made(1))


def test_a_state_that_is_nested_without_end_falls_back(tmp_path):
    save_checkpoint(tmp_path, made(1))
    (save_checkpoint(tmp_path, made(2)) / "state.json").write_text("[" * 200_000)
    assert same(load_newest(tmp_path), made(1))
