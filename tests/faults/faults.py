"""The faults: what each does to a run, at a moment that its seed chooses, and how it is mended."""

import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from search_spaces.errors import TrialwrightError
from study.ledger import claims, studies
from tests.faults.light import LightRun, full
from tests.faults.studies import STUDY

LONGEST_OUTAGE_S = 3.0
_TAKEOVER_S = 30.0


@dataclass(frozen=True, kw_only=True)
class LightFault:
    """One fault on a driver and its servers."""

    strike: Callable[[LightRun, random.Random], None]
    needs_postgres: bool = False
    needs_small_disk: bool = False
    needs_real: bool = False
    """Whether it strikes the pack that trains."""
    dooms_trial: bool = False
    """Whether the pack has never room for one of the trials, in the twin too."""
    at_once: bool = False
    """Whether it strikes at the start, and not at a random moment."""


def _outage_s(rng: random.Random) -> float:
    return rng.uniform(0.1, LONGEST_OUTAGE_S)


def kill_driver(run: LightRun, _rng: random.Random) -> None:
    """SIGKILL; `drive` launches again."""
    run.driver.kill()


def stop_driver(run: LightRun, rng: random.Random) -> None:
    """SIGSTOP for a while that is shorter than a claim's patience."""
    run.driver.send(signal.SIGSTOP)
    time.sleep(_outage_s(rng))
    run.driver.send(signal.SIGCONT)


def oversleep(run: LightRun, rng: random.Random) -> None:
    """The driver is stopped for more than a minute, another takes the study over, and the first one wakes up."""
    sleeper = run.driver
    sleeper.send(signal.SIGSTOP)
    run.clock_file.write_text("61")
    before = _owner(run)
    if before is None:  # it has not claimed the study yet, or has given it back
        sleeper.send(signal.SIGCONT)
        return
    other = run.launch()
    give_up_at = time.monotonic() + _TAKEOVER_S
    while _owner(run) == before and not other.is_over and time.monotonic() < give_up_at:
        time.sleep(0.1)
    time.sleep(rng.uniform(0, 1))
    sleeper.send(signal.SIGCONT)
    code = sleeper.wait(60)
    if code == 0 and "Study faults has ended." not in sleeper.ended().out:
        run.expects.append(f"the driver that overslept ended with {code}")
    if code == 1 and "is no longer driven by this process" not in sleeper.ended().err:
        run.expects.append(f"the driver that overslept says {sleeper.ended().err[-500:]}")


def launch_twice(run: LightRun, rng: random.Random) -> None:
    """A second driver for the same study, at once or while the first runs; beside another fault either may fail."""
    first, second = run.driver, run.launch()
    code = second.wait(120)
    first_code = first.wait(120)
    if run.is_struck_twice:
        return
    said = second.ended().err
    if code == 2 and "is being run by process" not in said:
        run.expects.append(f"the second driver says {said}")
    if {code, first_code} not in ({0, 2}, {0}):
        run.expects.append(
            f"of two drivers at once, one ended with {first_code} ({first.ended().err[-500:]}) "
            f"and one with {code} ({said[-500:]})"
        )


def kill_postgres(run: LightRun, rng: random.Random) -> None:
    """SIGKILL of every process of the server; it comes back."""
    run.world.postgres.kill()
    time.sleep(_outage_s(rng))
    run.world.postgres.start()


def kill_mlflow(run: LightRun, rng: random.Random) -> None:
    """SIGKILL of every process of the server; it comes back."""
    run.world.mlflow.kill()
    time.sleep(_outage_s(rng))
    run.world.mlflow.start()


def mlflow_answers(mode: str) -> Callable[[LightRun, random.Random], None]:
    """MLflow answers wrongly for a while."""

    def strike(run: LightRun, rng: random.Random) -> None:
        with run.world.proxy.answering(mode):
            time.sleep(2 * _outage_s(rng))

    return strike


def step_clock_back(run: LightRun, _rng: random.Random) -> None:
    """An hour, for the rest of the run."""
    run.clock_file.write_text("-3600")


def fill_disk(run: LightRun, rng: random.Random) -> None:
    """The home's disk is full for a while: checkpoints, report, and the ledger where it lies there."""
    with full(run.home):
        time.sleep(_outage_s(rng))


def truncate_checkpoint(run: LightRun, rng: random.Random) -> None:
    """The driver is killed, and of each trial's newest checkpoint a file has lost its end."""
    _damage(run, lambda content: content[: rng.randrange(len(content))], rng)


def flip_bits(run: LightRun, rng: random.Random) -> None:
    """The driver is killed, and in each trial's newest checkpoint a bit is another."""

    def flipped(content: bytes) -> bytes:
        place = rng.randrange(len(content))
        return content[:place] + bytes((content[place] ^ (1 << rng.randrange(8)),)) + content[place + 1 :]

    _damage(run, flipped, rng)


def run_short_of_memory(run: LightRun, rng: random.Random) -> None:
    """The next joint passes, one or two of them, do not fit."""
    run.memory_file.write_text(str(rng.choice((1, 2))), "ascii")


LIGHT_FAULTS: Mapping[str, LightFault] = {
    "none": LightFault(strike=lambda _run, _rng: None),
    "driver-kill": LightFault(strike=kill_driver),
    "driver-stop": LightFault(strike=stop_driver),
    "driver-oversleep": LightFault(strike=oversleep),
    "two-drivers": LightFault(strike=launch_twice),
    "two-drivers-at-once": LightFault(strike=launch_twice, at_once=True),
    "postgres-kill": LightFault(strike=kill_postgres, needs_postgres=True),
    "mlflow-kill": LightFault(strike=kill_mlflow),
    "mlflow-500": LightFault(strike=mlflow_answers("500")),
    "mlflow-429": LightFault(strike=mlflow_answers("429")),
    "mlflow-slow": LightFault(strike=mlflow_answers("slow")),
    "mlflow-half": LightFault(strike=mlflow_answers("half")),
    "mlflow-late-500": LightFault(strike=mlflow_answers("late_500")),
    "clock-back": LightFault(strike=step_clock_back),
    "disk-full": LightFault(strike=fill_disk, needs_small_disk=True),
    "checkpoint-truncated": LightFault(strike=truncate_checkpoint),
    "checkpoint-flipped": LightFault(strike=flip_bits),
    "memory-short": LightFault(strike=run_short_of_memory, needs_real=True),
    "memory-never": LightFault(strike=kill_driver, needs_real=True, dooms_trial=True),
}


def _damage(run: LightRun, change: Callable[[bytes], bytes], rng: random.Random) -> None:
    with run.may_launch:
        run.driver.kill()
        for trial in _trials_with_checkpoints(run.checkpoints):
            newest = max(trial.glob("step-*"))
            chosen = rng.choice(sorted(path for path in newest.iterdir() if path.stat().st_size))
            chosen.write_bytes(change(chosen.read_bytes()))
        run.num_damaged += 1


def _trials_with_checkpoints(folder: Path) -> list[Path]:
    return sorted({path.parent for path in folder.rglob("step-*")})


def _owner(run: LightRun) -> str | None:
    """Who holds the study, asleep or not."""
    with suppress(TrialwrightError), run.ledger() as ledger, ledger._reading() as connection:
        held = claims.holder(connection, studies.find(connection, STUDY))
        return held.owner if held else None
    return None
