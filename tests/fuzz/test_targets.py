"""Every parser against bytes that hypothesis makes from right and broken files; `make fuzz` looks for longer."""

import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
"""Inputs for each target; `make fuzz` raises it where there is no atheris."""
MAX_SEED_BYTES = 20_000
FOUND = Path(__file__).with_name("found")
"""Inputs that broke a target before it was mended, each under the target's name and a number."""
PIECES = [
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\n",
        b"\r",
        b"\x1b[31m",
        b"\t",
        b",",
        b'"',
        b"'",
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(
        b": ",
        b"- ",
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!",
        b"? ",
        b"|",
        b"#",
        b"---\n",
        b"null",
        b"true",
        b"-1",
        b"0",
        b"1e999",
    ),
    *(
        b".nan",
        b".inf",
        b"9" * 30,
        b"9" * 5000,
        b"=cmd()",
        b"../",
        b"<script>",
        b"%s%n",
        "\u202e".encode(),
        b"~nobody/x",
    ),
    *(b"[" * 60, b"\xff" * 8, b"\x7f" * 8, b"e" * 300),
]


@cache
def seeds(name: str) -> list[bytes]:
    return [seed for seed in SEEDS[name]() if len(seed) <= MAX_SEED_BYTES]


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """A seed with a few places cut out, doubled, overwritten or moved."""
    data = draw(st.sampled_from(seeds(name)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        put = draw(st.sampled_from(PIECES) | st.binary(max_size=8) | st.just(data[start:end] * 2))
        data = data[:start] + put + data[end:]
    return data


def test_every_target_has_a_beginning():
    assert SEEDS.keys() == TARGETS.keys()
    assert all(seeds(name) for name in TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_anything_is_parsed_or_refused_in_one_line(name: str):
    @settings(
        max_examples=EXAMPLES,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(name) | st.binary(max_size=200))
    def parse(data: bytes) -> None:
        TARGETS[name](data)

    parse()


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_what_broke_a_parser_once_breaks_it_no_more(path: Path):
    TARGETS[path.stem](path.read_bytes())
