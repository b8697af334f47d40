"""What is found on this machine."""

import re

import pytest

from study import doctor
from study.doctor import examination_text, examine
from study.home import Home
from trainers.precision import SLOW_BFLOAT16


@pytest.fixture
def found(tmp_path, monkeypatch) -> dict[str, dict]:
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 2**70)
    return {finding["name"]: finding for finding in examine(Home(root=tmp_path))}


def test_what_is_there_is_well_and_what_lacks_is_told(found):
    assert {name for name, finding in found.items() if not finding["ok"]} == {"disk"}
    assert "are free in" in found["disk"]["says"]
    assert "torch" in found["torch"]["says"]
    text = examination_text(list(found.values()))
    assert len(text.splitlines()) == len(found)
    assert text.count("LACKING") == 1


def test_bfloat16_comes_with_what_to_do_where_it_is_slow(found):
    told = found["bfloat16"]["says"]
    times = float(re.search(r"take ([\d.]+) times as long", told)[1])
    assert ("dtype: float32" in told) == (times > SLOW_BFLOAT16)
