"""What a fuzzer begins with: the corpus of broken files, and one right example of everything that is parsed."""

import base64
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

CORPUS = Path(__file__).parents[1] / "corpus"
ADDRESSES = (
    b"http://head:8265",
    b"ray://head:10001",
    b"host:6379",
    b"s3://bucket/prefix",
    b"sqlite:////tmp/x.db",
    b"postgresql://user:word@host:5432/db?sslmode=require",
    b"http://[::1]:5000",
    b"http://[",
)


def _files(folder: str, *endings: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / folder).iterdir()) if path.suffix in endings]


def _tables(ending: str) -> list[bytes]:
    frame = pd.read_csv(CORPUS / "given" / "trials.csv", keep_default_na=False)
    right = frame.to_csv(index=False).encode() if ending == ".csv" else frame.to_parquet()
    return [right, *_files("tables", ending)]


def _own_rows() -> list[bytes]:
    frame = pd.DataFrame({"text": ["good film", "bad film"] * 3, "label": ["yes", "no"] * 3})
    lines = frame.to_json(orient="records", lines=True).encode()
    return [b"\x00" + frame.to_csv(index=False).encode(), b"\x01" + lines, b"\x02" + frame.to_parquet()]


def _weights() -> bytes:
    entry = {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}
    header = json.dumps({"model.head.weight": entry, "__metadata__": {"format": "pt"}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


def _two_files(first: bytes, second: bytes, unit: int) -> bytes:
    """As the targets of two files split them: the first, filled with blanks, is so many units long."""
    units = -(-len(first) // unit)
    return bytes([units]) + first.ljust(units * unit) + second


def _checkpoint() -> bytes:
    import hashlib

    facts = {"step": 1, "tensors_sha256": hashlib.sha256(_weights()).hexdigest(), "state": {"digest": "x"}}
    checksum = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return _two_files(json.dumps({"sha256": checksum, "facts": facts}).encode(), _weights(), 4)


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report/report.html", "<p>")
        archive.writestr("result.json", json.dumps({"code": 0, "out": "", "err": ""}))
    return buffer.getvalue()


def _bundle() -> bytes:
    from study.bundle import pack_bundle

    return pack_bundle({"name": "tiny", "seed": 1}, None).encode()


def _bodies() -> list[bytes]:
    study = (CORPUS / "given" / "study.yaml").read_text(encoding="utf-8")
    claims = (CORPUS / "given" / "claims.yaml").read_text(encoding="utf-8")
    sent = json.dumps({"spec": study, "claims": claims}).encode()
    return [b"\x00" + sent, b"\x01" + study.encode(), b'\x00{"spec": {"name": "tiny"}}']


def _given(name: str) -> list[bytes]:
    return [(CORPUS / "given" / name).read_bytes()]


SEEDS: Mapping[str, Callable[[], list[bytes]]] = {
    "study_file": lambda: _given("study.yaml") + _files("study", ".yaml"),
    "claims_file": lambda: _given("claims.yaml") + _files("claims", ".yaml"),
    "trial_table_csv": lambda: _tables(".csv"),
    "trial_table_parquet": lambda: _tables(".parquet"),
    "curves_csv": lambda: [b"trial,step,value\na,0,0.7\na,20,0.5\n"],
    "own_rows": _own_rows,
    "checkpoint": lambda: [_checkpoint()],
    "adapter": lambda: [_two_files(b'{"modules_to_save": ["head"]}', _weights(), 1)],
    "base_folder": lambda: [_two_files(b'{"architectures": ["LlamaForCausalLM"]}', _weights(), 1)],
    "api_body": _bodies,
    "bundle": lambda: [_bundle()],
    "relayed_result": lambda: [base64.b64encode(_archive())],
    "archive": lambda: [_archive()],
    "addresses": lambda: list(ADDRESSES),
    "tokens": lambda: [b"twr_" + b"A" * 43 + b"\n", b"\xff\xfe"],
}
"""Beginnings by target."""
