"""The manifest tells what packs trained on and how they multiplied, whatever the driver's machine is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from study.ledger import Ledger
from study.packs.hardware import note_pack, note_precision
from study.records import PACK_LOST, PACK_READY
from tests.study.samples import MANIFEST, SPEC, STUDY


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as opened:
        opened.create_study(STUDY, SPEC, "d" * 64, MANIFEST)
        yield opened


def test_every_node_stands_with_what_its_packs_trained_on(ledger: Ledger):
    for pack, node, device in ((0, "a", "H200"), (1, "a", "H200"), (2, "b", "H100"), (3, "b", "A100")):
        note_pack(ledger, STUDY, PACK_READY, {"pack": pack, "node": node, "device": device, "lanes": 2})
    note_pack(ledger, STUDY, PACK_LOST, {"pack": 0, "reason": "gone"})
    assert ledger.study(STUDY).manifest == {**MANIFEST, "pack_devices": {"a": "H200", "b": "A100, H100"}}
    assert [event.kind for event in ledger.events(STUDY)] == [PACK_READY] * 4 + [PACK_LOST]


@pytest.mark.parametrize("measured", [{}, {"device_name": "H200", "torch_version": "2.13.0"}])
def test_precision_stands_without_its_figures(ledger: Ledger, measured: dict[str, str]):
    probe = {"mode": "high", "tolerance": 1e-4, **measured}
    for _ in range(2):
        note_precision(ledger, STUDY, {**probe, "figures": {"high": {"error": 1e-6}}, "elapsed_s": 1.0})
    assert ledger.study(STUDY).manifest == {**MANIFEST, "precision": probe}
