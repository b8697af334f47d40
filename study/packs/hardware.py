"""What packs train on and how they multiply, kept in the study's manifest: the driver's machine tells neither."""

from collections.abc import Mapping
from typing import Any

from study.ledger import Ledger
from study.records import PACK_READY

PRECISION_FACTS = ("mode", "tolerance", "device_name", "torch_version")
"""Of a `trainers.precision.Probe`; its figures are in the ledger's event."""


def note_pack(ledger: Ledger, study: str, kind: str, detail: Mapping[str, Any]) -> None:
    """Keep what happened to a pack and, of one that is ready, on which node it trains on what.

    Args:
        ledger: holds the study.
        study: its name.
        kind: of the event.
        detail: as the desk tells it.
    """
    ledger.record_event(study, kind, detail)
    if kind == PACK_READY:
        known: Mapping[str, str] = ledger.study(study).manifest.get("pack_devices") or {}
        node, device = detail["node"], detail["device"]
        there = {*known.get(node, device).split(", "), device}
        _keep(ledger, study, "pack_devices", {**known, node: ", ".join(sorted(there))})


def note_precision(ledger: Ledger, study: str, probe: Mapping[str, Any]) -> None:
    """Keep how float32 products are done, and where that was measured, if it was.

    Args:
        ledger: holds the study.
        study: its name.
        probe: `mode`, `tolerance` and, if it was measured, the rest of a `trainers.precision.Probe`.
    """
    _keep(ledger, study, "precision", {name: probe[name] for name in PRECISION_FACTS if name in probe})


def _keep(ledger: Ledger, study: str, name: str, facts: Mapping[str, Any]) -> None:
    recorded = ledger.study(study).manifest
    if recorded.get(name) != facts:
        ledger.save_manifest(study, {**recorded, name: facts})
