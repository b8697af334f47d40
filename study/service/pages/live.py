"""One study at one moment, as its page shows it: a frozen view, computed from the ledger alone."""

from dataclasses import dataclass

from study.ledger import Ledger, StudyState
from study.records import Phase
from study.service.pages.cost import Cost, cost
from study.service.pages.failures import Failures, failures
from study.service.pages.landscape import Landscape, landscape
from study.service.pages.places import Pack, packs
from study.service.pages.progress import FamilyRow, PhaseRow, current_phase, family_rows, phase_rows
from study.service.pages.reading import Reading, read
from study.service.pages.survival import Survival, survivals
from study.service.pages.tallies import Tally, whole
from study.status import waits_for


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """All that the page of a study shows."""

    name: str
    state: StudyState
    starting: bool
    """Whether a driver was asked for that has not been heard of yet."""
    problem: str
    """Why its last driver could not drive; empty where none failed."""
    driver: str
    """The process that drives it; empty where there is none."""
    now: float
    """Unix time in seconds at which this was read."""
    created_at: float
    """Unix time in seconds."""
    changed_at: float
    """Unix time in seconds of the last change of state."""
    base: str
    task: str
    families: tuple[str, ...]
    steps: int
    """A trial's full budget in optimizer steps."""
    reduction: int
    """One in so many trials passes a rung of the search; 0 without a search."""
    tally: Tally
    phases: tuple[PhaseRow, ...]
    rows: tuple[FamilyRow, ...]
    survivals: tuple[Survival, ...]
    landscape: Landscape
    packs: tuple[Pack, ...]
    waits_for: str
    """What its driver waits for until the first pack is ready; empty where nothing was said."""
    cost: Cost
    failures: Failures

    @property
    def phase(self) -> PhaseRow | None:
        """The first phase that has not ended."""
        return current_phase(self.phases)

    @property
    def can_stop(self) -> bool:
        """Whether there is something to stop."""
        return self.state is StudyState.RUNNING

    @property
    def can_resume(self) -> bool:
        """Whether it can go on."""
        return not self.driver and not self.starting and self.state is not StudyState.FINISHED

    @property
    def announcement(self) -> str:
        """What a screen reader is told when it changes."""
        if self.starting:
            return f"Study {self.name} is starting."
        if self.state is not StudyState.RUNNING or self.phase is None:
            return f"Study {self.name} is {self.state.value}."
        if self.phase.state == "waits" and self.phase.phase is Phase.SEARCH:
            return f"Study {self.name} is getting its workers ready."
        return f"Study {self.name} is running: {self.phase.title.lower()}."


def study_view(ledger: Ledger, study: str, *, now: float) -> StudyView:
    """What the page of a study shows.

    Args:
        ledger: the record.
        study: its name.
        now: Unix time in seconds.

    Raises:
        SpecError: there is no such study.
    """
    return view_of(read(ledger, study, now=now))


def view_of(reading: Reading) -> StudyView:
    """What the page shows of a study that was read."""
    holder = reading.holder
    return StudyView(
        name=reading.record.name,
        state=reading.state,
        starting=reading.starting,
        problem=reading.problem,
        driver=f"process {holder.pid} on {holder.host}" if holder else "",
        now=reading.now,
        created_at=reading.record.created_at,
        changed_at=reading.record.changed_at,
        base=str(reading.section("base").get("model", "")),
        task=str(reading.section("task").get("name", "")),
        families=reading.families,
        steps=reading.steps,
        reduction=int((reading.section("phases").get("search") or {}).get("reduction", 0)),
        tally=whole(reading),
        phases=phase_rows(reading),
        rows=family_rows(reading),
        survivals=survivals(reading),
        landscape=landscape(reading),
        packs=packs(reading),
        waits_for=(holder and waits_for(reading.events, holder)) or "",
        cost=cost(reading),
        failures=failures(reading),
    )
