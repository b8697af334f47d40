"""Asynchronous successive halving whose decisions do not depend on the order in which trials arrive.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, through Ray Tune's
`ASHAScheduler`.

Differs from the paper: a rung compares a trial with the trials planned BEFORE it, not with those that
happened to arrive before it. A trial that reaches a rung early trains on while it waits; if the decision is
to stop, what it did past the rung is forgotten. So the same seeds stop the same trials on one worker or on
fifty, and after any interruption. The price is the steps that stopped trials took while they waited.
"""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import numpy as np

from study.records import RungRecord


def rung_steps(grace_steps: int, reduction: int, max_steps: int) -> tuple[int, ...]:
    """Optimizer steps at which a trial may be stopped: grace, grace·reduction, … below the full budget."""
    rungs = []
    step = grace_steps
    while step < max_steps:
        rungs.append(step)
        step *= reduction
    return tuple(rungs)


class OrderedHalving:
    """One family's rungs. Trials are named by key and take part in the order in which they were planned."""

    def __init__(self, *, family: str, grace_steps: int, reduction: int, max_steps: int) -> None:
        """Start with empty rungs.

        Args:
            family: the family whose trials meet here; families never meet.
            grace_steps: optimizer steps before which no trial is stopped.
            reduction: one in `reduction` trials passes a rung.
            max_steps: a trial's full budget in optimizer steps.
        """
        from ray.tune.schedulers import ASHAScheduler  # Ray reads its environment when it is first imported

        self.family = family
        self.reduction = reduction
        self.rungs = rung_steps(grace_steps, reduction, max_steps)
        self._asha = ASHAScheduler(
            time_attr="step",
            metric="loss_nats",
            mode="min",
            grace_period=grace_steps,
            reduction_factor=reduction,
            max_t=max(max_steps, grace_steps + 1),
        )
        self._order: list[str] = []
        self._arrived: dict[int, dict[str, float]] = {rung: {} for rung in self.rungs}
        self._decided: dict[int, dict[str, RungRecord]] = {rung: {} for rung in self.rungs}
        self._settled: dict[int, int] = dict.fromkeys(self.rungs, 0)
        self._reached: dict[str, int] = {}

    def plan(self, keys: Sequence[str]) -> None:
        """Announce trials, in the order in which rungs will compare them."""
        for key in keys:
            self._order.append(key)
            self._asha.on_trial_add(None, SimpleNamespace(trial_id=key))

    def refill(self, records: Iterable[RungRecord]) -> None:
        """Take over the decisions of an earlier launch, in the order in which they were recorded."""
        for record in records:
            self._arrived[record.rung][record.trial] = record.value
            self._decide(record.trial, record.rung)
            self._decided[record.rung][record.trial] = record
            if record.action == "stop":
                self._reached[record.trial] = record.rung

    def arrive(self, key: str, rung: int, loss_nats: float) -> None:
        """A trial reached a rung with this finite loss."""
        self._arrived[rung].setdefault(key, loss_nats)

    def end(self, key: str, step: int, *, diverged_at_nats: float | None = None) -> None:
        """A trial did its last step; a diverged one meets its next rung with the capped loss.

        Args:
            key: the trial.
            step: optimizer steps it did; the one at which a diverged trial failed, so that it lies past every
                rung that the trial met alive.
            diverged_at_nats: the finite, worst loss of a diverged trial.
        """
        following = next((rung for rung in self.rungs if rung >= step), None)
        if diverged_at_nats is not None and following is not None:
            self.arrive(key, following, diverged_at_nats)
            step = following
        if step in self.rungs and key not in self._arrived[step]:
            step -= 1  # the measurement there did not fit in memory: no rung may wait for it
        self._reached[key] = min(step, self._reached.get(key, step))

    def withdraw(self, key: str) -> None:
        """A trial was lost to its surroundings: it takes part in no rung that was not decided for it yet."""
        decided = [rung for rung in self.rungs if key in self._decided[rung]]
        for rung in self.rungs:
            if rung not in decided:
                self._arrived[rung].pop(key, None)
        self._reached[key] = max(decided, default=0)

    def decide(self) -> list[RungRecord]:
        """Every decision that is due now, each to be recorded before it is acted on."""
        decisions = []
        for rung in self.rungs:
            while self._settled[rung] < len(self._order):
                key = self._order[self._settled[rung]]
                if not self._never_reaches(key, rung):
                    if not self._is_due(key, rung):
                        break
                    record = self._decide(key, rung)
                    if record is not None:
                        decisions.append(record)
                self._settled[rung] += 1
        return decisions

    def decision(self, key: str, rung: int) -> RungRecord | None:
        """What was decided on a trial at a rung; absent while it waits."""
        return self._decided[rung].get(key)

    def _is_due(self, key: str, rung: int) -> bool:
        """Whether a trial has arrived at a rung and was let through every rung below it."""
        below = (lower for lower in self.rungs if lower < rung)
        return key in self._arrived[rung] and all(key in self._decided[lower] for lower in below)

    def _never_reaches(self, key: str, rung: int) -> bool:
        return key in self._reached and self._reached[key] < rung

    def _decide(self, key: str, rung: int) -> RungRecord | None:
        if key in self._decided[rung]:
            return None
        values = [record.value for record in self._decided[rung].values()]
        loss_nats = self._arrived[rung][key]
        action = self._asha.on_trial_result(
            None, SimpleNamespace(trial_id=key), {"step": rung, "loss_nats": loss_nats}
        )
        record = RungRecord(
            family=self.family,
            trial=key,
            rung=rung,
            value=loss_nats,
            cutoff=float(np.percentile(values, 100 / self.reduction)) if values else None,
            num_recorded=len(values) + 1,
            action="stop" if action == self._asha.STOP else "continue",
        )
        self._decided[rung][key] = record
        if record.action == "stop":
            self._reached[key] = rung
        return record
