"""The part of a launch that trains: Ray, the packs, their precision and lanes, and one Tune run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from study.cluster import Packs, connected, living_nodes, session_name
from study.coordinator import Coordinator
from study.home import Home
from study.kept import KeptFiles
from study.ledger import Ledger
from study.node_probe import identity
from study.records import CONNECTED, PACKS_AWAITED
from study.spec import StudySpec
from trainers.store_settings import own_settings

if TYPE_CHECKING:
    from study.packs.sizing import Outlook


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One launch's way to train what its study lacks."""

    spec: StudySpec
    home: Home
    ledger: Ledger
    kept: KeptFiles
    address: str | None
    """A Ray cluster; None: a Ray of this machine's own."""
    say: Callable[[str], None]
    is_over: Callable[[], bool]
    """Whether the launch is to end; asked often."""

    def run(self, coordinator: Coordinator) -> None:
        """Run every trial that is missing, or as many as there is time for.

        Raises:
            SpecError: the cluster cannot be used, or no pack fits.
            RetryableError: no pack could get ready, or the surroundings failed for good.
        """
        with connected(self.address, self.home, self.spec.resources) as packs:
            if not self.is_over():
                self._tune(coordinator, packs)

    def _tune(self, coordinator: Coordinator, packs: Packs) -> None:
        """Start the packs, decide on their lanes, and let Ray Tune run all that is missing."""
        from study.packs.desk import PackDesk
        from study.packs.hardware import note_pack
        from study.packs.lanes import choose_lanes, useful_lanes, wait_for_packs
        from study.packs.precision import choose_precision
        from study.packs.sizing import expected, grown
        from study.packs.tuning import tune_trials

        name, room = self.spec.name, self._room(packs)
        packs = packs if room is None else expected(packs, room())
        at_full_size = packs if room is None else grown(packs, room())
        with PackDesk(
            packs,
            self._pack_constants(packs),
            most_lanes=useful_lanes(self.spec, at_full_size),
            name=name,
            room=room,
            on_left=lambda key: coordinator.receive(key, 0, ()),  # drops what an ended trial wrote since
            on_event=partial(note_pack, self.ledger, name),
            secrets=own_settings() if self.home.store else None,
        ) as desk:
            if not wait_for_packs(desk, self.is_over, on_wait=lambda: self._tell_waiting(packs, desk.names)):
                return
            mode = choose_precision(self.spec, desk, self.ledger, is_over=self.is_over)
            lanes = choose_lanes(
                self.spec,
                at_full_size,
                desk,
                self.ledger,
                matmul_mode=mode,
                is_over=self.is_over,
                say=self.say,
            )
            desk.set_lanes(lanes, mode)
            if wait_for_packs(desk, self.is_over):
                tune_trials(coordinator, desk, name=name, notes_dir=self.home.ray_dir, is_over=self.is_over)

    def _tell_waiting(self, packs: Packs, own: Sequence[str]) -> None:
        from study.packs.waiting import why_no_pack

        told = why_no_pack(packs, own)
        self.say(told)
        self.ledger.record_event(self.spec.name, PACKS_AWAITED, {"told": told})

    def _room(self, packs: Packs) -> "Outlook | None":
        """How much room a shared cluster has; nothing of a Ray that is this launch's own."""
        from study.packs.sizing import Outlook

        if self.address is None:
            return None
        cluster = session_name()
        self.ledger.record_event(self.spec.name, CONNECTED, {"cluster": cluster})
        return Outlook(packs, living_nodes, lambda: self.ledger.num_drivers_on(cluster), time.monotonic)

    def _pack_constants(self, packs: Packs) -> dict[str, Any]:
        """What every pack is told; no secret is among it."""
        confirmation = self.spec.phases.confirmation
        return {
            "workload": self.spec.workload.model_dump(mode="json"),
            "variants": {name: variant.model_dump() for name, variant in self.spec.variants.items()},
            "perturbations": [one.to_json() for one in confirmation.perturbations] if confirmation else [],
            "device": packs.device,
            "parts_dir": str(self.home.parts_dir),
            "cache_dir": str(self.home.cache_dir),
            "checkpoints_dir": str(self.kept.checkpoints),
            "adapters_dir": str(self.kept.adapters),
            "expects": identity() if self.address else None,
        }
