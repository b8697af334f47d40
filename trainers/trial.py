"""One trial's life: a fresh adapter on the frozen base, trained, measured, checkpointed, taken off again.

A trial is a function of its setup alone. Initial weights, data order and dropout derive by SHA-256 from its seed
and the step, never from the worker, the clock or earlier trials; so a trial that was interrupted continues from
its checkpoint to the very measurements of one that was not. Only figures in seconds differ.
"""

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal

import torch

from search_spaces.errors import TrialFailedError
from trainers.adapter import attach_adapter
from trainers.checkpoint import Checkpoint, load_newest, load_reports, save_checkpoint, save_report
from trainers.objective import Evaluation
from trainers.optimizers import StepStatistics
from trainers.perturbations import DisturbedEvaluation, disturbed_evaluations, perturbed_scores
from trainers.reports import Report, TrialEnding
from trainers.schedule import lr_multiplier
from trainers.training_step import (
    Accumulated,
    Interval,
    NextStep,
    accumulate_gradients,
    add_step,
    apply_gradients,
)
from trainers.trial_setup import TrialSetup
from trainers.workbench import Workbench

__all__ = ["Made", "Trial", "TrialSetup"]

Made = Accumulated | TrialFailedError | torch.OutOfMemoryError
"""What the passes of a step came to, or why there are no gradients."""

Moved = StepStatistics | TrialFailedError | None
"""What an optimizer's step did, or why it was not taken."""

Scores = tuple[Evaluation, dict[str, float]]
"""Scores on a split, with routing figures."""


