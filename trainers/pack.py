"""A pack: several trials trained together over one frozen base, each in a lane of its own.

A joint step runs the base once over the rows of all lanes and each lane's experts over its own rows, then moves the
weights of all lanes together, and lanes that are due are scored together. Where trials end, each evaluation of an
adapter that is disturbed is a lane for as long as it lasts, so that one trial alone uses all lanes. Weights, moments,
seeds, schedule, clipping, step count, checkpoints, measurements and endings belong to the lane's `Trial`, whose
measurements are those that it makes alone: to the bit in float32 on one thread of a CPU. Elsewhere a product of more
rows may group its sums in another way, by which figures differ by about 1e-7, and more after many steps of a rule that
magnifies small gradients. Lanes whose rows have another width (`trainers.batches.bucketed_width`) run in passes of
their own.

An encoder's head is trained in full and would need a lane axis as well: encoders train alone, in packs of one lane.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from search_spaces.errors import RetryableError, SpecError
from trainers.adapter import AttachedAdapter
from trainers.joint_model import JointModel, sharing_copy
from trainers.moe_lora import moe_lora_layers
from trainers.objective import Evaluation
from trainers.optimizers import step_together
from trainers.perturbations import DisturbedEvaluation, examples_of, perturbation_metrics
from trainers.reports import Report
from trainers.tasks import Example
from trainers.training_step import Accumulated, StepRows, step_rows
from trainers.trial import Made, Scores, Trial
from trainers.trial_setup import TrialSetup
from trainers.workbench import HeldOut, Workbench

Member = tuple[int, Trial]
"""A lane and its trial."""
Surroundings = OSError | RetryableError
"""How a trial's surroundings fail; its neighbours go on."""


@dataclass(frozen=True, kw_only=True)
class LaneReport:
    """What the trial in a lane says."""

    lane: int
    key: str
    """The trial's key, since a lane is taken again when its trial is over."""
    report: Report | None
    failure: Surroundings | None = None
    """In place of a report: the trial's surroundings failed, such as a full disk, and it has left the lane."""


