"""A study's trials, trained again in a home of their own; the original's record is only read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.errors import SpecError
from study.cluster import this_machine
from study.coordinator import Coordinator
from study.engine import Engine
from study.home import Home, made
from study.interruption import Interruption, signals_to, watching
from study.kept import kept_files
from study.ledger import Ledger, StudyState
from study.plan import counted_plan
from study.records import PRECISION, Phase, PlannedTrial
from study.reproduction.differences import INPUTS, device_type
from study.reproduction.record import LOST, Record, RecordedTrial
from study.runner import View, claimed
from study.spec import StudySpec, parse_spec


def rerun_home(home: Home, record: Record, *, is_sample: bool, into: Path | None) -> Home:
    """Where a study is run again, ready for writing.

    Args:
        home: whose packaged parts and cache are used.
        record: of the study; another study of its name has another folder.
        is_sample: a sample takes decisions from the record, so it lies apart from a whole run.
        into: a folder that the user named.

    Raises:
        SpecError: it cannot be written, or the study itself lies there.
    """
    name = f"{record.name}-{record.uid[:8]}{'-sample' if is_sample else ''}"
    place = Home(root=(into or home.reproductions_dir(name)).absolute(), shares=home.root)
    if place.has_ledger:
        with Ledger.open(place.ledger_url) as ledger:
            if any(study.uid == record.uid for study in ledger.studies()):
                raise SpecError(
                    f"{str(place.root)!r} is the home of the study itself, which is not touched: choose another --into."
                )
    return made(place)


def rerun_spec(record: Record, home: Home, *, base: str | None, data: Path | None) -> StudySpec:
    """A recorded study as it is run here: on the device and with the lanes that it had, in as many packs as fit.

    Args:
        record: of the study.
        home: where the rerun lies, which gets the claims file.
        base: where the base model is here; None: as recorded.
        data: where the rows of the user's own are here; None: as recorded.

    Raises:
        SpecError: the record's spec is not one, or a path in it does not exist here.
    """
    from study.bundle import check_paths, write_claims

    written = {**record.spec, "claims": None}
    if record.claims is not None:
        place = home.study_dir(record.name) / "claims.yaml"
        write_claims(place, record.claims)
        written["claims"] = str(place)
    if base is not None:
        written["base"] = {**_section(record, "base"), "model": base}
    if data is not None:
        written["task"] = {**_section(record, "task"), "path": str(data.absolute())}
    resources = _section(record, "resources")
    written["resources"] = {
        "packs": "auto",
        "lanes": resources.get("lanes", "auto"),
        "cpus_per_pack": min(
            int(resources.get("cpus_per_pack", 1)), int(this_machine(count_gpus=False)["CPU"])
        ),
        "gpus_per_pack": 0 if device_type(record) == "cpu" else "auto",
    }
    spec = parse_spec(written, source=f"The record of study {record.name}")
    check_paths(spec, "runs the study again: name where it lies by --base or --data.")
    return spec


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """One launch of a rerun; what an earlier one ended is not run again."""

    record: Record
    spec: StudySpec
    home: Home
    facts: Mapping[str, Any]
    """The manifest of this machine."""
    address: str | None
    """A Ray cluster; None: a Ray of this machine's own."""
    sample: Sequence[RecordedTrial] | None
    """Run these alone, with the search's decisions as recorded; None: run all, and decide anew."""
    view: View
    interruption: Interruption = field(default_factory=Interruption)

    def run(self) -> str:
        """Run what is missing; why it was interrupted, or empty text.

        Raises:
            SpecError: another rerun of the study is under way here, or an earlier one had other inputs.
            TrialwrightError: the surroundings failed.
        """
        with Ledger.open(self.home.ledger_url) as shared:
            self._create(shared)
            with claimed(shared, self.spec.name) as (owner, ledger):
                return self._drive(ledger, owner)

    def _create(self, ledger: Ledger) -> None:
        """Have the rerun in the ledger; one that began with other inputs is another."""
        facts = dict(self.facts)
        study = ledger.create_study(self.spec.name, self.spec.canonical(), self.spec.digest, facts)
        for key, what in INPUTS.items():
            if study.manifest.get(key) != facts[key]:
                raise SpecError(
                    f"The rerun in {str(self.home.root)!r} began with other inputs (another {what}): name another "
                    "folder by --into."
                )

    def _drive(self, ledger: Ledger, owner: str) -> str:
        """What a driver that holds the rerun does."""
        ledger.save_manifest(self.spec.name, dict(self.facts))
        if ledger.study(self.spec.name).plan is None:
            ledger.save_plan(self.spec.name, counted_plan(self.spec))
        given = self.prepare(ledger)
        if self._has_ended(ledger):
            return ""
        ledger.set_study_state(self.spec.name, StudyState.RUNNING)
        state = StudyState.INTERRUPTED
        try:
            with signals_to(self.interruption), watching(ledger, self.spec.name, owner, self.interruption):
                state = self._train(ledger, given)
        finally:
            ledger.set_study_state(self.spec.name, state)
        return "" if state is StudyState.FINISHED else self.interruption.reason

    def prepare(self, ledger: Ledger) -> list[PlannedTrial] | None:
        """Bring over what a rerun takes from the record; the trials to run where these are not all."""
        name = self.spec.name
        known = {event.kind for event in ledger.events(name)}
        if self.record.precision is not None and PRECISION not in known:
            ledger.record_event(name, PRECISION, self.record.precision)
        if self.sample is None:
            search = self.spec.phases.search
            if search is not None and search.sampler == "tpe":  # it suggests by which trials end first
                trials = self.record.trials
                ledger.plan_trials(name, [one.planned for one in trials if one.phase is Phase.SEARCH])
            return None
        ledger.plan_trials(name, [one.planned for one in self.sample])
        for one in self.sample:
            for decision in one.decisions:
                ledger.record_rung(name, decision)
        return [trial.planned for trial in ledger.trials(name)]

    def _has_ended(self, ledger: Ledger) -> bool:
        """Whether nothing is left to run; trials that an earlier launch has lost are to run again."""
        name = self.spec.name
        for trial in ledger.trials(name):
            if trial.ending is not None and trial.ending.outcome in LOST:
                ledger.reopen_trial(name, trial.planned.key, "the study is run again")
        all_ended = all(trial.ending is not None for trial in ledger.trials(name))
        return all_ended and ledger.study(name).state is StudyState.FINISHED

    def _train(self, ledger: Ledger, given: Sequence[PlannedTrial] | None) -> StudyState:
        kept = kept_files(self.home, ledger.study(self.spec.name))
        coordinator = Coordinator(self.spec, ledger, given=given, on_end=kept.drop_checkpoints)
        engine = Engine(
            spec=self.spec,
            home=self.home,
            ledger=ledger,
            kept=kept,
            address=self.address,
            say=self.view.say,
            is_over=lambda: bool(self.interruption),
        )
        with kept, self.view.show(coordinator.progress):
            engine.run(coordinator)
        if not coordinator.is_done:
            return self.interruption.final_state
        kept.drop_all_checkpoints()
        return StudyState.FINISHED


def _section(record: Record, name: str) -> dict[str, Any]:
    found = record.spec.get(name)
    return dict(found) if isinstance(found, Mapping) else {}
