"""Small files that stand for much: each is read in a process of its own, which tells its time and its memory.

Run as `python -m tests.untrusted.bombs`; it prints a line of JSON for each bomb.
"""

import base64
import gzip
import io
import json
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from search_spaces.errors import TrialwrightError

ADDRESS_SPACE = 6 * 2**30
"""Most that the process may map; what would take more fails here and not on the machine."""


def parquet_bomb(folder: Path) -> Path:
    """A few kilobytes that unfold to gigabytes: one long text, referred to by many rows."""
    text = pa.array(["x" * 20_000]).dictionary_encode()
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 300_000, pa.int8()), text.dictionary)
    path = folder / "bomb.parquet"
    parquet.write_table(
        pa.table({"text": rows, "label": rows, "phase": rows}), path, compression="zstd", store_schema=False
    )
    return path


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def zip_bomb(size: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("files/bomb", "w") as member:
            for _ in range(size // 2**20):
                member.write(bytes(2**20))
        archive.writestr("result.json", '{"code": 0, "out": "", "err": ""}')
    return buffer.getvalue()


def bombs(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and reading of each."""
    from study.analysis_files import read_tables
    from study.bundle import unpack_bundle
    from study.claims import load_claims
    from study.jobs.relay import MARK, relayed
    from study.service.bodies import read_sent
    from study.spec import load_spec
    from trainers.archives import unpack
    from trainers.model_folder import linear_names
    from trainers.tasks import own_rows
    from trainers.workload import Task

    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    merges = "a0: &a0 {x: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
    )
    for name, text in {
        "aliases": laughs,
        "merges": merges,
        "an alias of itself": "a: &a [*a]\n",
        "brackets": "a: " + "[" * 400_000,
        "indents": "".join(" " * level + "a:\n" for level in range(1_300)),
        "values": "a: [" + "1," * 450_000 + "1]\n",
        "digits": "seed: " + "9" * 900_000,
        "a long line": "a: " + "x" * 900_000,
        "quotes": "a: '" + "''" * 400_000,
        "spaces": "a:" + " " * 900_000 + "1\n",
        "questions": "? " * 200_000,
    }.items():
        path = written(folder, "bomb.yaml", text.encode())
        yield f"study file: {name}", lambda path=path: load_spec(path)
        if name in {"aliases", "an alias of itself", "digits"}:  # one reader reads them all
            yield f"claims file: {name}", lambda path=path: load_claims(path)
            yield f"API: {name}", lambda text=text: read_sent("application/yaml", text.encode()[:190_000])
    yield "study file: a device", lambda: load_spec("/dev/zero")
    yield "claims file: a device", lambda: load_claims("/dev/zero")
    yield "API: JSON", lambda: read_sent("application/json", b"[" * 900_000)
    bomb = parquet_bomb(folder)
    own_rows.MOST_CHARS = 50_000_000  # its own limit works alike and takes seconds
    rows = Task(name="rows", path=str(bomb), prompt="{text}", answer="label")
    yield "table: Parquet", lambda: read_tables(bomb)
    yield "rows: Parquet", lambda: own_rows.load_own_rows(rows)
    wide = written(folder, "wide.csv", b"," * 30_000_000 + b"\n")
    yield "table: a wide header", lambda: read_tables(wide)
    columns = written(folder, "columns.csv", ",".join(f"c{n}" for n in range(100_000)).encode() + b"\n")
    yield "table: columns", lambda: read_tables(columns)
    digits = written(folder, "digits.csv", b"phase,seed\nsearch,1e999999999\n")
    yield "table: digits", lambda: read_tables(digits)
    (folder / "base").mkdir()
    written(folder, "base/model.safetensors", b"\xff" * 7 + b"\x7f" + b"{}")
    yield "weights: a long header", lambda: linear_names(folder / "base")
    packed = zip_bomb(400 * 2**20)
    yield "job's result", lambda: relayed([MARK + base64.b64encode(packed).decode()])
    yield "archive", lambda: unpack(zipfile.ZipFile(io.BytesIO(packed)), folder / "base", most_bytes=10**6)
    yield "bundle", lambda: unpack_bundle(base64.b64encode(gzip.compress(bytes(60_000_000))).decode())


def main() -> None:
    """Set off every bomb and tell what it took."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    with tempfile.TemporaryDirectory() as place:
        for name, read in bombs(Path(place)):
            before_kb, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
            try:
                read()
                told = "it was read"
            except (TrialwrightError, ValueError) as error:
                told = f"{type(error).__name__}: {error}"
            taken_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
            line = {
                "bomb": name,
                "cpu_s": time.process_time() - began,
                "bytes": 1024 * taken_kb,
                "told": told,
            }
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
