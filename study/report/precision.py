"""How exact the study's float32 matrix products were: what its first pack measured, and which mode all then used."""

from collections.abc import Mapping, Sequence
from typing import Any

from study.records import PRECISION


def precision_facts(events: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Mode, tolerance and what every mode came to; empty where nothing is recorded.

    Args:
        events: what happened to the study, oldest first; the first probe holds for the whole study.
    """
    probe = next((event["detail"] for event in events if event.get("kind") == PRECISION), None)
    if probe is None:
        return ()
    figures = (
        (
            f"{mode} mode",
            f"relative error {one['error']:.1e}, {100 * one['relative_time']:.0f} % of the time of highest",
        )
        for mode, one in probe["figures"].items()
    )
    return (
        ("mode", str(probe["mode"])),
        ("largest relative error allowed", f"{probe['tolerance']:g}"),
        *figures,
        ("measured on", str(probe["device_name"])),
        ("PyTorch", str(probe["torch_version"])),
    )