class Trial:
    """A trial on a worker, from its newest checkpoint (or from nothing) to its ending."""

    def __init__(self, setup: TrialSetup, workbench: Workbench) -> None:
        """Attach the adapter and restore the newest checkpoint that belongs to this setup.

        Raises:
            SpecError: the adapter does not fit the base (unknown target modules).
        """
        self._setup = setup
        self._workbench = workbench
        self._training = workbench.workload.training
        self._digest = setup.digest(workbench)
        self.adapter = attach_adapter(
            workbench, family=setup.family, params=setup.params, seed=setup.seed, variant=setup.variant
        )
        self._step = 0
        self._interval = Interval()
        self._micro_batch = self._training.micro_batch or self._training.batch
        self._device_s = 0.0
        self._marked_at = time.perf_counter()
        self.reports: list[Report] = []
        self._made_before: dict[int, Report] = {}
        self._restore()

    @property
    def is_over(self) -> bool:
        """Whether the trial has reported its ending."""
        return bool(self.reports) and self.reports[-1].ending is not None

    def advance(self) -> Report:
        """Train to the next evaluation and report it; the last report carries the ending."""
        self._marked_at = time.perf_counter()
        try:
            report = self._train_to_report() if self.reports else self._measure()
        except torch.OutOfMemoryError as error:
            report = self._out_of_memory(error)
        return self._recorded(report)

    def take_step(self, made: Made, moved: Moved, *, device_s: float) -> bool:
        """Take note of a step that a pack has taken with this trial's adapter; whether a measurement is due now.

        Args:
            made: what the passes came to, or why there are no gradients.
            moved: what the optimizer did, or why it could not; None where there were no gradients.
            device_s: this trial's share of the seconds they took.

        Raises:
            OSError: a checkpoint could not be written.
        """
        self._marked_at = time.perf_counter() - device_s
        target = self._next_report_step()
        if isinstance(made, torch.OutOfMemoryError):
            self._recorded(self._out_of_memory(made))
        elif isinstance(made, TrialFailedError) or isinstance(moved, TrialFailedError):
            reason = made if isinstance(made, TrialFailedError) else moved
            self._recorded(self._ended("diverged", str(reason), at_step=self._step + 1))
        else:
            add_step(self._interval, self.adapter, made)
            self._step += 1
            self._save_on_the_way(target)
        self._costs()
        return not self.is_over and self._step >= target

    def repeated(self) -> Report | None:
        """The report that is due, where it was made before the trial went on from an older checkpoint."""
        known = self._known()
        return None if known is None else self._recorded(known)

    def measured(
        self,
        select: Scores | torch.OutOfMemoryError,
        report: Scores | torch.OutOfMemoryError | None,
        perturbed: Mapping[str, float] | None,
        *,
        device_s: float,
    ) -> Report:
        """Take note of scores that a pack has made after a step, and report them.

        Args:
            select: scores on the select split, with routing figures, or why there are none.
            report: the same on the report split; None: made here, where they are needed.
            perturbed: metrics of what `disturbed_evaluations` asks for; None: made here, where they are needed.
            device_s: this trial's share of the seconds that they took.

        Raises:
            OSError: a checkpoint or the adapter could not be written.
        """
        self._marked_at = time.perf_counter() - device_s
        try:
            scores = _present(select), None if report is None else _present(report)[0]
            made = self._measured(*scores, perturbed)
        except torch.OutOfMemoryError as error:
            made = self._out_of_memory(error)
        return self._recorded(made)

    def disturbed_evaluations(
        self, select: Scores | torch.OutOfMemoryError, report: Scores | torch.OutOfMemoryError
    ) -> list[DisturbedEvaluation]:
        """What else is to be scored where these are a trial's last scores: nothing if they end it in another way."""
        if isinstance(select, torch.OutOfMemoryError) or isinstance(report, torch.OutOfMemoryError):
            return []
        if self._explosion(select[0].loss_nats) or not math.isfinite(report[0].loss_nats):
            return []
        return disturbed_evaluations(self.adapter, self._setup.perturbations, seed=self._setup.seed)

    def set_lr(self) -> None:
        """Give the optimizer the learning rates of the coming step."""
        self.adapter.set_lr_multiplier(lr_multiplier(self._training, self._step, self._setup.steps))

    @property
    def is_at_its_last_step(self) -> bool:
        """Whether all steps are done."""
        return self._step >= self._setup.steps

    def next_step(self) -> NextStep:
        """What the passes of the coming step depend on."""
        return NextStep(seed=self._setup.seed, step=self._step, micro_batch=self._micro_batch)

    def halve_micro_batch(self) -> bool:
        """Use half as many rows a pass from now on; whether that was still possible."""
        possible = self._micro_batch > 1
        self._micro_batch = math.ceil(self._micro_batch / 2)
        return possible

    def seconds_per_step(self, num_steps: int, *, num_warm_up: int = 1) -> float:
        """Median wall-clock seconds of an optimizer step, after some that warm up; trains without reporting."""
        times = []
        for _ in range(num_warm_up + num_steps):
            before = time.perf_counter()
            self._train_one_step()
            times.append(time.perf_counter() - before)
        return statistics.median(times[num_warm_up:])

    def close(self) -> None:
        """Take the adapter off, leaving the base as it was."""
        self.adapter.detach()

    def _train_to_report(self) -> Report:
        target = self._next_report_step()
        while self._step < target:
            try:
                self._train_one_step()
            except TrialFailedError as error:
                return self._ended("diverged", str(error), at_step=self._step + 1)
            self._save_on_the_way(target)
        return self._known() or self._measure()

    def _known(self) -> Report | None:
        """A report of this number and step from before a restoration; steps are repeated, measurements are not."""
        known = self._made_before.get(len(self.reports))
        if known is None or known.step != self._step:
            return None
        self._interval = self._interval.following()
        return known

    def _next_report_step(self) -> int:
        eval_every = self._training.eval_every
        return min((self._step // eval_every + 1) * eval_every, self._setup.steps)

    def _save_on_the_way(self, target: int) -> None:
        if self._step < target and self._step % self._training.checkpoint_every == 0:
            self._save()

    def _recorded(self, report: Report) -> Report:
        self.reports.append(report)
        number = len(self.reports) - 1
        if self.is_over or self._step % self._training.checkpoint_every == 0:
            self._save()
        elif number not in self._made_before:
            save_report(self._setup.checkpoint_dir, number, report.to_json(), digest=self._digest)
        return report

    def _train_one_step(self) -> None:
        """One optimizer step; out of memory halves the micro-batch, at the same effective batch."""
        accumulated = None
        while accumulated is None:
            try:
                accumulated = accumulate_gradients(
                    self._workbench,
                    self.adapter,
                    seed=self._setup.seed,
                    step=self._step,
                    micro_batch=self._micro_batch,
                )
            except torch.OutOfMemoryError:
                if not self.halve_micro_batch():
                    raise
        self._move(accumulated)

    def _move(self, accumulated: Accumulated) -> None:
        apply_gradients(
            self.adapter,
            accumulated,
            lr_frac=lr_multiplier(self._training, self._step, self._setup.steps),
            interval=self._interval,
        )
        self._step += 1

    def _measure(self) -> Report:
        """Evaluate on the select split; on the report split at the first and the last step."""
        select = None
        if self._step > 0:
            select = self.adapter.evaluate_with_routing(self._workbench, self._workbench.data.select)
        return self._measured(select)

    def _measured(
        self,
        select: Scores | None,
        report: Evaluation | None = None,
        perturbed: Mapping[str, float] | None = None,
    ) -> Report:
        """The report that scores make; no select scores stand for those before the first step."""
        if select is None:
            metrics = self._first_metrics()
        else:
            scores, routing = select
            metrics = {"select_loss_nats": scores.loss_nats, "select_accuracy": scores.accuracy} | routing
        metrics |= self._interval.metrics() | self._costs()
        self._interval = self._interval.following()
        exploded = self._explosion(metrics["select_loss_nats"])
        if exploded:
            return self._ended("diverged", exploded, metrics)
        if self._step < self._setup.steps:
            return Report(step=self._step, metrics=metrics, ending=None)
        report = report or self.adapter.evaluate(self._workbench, self._workbench.data.report)
        return self._finished(metrics, report, perturbed)

    def _first_metrics(self) -> dict[str, float]:
        """Scores before any step; a causal base's are shared, an encoder's depend on the head's seed."""
        bench = self._workbench
        if bench.foundation.kind == "causal":
            select, report = bench.score_base("select"), bench.score_base("report")
        else:
            select = self.adapter.evaluate(bench, bench.data.select)
            report = self.adapter.evaluate(bench, bench.data.report)
        return {
            "select_loss_nats": select.loss_nats,
            "select_accuracy": select.accuracy,
            "init_loss_nats": report.loss_nats,
        }

    def _explosion(self, select_loss_nats: float) -> str | None:
        """Why the trial counts as diverged after an evaluation, or None."""
        if not math.isfinite(select_loss_nats):
            return f"The select loss was {select_loss_nats} at step {self._step}."
        if not self.reports:
            return None
        limit = self._training.divergence_factor * self.reports[0].metrics["select_loss_nats"]
        if select_loss_nats > limit:
            return f"The select loss {select_loss_nats:.3g} at step {self._step} exceeds {limit:.3g} nats."
        return None

    def _finished(
        self, metrics: Mapping[str, float], report: Evaluation, perturbed: Mapping[str, float] | None
    ) -> Report:
        if not math.isfinite(report.loss_nats):
            return self._ended("diverged", f"The report loss was {report.loss_nats}.", metrics)
        if self._setup.adapter_dir is not None:
            self.adapter.save(self._setup.adapter_dir)
        accuracies = {"report_accuracy": report.accuracy, "select_accuracy": metrics["select_accuracy"]}
        if perturbed is None:
            perturbed = perturbed_scores(
                self.adapter, self._workbench, self._setup.perturbations, seed=self._setup.seed
            )
        ending = TrialEnding(
            outcome="finished",
            reason="",
            value=report.loss_nats,
            select_value=metrics["select_loss_nats"],
            init_value=self.reports[0].metrics["init_loss_nats"],
            metrics={**accuracies, **perturbed},
        )
        return Report(step=self._step, metrics={**metrics, **self._costs()}, ending=ending)

    def _ended(
        self,
        outcome: Literal["diverged", "out_of_memory"],
        reason: str,
        metrics: Mapping[str, float] | None = None,
        at_step: int | None = None,
    ) -> Report:
        """The report of a trial that cannot go on; figures that are not finite are left out.

        A step that fails counts: its report stands after the measurement that the trial survived.
        """
        figures = metrics if metrics is not None else self._interval.metrics() | self._costs()
        ending = TrialEnding(
            outcome=outcome,
            reason=reason,
            value=None,
            select_value=None,
            init_value=self.reports[0].metrics["init_loss_nats"] if self.reports else None,
            metrics={},
        )
        finite = {name: figure for name, figure in figures.items() if math.isfinite(figure)}
        return Report(step=at_step or self._step, metrics=finite, ending=ending)

    def _out_of_memory(self, error: torch.OutOfMemoryError) -> Report:
        reason = f"Out of memory at step {self._step} with {self._micro_batch} rows a pass: {error}"
        return self._ended("out_of_memory", reason)

    def _costs(self) -> dict[str, float]:
        now = time.perf_counter()
        self._device_s, self._marked_at = self._device_s + now - self._marked_at, now
        return {"device_s": self._device_s, "micro_batch": float(self._micro_batch)}

    def _save(self) -> None:
        state = {
            "digest": self._digest,
            "reports": [report.to_json() for report in self.reports],
            "interval": asdict(self._interval),
            "micro_batch": self._micro_batch,
            "device_s": self._costs()["device_s"],
        }
        checkpoint = Checkpoint(step=self._step, tensors=self.adapter.tensors(), state=state)
        save_checkpoint(self._setup.checkpoint_dir, checkpoint)

    def _restore(self) -> None:
        made = load_reports(self._setup.checkpoint_dir, digest=self._digest)
        self._made_before = {number: Report.from_json(document) for number, document in made.items()}
        checkpoint = load_newest(self._setup.checkpoint_dir)
        if checkpoint is None or checkpoint.state["digest"] != self._digest:
            return
        self.adapter.load_tensors(checkpoint.tensors, checkpoint.step)
        self._step = checkpoint.step
        self._interval = Interval(**checkpoint.state["interval"])
        self._micro_batch = checkpoint.state["micro_batch"]
        self._device_s = checkpoint.state["device_s"]
        self.reports = [Report.from_json(document) for document in checkpoint.state["reports"]]


def _present(scores: Scores | torch.OutOfMemoryError) -> Scores:
    """The scores; raises why there are none."""
    if isinstance(scores, torch.OutOfMemoryError):
        raise scores
    return scores
