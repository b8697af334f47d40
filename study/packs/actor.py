"""The Ray actor that holds a pack: one copy of the base, several lanes, one thread that trains.

Ray calls its methods in threads of their own, as many as there may be clients. Torch is imported in the training
thread and not with this module, which the driver loads too.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ray import get_runtime_context
from ray.util import get_node_ip_address

from search_spaces.errors import RetryableError
from study.packs.failures import LaneFailedError, in_a_line
from study.packs.training_thread import State, TrainingThread
from trainers.store_settings import adopt_settings

if TYPE_CHECKING:
    from trainers.workbench import Workbench

POLL_S = 5.0
"""A client asks again at least so often."""


class PackActor:
    """What clients and the desk can ask of a pack."""

    def __init__(self, study: dict[str, Any], num_threads: int) -> None:
        """Begin to load the base; returns at once.

        Args:
            study: what all trials share: `workload`, `variants` by name, `perturbations` of the adapters that are
                kept, `device`, the folders `parts_dir`, `cache_dir`, `checkpoints_dir` and `adapters_dir`, and, on a
                cluster, what `study.node_probe.identity` `expects` of a node.
            num_threads: CPUs of this pack.
        """
        self._study = study
        self._instance = uuid4().hex
        self._told: list[str] = []
        self._thread = TrainingThread(partial(_open, study, num_threads))

    def ping(
        self, lanes: int | None, matmul_mode: str, secrets: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Say how far the pack is, and make its lanes once their number is known.

        Args:
            lanes: trials that may train together; None: not known yet.
            matmul_mode: how float32 products are done, as `trainers.precision.use_precision` names it.
            secrets: the driver's settings of the object store, used where this node has none of its own.

        Returns:
            `instance`, another after each restart, `state`, what `failure` there was, its `node`: that one's address,
            and Ray's name of it as `node_id`, and what it trains on as `device`, empty until it is ready.
        """
        adopt_settings(secrets or {})
        if lanes is not None:
            self._thread.set_lanes(lanes, partial(_use_precision, matmul_mode))
        state = self._thread.state
        return {
            "instance": self._instance,
            "state": state.value,
            "failure": self._thread.failure,
            "node": get_node_ip_address(),
            "node_id": get_runtime_context().get_node_id(),
            "device": _device_name(self._study.get("device", "cpu")) if state is State.READY else "",
        }

    def probe(self) -> dict[str, Any]:
        """Measure how exact and how fast float32 products are; a `trainers.precision.Probe` as JSON.

        Raises:
            LaneFailedError: it cannot be done.
        """
        return self._run(_probe)

    def calibrate(
        self, trials: Sequence[Mapping[str, Any]], most_lanes: int, num_packs: int, matmul_mode: str
    ) -> dict[str, Any]:
        """Time joint steps, before there are lanes; a `trainers.calibrated.Calibration` as JSON.

        Args:
            trials: kinds of trials to time, as for `seat`.
            most_lanes: the most that are of use.
            num_packs: packs that may share this machine.
            matmul_mode: as for `ping`.

        Raises:
            LaneFailedError: it cannot be done, say because not even one trial fits.
        """

        def timed(bench: "Workbench") -> dict[str, Any]:
            from study.packs.opening import calibrate_bench

            _use_precision(matmul_mode)
            return calibrate_bench(
                bench,
                self._study,
                trials,
                most_lanes=most_lanes,
                num_packs=num_packs,
                say=self._told.append,
            )

        return self._run(timed)

    def told(self) -> list[str]:
        """What a calibration has said so far, a sentence each."""
        return list(self._told)

    def seat(self, ticket: str, planned: Mapping[str, Any], instance: str) -> None:
        """Have a trial seated as soon as a lane is free; returns at once.

        Args:
            ticket: names this stay; a fresh one each time that a trial is given to a pack.
            planned: `key`, `family`, `params`, `seed`, `steps` and `keep_adapter`.
            instance: as `ping` told it. Ray may have started another process since, which knows of no lanes.

        Raises:
            RetryableError: this is another process.
        """
        if instance != self._instance:
            raise RetryableError("The pack's process ended before the trial came, and another was started.")

        def setup() -> Any:
            from study.packs.opening import trial_setup

            return trial_setup(self._study, planned)

        self._thread.seat(ticket, setup)

    def next(self, ticket: str, num_sent: int) -> dict[str, Any]:
        """What a trial has reported beyond `num_sent` reports, or nothing after a while.

        Returns:
            `first_report`, `reports` and `done`, or an empty document.
        """
        return self._thread.next(ticket, num_sent, POLL_S)

    def leave(self, ticket: str) -> None:
        """Free a trial's lane; returns once it is free."""
        self._thread.leave(ticket)

    def _run(self, job: Callable[["Workbench"], dict[str, Any]]) -> dict[str, Any]:
        try:
            return self._thread.run(job)
        except Exception as error:  # noqa: BLE001 (torch's own errors stay here)
            raise LaneFailedError(in_a_line(error)) from None


def _device_name(device: str) -> str:
    """What a pack trains on, once torch is loaded anyway."""
    import torch

    from trainers.precision import device_name

    return device_name(torch.device(device))


def _use_precision(mode: str) -> None:
    from trainers.precision import use_precision

    use_precision(mode)


def _probe(bench: "Workbench") -> dict[str, Any]:
    from trainers.precision import probe_precision

    return probe_precision(bench).to_json()


def _open(study: dict[str, Any], num_threads: int) -> "Workbench":
    from study.packs.opening import open_bench

    return open_bench(study, num_threads)