class Pack:
    """Lanes over one base. Trials are seated, advanced together, and leave at their ending or when stopped."""

    def __init__(self, workbench: Workbench, lanes: int) -> None:
        """Make room for a number of trials.

        Args:
            workbench: base and text of all of them; the base's own modules stay as they are.
            lanes: how many trials may train together, at least 1.

        Raises:
            SpecError: several lanes for an encoder.
        """
        if lanes < 1:
            raise ValueError(f"lanes is {lanes} but must be at least 1.")
        if workbench.foundation.kind != "causal" and lanes > 1:
            raise SpecError(
                f"Base {workbench.foundation.name!r} is an encoder, whose head has no lanes: write resources.lanes 1."
            )
        self._workbench = workbench
        self._benches = [_own_modules(workbench) for _ in range(lanes)]
        self._trials: list[Trial | None] = [None] * lanes
        self._keys = [""] * lanes
        self._joint: JointModel | None = None
        self._lanes_per_pass = lanes

    @property
    def free_lanes(self) -> tuple[int, ...]:
        """Lanes without a trial."""
        return tuple(lane for lane, trial in enumerate(self._trials) if trial is None)

    def seat(self, setup: TrialSetup) -> int:
        """Give a trial the first free lane, with a fresh adapter or from its newest checkpoint.

        Returns:
            The lane.

        Raises:
            SpecError: the adapter does not fit the base (unknown target modules).
        """
        if not self.free_lanes:
            raise ValueError(f"All {len(self._trials)} lanes are taken; seat {setup.key!r} when one is free.")
        lane = self.free_lanes[0]
        self._trials[lane] = Trial(setup, self._benches[lane])
        self._keys[lane] = setup.key
        return lane

    def reports(self, lane: int) -> tuple[Report, ...]:
        """All that the trial in a lane has reported, before a restoration too; nothing where there is none."""
        trial = self._trials[lane]
        return () if trial is None else tuple(trial.reports)

    def advance(self) -> tuple[LaneReport, ...]:
        """The next joint step; a lane that has not yet measured measures instead, its neighbours train.

        Out of memory first lets fewer lanes train at a time, which changes no measurement. A lane that does not
        even fit by itself halves its micro-batch, as it does without a pack; where one row does not fit, or its
        evaluation, it ends as `out_of_memory`, and its neighbours go on.

        Returns:
            The reports that are due, one a lane at the most. A lane whose report carries an ending, or that failed,
            is free again.
        """
        said: dict[int, Report | Surroundings] = {}
        training: list[Member] = []
        for lane, trial in enumerate(self._trials):
            if trial is None:
                continue
            if trial.reports and not trial.is_over and len(self._trials) > 1:
                training.append((lane, trial))
            else:
                said[lane] = _heard(partial(_next_report, trial))
        due: list[Member] = []
        for group in self._groups(training):
            self._step(group, said, due)
        if due:
            self._measure(due, said)
        reports = tuple(self._lane_report(lane, said[lane]) for lane in sorted(said))
        for one in reports:
            if one.report is None or one.report.ending is not None:
                self.stop(one.lane)
        return reports

    def stop(self, lane: int) -> None:
        """Free a lane; its trial, if it is not over, can go on elsewhere from its newest checkpoint."""
        trial = self._trials[lane]
        if trial is not None:
            self._trials[lane] = None
            if self._joint is not None:
                self._joint.forget(trial.adapter)
            trial.close()

    def close(self) -> None:
        """Free every lane."""
        for lane in range(len(self._trials)):
            self.stop(lane)

    def _lane_report(self, lane: int, said: Report | Surroundings) -> LaneReport:
        failure = said if isinstance(said, Surroundings) else None
        report = said if isinstance(said, Report) else None
        return LaneReport(lane=lane, key=self._keys[lane], report=report, failure=failure)

    def _groups(self, members: Sequence[Member]) -> Iterator[list[tuple[Member, StepRows]]]:
        """Members whose rows have one shape, as many at a time as fit."""
        rows = [(member, step_rows(self._workbench, member[1].next_step())) for member in members]
        rows.sort(key=lambda one: _shape(one[1]))
        for _, alike in itertools.groupby(rows, key=lambda one: _shape(one[1])):
            waiting = list(alike)
            while waiting:
                size = self._lanes_per_pass
                yield waiting[:size]
                waiting = waiting[size:]

    def _step(
        self,
        group: Sequence[tuple[Member, StepRows]],
        said: dict[int, Report | Surroundings],
        due: list[Member],
    ) -> None:
        """One step of trials that run together; notes what they say, and who is to be measured."""
        before = time.perf_counter()
        trials = [trial for (_, trial), _ in group]
        made = self._gradients(trials, [rows for _, rows in group])
        going = [trial for trial, one in zip(trials, made, strict=True) if isinstance(one, Accumulated)]
        for trial in going:
            trial.set_lr()
        moved = iter(step_together([trial.adapter.optimizer for trial in going]))
        outcomes = [next(moved) if isinstance(one, Accumulated) else None for one in made]
        share_s = (time.perf_counter() - before) / len(group)
        for ((lane, trial), _), one, outcome in zip(group, made, outcomes, strict=True):
            try:
                if trial.take_step(one, outcome, device_s=share_s):
                    known = trial.repeated()
                    if known is None:
                        due.append((lane, trial))
                    else:
                        said[lane] = known
                elif trial.is_over:
                    said[lane] = trial.reports[-1]
            except (OSError, RetryableError) as error:
                said[lane] = error

    def _measure(self, due: Sequence[Member], said: dict[int, Report | Surroundings]) -> None:
        """Score trials together; after their last step on the report split and under perturbations as well."""
        began_s = time.perf_counter()
        trials = [trial for _, trial in due]
        select = dict(zip(trials, self._scores(trials, "select"), strict=True))
        between_s = time.perf_counter()
        ending = [trial for trial in trials if trial.is_at_its_last_step]
        report = dict(zip(ending, self._scores(ending, "report"), strict=True))
        asked = {trial: trial.disturbed_evaluations(select[trial], report[trial]) for trial in ending}
        perturbed = self._perturbed(asked)
        share_s = dict.fromkeys(trials, (between_s - began_s) / len(trials))
        for trial in ending:
            share_s[trial] += (time.perf_counter() - between_s) / len(ending)
        for lane, trial in due:
            scores = (select[trial], report.get(trial), perturbed.get(trial))
            said[lane] = _heard(partial(trial.measured, *scores, device_s=share_s[trial]))

    def _perturbed(
        self, asked: Mapping[Trial, Sequence[DisturbedEvaluation]]
    ) -> dict[Trial, dict[str, float]]:
        """Metrics of trials under their perturbations, whose evaluations share lanes where they read the same rows.

        Of no trial, so that each makes its own, where not even one lane fits.
        """
        alike: dict[tuple[float, int] | None, list[DisturbedEvaluation]] = {}
        for one in itertools.chain.from_iterable(asked.values()):
            alike.setdefault(one.words_dropped, []).append(one)
        scores: dict[DisturbedEvaluation, Evaluation] = {}
        try:
            for evaluations in alike.values():
                scores |= self._disturbed_scores(evaluations)
        except torch.OutOfMemoryError:
            return {}
        return {
            trial: perturbation_metrics({one: scores[one] for one in evaluations})
            for trial, evaluations in asked.items()
        }

    def _disturbed_scores(
        self, evaluations: Sequence[DisturbedEvaluation]
    ) -> dict[DisturbedEvaluation, Evaluation]:
        """Scores on the same rows, as many at a time as train together, or as fit."""
        joint = self._joint_model(evaluations[0].adapter)
        examples = examples_of(evaluations[0], self._workbench)
        scores: dict[DisturbedEvaluation, Evaluation] = {}
        waiting, size = list(evaluations), self._lanes_per_pass
        while waiting:
            lanes = waiting[:size]
            try:
                scores |= zip(lanes, joint.evaluate_disturbed(lanes, examples), strict=True)
            except torch.OutOfMemoryError:
                if len(lanes) == 1:
                    raise
                size = math.ceil(len(lanes) / 2)
            else:
                waiting = waiting[size:]
        return scores

    def _scores(self, trials: Sequence[Trial], split: HeldOut) -> list[Scores | torch.OutOfMemoryError]:
        examples = getattr(self._workbench.data, split)
        if len(trials) > 1:
            try:
                return [
                    *self._joint_model(trials[0].adapter).evaluate([one.adapter for one in trials], examples)
                ]
            except torch.OutOfMemoryError:
                half = math.ceil(len(trials) / 2)
            return self._scores(trials[:half], split) + self._scores(trials[half:], split)
        return [self._own_scores(trial, examples) for trial in trials]

    def _own_scores(self, trial: Trial, examples: Sequence[Example]) -> Scores | torch.OutOfMemoryError:
        try:
            return trial.adapter.evaluate_with_routing(self._workbench, examples)
        except torch.OutOfMemoryError as error:
            return error.with_traceback(None)

    def _gradients(self, trials: Sequence[Trial], rows: Sequence[StepRows]) -> list[Made]:
        coming = [trial.next_step() for trial in trials]
        try:
            return [
                *self._joint_model(trials[0].adapter).gradients(
                    [trial.adapter for trial in trials], coming, rows
                )
            ]
        except torch.OutOfMemoryError as error:
            too_large = error.with_traceback(None)  # its frames hold what the passes have computed
        if len(trials) > 1:
            self._lanes_per_pass = half = math.ceil(len(trials) / 2)
            return self._gradients(trials[:half], rows[:half]) + self._gradients(trials[half:], rows[half:])
        if not trials[0].halve_micro_batch():
            return [too_large]
        return self._gradients(trials, [step_rows(self._workbench, trials[0].next_step())])

    def _joint_model(self, adapter: AttachedAdapter) -> JointModel:
        if self._joint is None:
            names = [layer.module_name for layer in moe_lora_layers(adapter.model)]
            self._joint = JointModel(self._workbench, names)
        return self._joint


def _shape(rows: StepRows) -> tuple[int, ...]:
    return (rows.width, *(len(piece) for piece in rows.pieces))


def _next_report(trial: Trial) -> Report:
    """What a trial says by itself, or the last report of one that was over when it was seated."""
    return trial.reports[-1] if trial.is_over else trial.advance()


def _heard(say: Callable[[], Report]) -> Report | Surroundings:
    """What a trial says, or why its surroundings did not let it."""
    try:
        return say()
    except (OSError, RetryableError) as error:
        return error


def _own_modules(workbench: Workbench) -> Workbench:
    """A workbench whose base has modules of its own, so that an adapter on it is on no other, and shares the rest."""
    foundation = workbench.foundation
    return replace(workbench, foundation=replace(foundation, model=sharing_copy(foundation.model)))
