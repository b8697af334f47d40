"""The stages of a study: groups of phases that run in order, each planned when the one before has ended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from study.halving import OrderedHalving
from study.protocol import (
    confirmation_trials,
    default_params,
    search_trials,
    sensitivity_trials,
    tuned,
)
from study.records import Param, Phase, PlannedTrial, TrialRecord
from study.samplers import next_suggestion
from study.spec import StudySpec

Choice = Mapping[str, Mapping[str, Param]]
"""A configuration for each family; one whose search found none is absent."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a study."""

    spec: StudySpec
    phase: Phase
    """The phase that names it; `sensitivity` brings its slices along."""
    given: tuple[PlannedTrial, ...] | None = None
    """Its trials where they stand already; None: it plans them."""

    def plan(self, records: Sequence[TrialRecord], chosen: Callable[[], Choice]) -> list[PlannedTrial]:
        """The trials that are known when the stage begins, in the order in which they should run.

        Args:
            records: what the ledger holds.
            chosen: gives each family's tuned configuration; asked after the search only.
        """
        if self.given is not None:
            planned = list(self.given)
        elif self.phase is Phase.SEARCH:
            known = [trial for family in self.spec.families for trial in search_trials(self.spec, family)]
            keys = {trial.key for trial in known}
            suggested = (record.planned for record in records if record.planned.phase is Phase.SEARCH)
            planned = known + [trial for trial in suggested if trial.key not in keys]
        elif self.phase is Phase.SENSITIVITY:
            planned = sensitivity_trials(self.spec, chosen())
        else:
            planned = confirmation_trials(self.spec, chosen())
        return sorted(planned, key=self._turn)

    def more(self, records: Callable[[], Sequence[TrialRecord]]) -> list[PlannedTrial]:
        """A further trial that an adaptive sampler suggests from what is known now, if any is left."""
        if self.phase is not Phase.SEARCH or not self.is_adaptive:
            return []
        suggestion = next_suggestion(self.spec, records())
        return [suggestion] if suggestion is not None else []

    def halvings(self) -> list[OrderedHalving]:
        """One empty set of rungs for each family, in the search stage only."""
        search = self.spec.phases.search
        if self.phase is not Phase.SEARCH or search is None:
            return []
        return [
            OrderedHalving(
                family=family,
                grace_steps=search.grace_steps,
                reduction=search.reduction,
                max_steps=self.spec.training.steps,
            )
            for family in self.spec.families
        ]

    @property
    def is_adaptive(self) -> bool:
        """Whether a sampler suggests the search trials one by one."""
        search = self.spec.phases.search
        return self.given is None and search is not None and search.sampler == "tpe"

    @property
    def whole_phases(self) -> frozenset[Phase]:
        """The phases of which every trial is known once the stage has been planned."""
        if self.phase is Phase.SENSITIVITY:
            return frozenset({Phase.SENSITIVITY, Phase.LR_SLICE, Phase.FACTOR_SLICE})
        return frozenset() if self.phase is Phase.SEARCH and self.is_adaptive else frozenset({self.phase})

    def _turn(self, trial: PlannedTrial) -> tuple[int, int, int, int, str]:
        """Families take turns, so that a study that is cut short has something of each."""
        phase = list(Phase).index(trial.phase)
        return (phase, trial.replicate, trial.point, self.spec.families.index(trial.family), trial.key)


def stages(
    spec: StudySpec, last_phase: Phase | None = None, given: Sequence[PlannedTrial] | None = None
) -> list[Stage]:
    """The stages of a study, in order.

    Args:
        spec: the study.
        last_phase: the phase after which the study pauses; slices belong to `sensitivity`.
        given: the trials that stand already, for stages that plan none; None: they plan what the spec asks for.
    """
    declared = {
        Phase.SEARCH: spec.phases.search,
        Phase.SENSITIVITY: spec.phases.sensitivity,
        Phase.CONFIRMATION: spec.phases.confirmation,
    }
    order = list(Phase)
    return [
        Stage(spec=spec, phase=phase, given=_of_stage(phase, given))
        for phase, section in declared.items()
        if section is not None and (last_phase is None or order.index(phase) <= order.index(last_phase))
    ]


def _of_stage(phase: Phase, given: Sequence[PlannedTrial] | None) -> tuple[PlannedTrial, ...] | None:
    """Those of some trials that run in the stage of a phase."""
    if given is None:
        return None
    slices = {Phase.LR_SLICE: Phase.SENSITIVITY, Phase.FACTOR_SLICE: Phase.SENSITIVITY}
    return tuple(trial for trial in given if slices.get(trial.phase, trial.phase) is phase)


def choose(spec: StudySpec, records: Sequence[TrialRecord]) -> Choice:
    """Each family's tuned configuration; its defaults in a study without a search."""
    return default_params(spec) if spec.phases.search is None else tuned(records)
