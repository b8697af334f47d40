"""Live progress: a bar and a table on a terminal, a line now and then elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from study.records import Outcome, Phase, Progress

LINE_EVERY_S = 20.0
PHASE_NAMES = {
    Phase.SEARCH: "search",
    Phase.SENSITIVITY: "sensitivity",
    Phase.LR_SLICE: "learning-rate slice",
    Phase.FACTOR_SLICE: "factor slices",
    Phase.CONFIRMATION: "confirmation",
}
LOST = (Outcome.OUT_OF_MEMORY, Outcome.INFRA_FAILED, Outcome.CANCELLED)


class TerminalView:
    """Tells a person at a terminal (or a log) what a study does."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Begin; `quiet` says nothing at all, for `--json`."""
        self._console = Console(stderr=True, quiet=quiet, highlight=False)

    def say(self, sentence: str) -> None:
        """Print a sentence of its own."""
        self._console.print(sentence, markup=False, soft_wrap=True)

    @contextmanager
    def show(self, progress: Callable[[], Progress]) -> Iterator[None]:
        """Show live progress for the duration of a block."""
        clock = _Clock(progress)
        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=2, get_renderable=clock.picture):
                yield
            return
        over = threading.Event()
        thread = threading.Thread(target=self._print_lines, args=(clock, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.say(clock.line())

    def _print_lines(self, clock: "_Clock", over: threading.Event) -> None:
        while not over.wait(LINE_EVERY_S):
            self.say(clock.line())


class _Clock:
    """Progress with the time it took and the time it will take."""

    def __init__(self, progress: Callable[[], Progress]) -> None:
        self._progress = progress
        self._started = time.monotonic()
        self._first: tuple[float, int] | None = None

    def line(self) -> str:
        """One line for a log."""
        now = self._progress()
        if now.phase is None:
            return "Getting the workers ready."
        return f"{_percent(now):3.0f} %  {_summary(now)}; training {_families(now)}; {self._time_left(now)}"

    def picture(self) -> RenderableType:
        """A table of phases and a bar."""
        now = self._progress()
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("phase")
        for heading in ("planned", "finished", "stopped", "diverged", "lost", "running"):
            table.add_column(heading, justify="right")
        for phase, planned in now.planned.items():
            outcomes = now.outcomes[phase]
            running = sum(key.startswith(f"{phase.value}/") for key in now.running)
            numbers = [
                planned,
                outcomes.get(Outcome.FINISHED, 0),
                outcomes.get(Outcome.STOPPED, 0),
                outcomes.get(Outcome.DIVERGED, 0),
                sum(outcomes.get(outcome, 0) for outcome in LOST),
                running,
            ]
            style = "bold" if running else None
            table.add_row(PHASE_NAMES[phase], *(str(n) if n else "·" for n in numbers), style=style)
        bar = ProgressBar(total=100, completed=_percent(now), width=60)
        if now.phase is None:
            return Group(table, bar, "Getting the workers ready.")
        return Group(table, bar, f"training {_families(now)}; {self._time_left(now)}")

    def _time_left(self, now: Progress) -> str:
        elapsed = time.monotonic() - self._started
        if self._first is None and now.steps_done:
            self._first = (elapsed, now.steps_done)
        taken = f"{_minutes(elapsed)} so far"
        if self._first is None or now.steps_done <= self._first[1]:
            return taken
        speed = (now.steps_done - self._first[1]) / (elapsed - self._first[0])
        return f"{taken}, at most {_minutes(now.steps_left / speed)} left"


def _percent(now: Progress) -> float:
    return 100 * now.steps_done / max(1, now.steps_done + now.steps_left)


def _families(now: Progress) -> str:
    return ", ".join(sorted({key.split("/")[1] for key in now.running})) or "nothing"


def _summary(now: Progress) -> str:
    totals = {outcome: sum(phase.get(outcome, 0) for phase in now.outcomes.values()) for outcome in Outcome}
    ended = sum(totals.values())
    parts = ", ".join(f"{number} {outcome.value}" for outcome, number in totals.items() if number)
    phase = PHASE_NAMES[now.phase] if now.phase else "starting"
    return f"{phase}: {ended} of {sum(now.planned.values())} trials ended ({parts or 'none yet'})"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"  # noqa: PLR2004
