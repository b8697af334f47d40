"""The adaptive sampler of the search phase: Optuna in memory, refilled from the ledger before every suggestion.

Optuna remembers nothing between two calls, so nothing of it can be lost: a suggestion is a function of the spec
and of the trials that the ledger holds. With one worker it is the same after any interruption; with several, TPE
sees whatever has ended by then. Sobol' and random points need none of this and are planned at once.
"""

from collections.abc import Sequence

import optuna

from search_spaces.designs import derived_seed
from study.protocol import search_trial
from study.records import Outcome, Phase, PlannedTrial, TrialRecord
from study.spec import StudySpec

STATES = {
    Outcome.FINISHED: optuna.trial.TrialState.COMPLETE,
    Outcome.STOPPED: optuna.trial.TrialState.PRUNED,
    Outcome.DIVERGED: optuna.trial.TrialState.FAIL,
}


def next_suggestion(spec: StudySpec, records: Sequence[TrialRecord]) -> PlannedTrial | None:
    """The next search trial of the family that has fewest, or None when every family has its number."""
    search = spec.phases.search
    if search is None:
        return None
    by_family = {
        family: [r for r in records if r.planned.family == family and r.planned.phase is Phase.SEARCH]
        for family in spec.families
    }
    family = min(spec.families, key=lambda name: len(by_family[name]))
    point = len(by_family[family])
    if point >= search.trials:
        return None
    return search_trial(spec, family, point, _suggest(spec, family, by_family[family], point))


def _suggest(spec: StudySpec, family: str, records: Sequence[TrialRecord], point: int) -> list[float]:
    """A point of the family's unit cube."""
    space = spec.space(family)
    seed = derived_seed(spec.seed, "sampler", point) % 2**32
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    memory = optuna.create_study(sampler=sampler, direction="minimize")
    axes = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in space.dimensions}
    for record in records:
        unit = dict(zip(axes, space.to_unit(record.planned.params), strict=True))
        memory.add_trial(_remembered(record, unit, axes))
    trial = memory.ask(axes)
    return [float(trial.params[name]) for name in axes]


def _remembered(
    record: TrialRecord,
    unit: dict[str, float],
    axes: dict[str, optuna.distributions.FloatDistribution],
) -> optuna.trial.FrozenTrial:
    """A trial of the ledger as Optuna would remember it: stopped ones are pruned, diverged ones failed."""
    ending = record.ending
    failed, running = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.RUNNING
    state = STATES.get(ending.outcome, failed) if ending else running
    value = ending.select_value if ending and state == optuna.trial.TrialState.COMPLETE else None
    intermediate = {}
    if ending and state == optuna.trial.TrialState.PRUNED and ending.select_value is not None:
        intermediate[ending.steps] = ending.select_value
    return optuna.trial.create_trial(
        params=unit, distributions=axes, value=value, state=state, intermediate_values=intermediate
    )
