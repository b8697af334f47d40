"""The ledger's promises, each on SQLite and on a real PostgreSQL."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from search_spaces.errors import LedgerError, SpecError, TrialFailedError
from study.ledger import Ledger, RunKind, StudyState
from study.ledger.engine import open_engine
from study.ledger.schema import metadata
from study.migrations import HEAD
from study.records import Ending, Outcome, Phase, RungRecord
from tests.study.samples import (
    MANIFEST,
    OWNER,
    SPEC,
    STUDY,
    begin,
    ended,
    finished,
    measured,
    plan,
    planned,
    run_trial,
)
from tests.study.servers import PostgresServer, postgres, postgres_tool

TRIAL = planned("sgd", 0).key


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/ledger.db"
    if postgres_tool("initdb") is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    with Ledger.open(url, clock=clock) as opened:
        yield opened


@pytest.fixture
def study(ledger: Ledger) -> Ledger:
    begin(ledger, plan())
    return ledger


# The schema


def test_migrations_lead_to_the_declared_schema(url: str):
    engine = open_engine(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_head_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", "study:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_newer_schema_is_refused(url: str):
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match=r"has schema '9999', which is newer than this version's '0001'"):
        Ledger.open(url)


def test_processes_that_open_a_new_ledger_at_once_all_succeed(url: str):
    program = f"from study.ledger import Ledger; print(len(Ledger.open({url!r}).studies()))"
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [out.strip() for out, _ in outputs] == [b"0"] * 3, outputs


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ledger.db", "is not a database URL: write sqlite:///<file> or postgresql://<host>/<database>"),
        ("mysql://u:s3cret@h/d", r"neither SQLite nor PostgreSQL|needs a driver"),
        ("oddbase://u:s3cret@h/d", "is neither SQLite nor PostgreSQL: write"),
        (
            "sqlite:////proc/nowhere/ledger.db",
            r"/proc/nowhere/ledger.db' cannot be opened \(No such",
        ),
        (
            "sqlite:////dev/null/ledger.db",
            r"cannot be opened \(a file stands where its folder should be\): name a home",
        ),
        ("postgresql://u:s3cret@127.0.0.1:1/d", r"127.0.0.1:1/d' cannot be opened \(.*refused"),
    ],
)
def test_an_address_that_cannot_be_used_is_the_users_mistake(address: str, message: str):
    with pytest.raises(SpecError, match=message) as caught:
        Ledger.open(address)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    path = tmp_path / "ledger.db"
    path.write_text("name: reviews\n" * 100)
    with pytest.raises(SpecError, match=r"cannot be opened \(file is not a database\): name a home"):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_text().startswith("name: reviews")


# Studies


def test_a_study_is_created_once_and_kept(ledger: Ledger):
    first = ledger.create_study("s", SPEC, "a" * 64, MANIFEST)
    again = ledger.create_study("s", SPEC, "a" * 64, {"other": 1})
    assert again == first == ledger.study("s")
    assert (first.spec, first.manifest, first.state, first.plan) == (SPEC, MANIFEST, StudyState.PLANNED, None)
    assert [one.name for one in ledger.studies()] == ["s"]


def test_a_changed_study_is_refused(ledger: Ledger):
    ledger.create_study("s", SPEC, "a" * 64, MANIFEST)
    with pytest.raises(SpecError, match=r"'s' was started with another spec \(digest a{12}, now b{12}\)"):
        ledger.create_study("s", SPEC, "b" * 64, MANIFEST)


def test_an_unknown_study_is_named_with_the_nearest(study: Ledger):
    with pytest.raises(SpecError, match="Unknown study 'reviewz', did you mean 'reviews'"):
        study.trials("reviewz")


def test_state_plan_and_events_are_kept(study: Ledger, clock: Clock):
    clock.now += 5
    study.set_study_state(STUDY, StudyState.FINISHED)
    study.save_plan(STUDY, {"trials": 6, "device_h": 0.1})
    study.record_event(STUDY, "launched", {"argv": ["trialwright", "launch"]})
    kept = study.study(STUDY)
    assert (kept.state, kept.changed_at, kept.plan) == (
        StudyState.FINISHED,
        clock.now,
        {"trials": 6, "device_h": 0.1},
    )
    assert [(event.kind, event.recorded_at) for event in study.events(STUDY)] == [("launched", clock.now)]


# Trials


def test_trials_come_back_as_planned_and_in_order(ledger: Ledger):
    ledger.create_study(STUDY, SPEC, "d", MANIFEST)
    odd = replace(
        planned("sgd", 1, phase=Phase.LR_SLICE),
        params={"lr": 0.1 + 0.2, "damping": 5e-324, "router_lr": 1.7976931348623157e308, "rule": "grün"},
        seed=2**63 - 1,
        slice="lr",
    )
    trials = [planned("sgd", 1), odd, planned("rsgd", 0)]
    assert ledger.plan_trials(STUDY, trials) == 3
    assert [record.planned for record in ledger.trials(STUDY)] == trials
    assert ledger.trial(STUDY, odd.key).planned == odd
    assert [
        type(value) for value in ledger.trial(STUDY, TRIAL.replace("p00", "p01")).planned.params.values()
    ] == [
        float,
        int,
        int,
        int,
    ]
    assert [one.planned.key for one in ledger.trials(STUDY, phase=Phase.LR_SLICE)] == [odd.key]
    assert [one.planned.family for one in ledger.trials(STUDY, family="rsgd")] == ["rsgd"]


def test_planning_again_keeps_what_is_there(study: Ledger):
    run_trial(study, TRIAL, finished())
    assert study.plan_trials(STUDY, [*plan(), planned("adamw", 0)]) == 1
    assert study.trial(STUDY, TRIAL).ending == finished()
    assert len(study.trials(STUDY)) == len(plan()) + 1


def test_another_trial_under_a_known_key_is_refused_and_nothing_is_added(study: Ledger):
    changed = replace(planned("sgd", 0), steps=41)
    with pytest.raises(LedgerError, match=r"Trial 'search/sgd/r00/p00' is planned as .*a plan never changes"):
        study.plan_trials(STUDY, [planned("adamw", 0), changed])
    assert len(study.trials(STUDY)) == len(plan())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, [1]])
def test_a_parameter_that_is_no_plain_value_is_refused(study: Ledger, value: object):
    odd = replace(planned("adamw", 0), params={"lr": value})  # type: ignore[dict-item]
    with pytest.raises(LedgerError, match=r"Trial 'search/adamw/r00/p00' has lr = .*but a parameter is"):
        study.plan_trials(STUDY, [odd])


def test_attempts_are_counted_and_a_trial_runs_between_start_and_end(study: Ledger):
    assert study.start_attempt(STUDY, TRIAL) == 1
    assert study.running_trials(STUDY) == [TRIAL]
    assert study.start_attempt(STUDY, TRIAL) == 2
    assert study.running_trials(STUDY) == [TRIAL]
    assert study.trial(STUDY, TRIAL).attempts == 2
    study.end_trial(STUDY, TRIAL, finished())
    assert study.running_trials(STUDY) == []
    with pytest.raises(LedgerError, match=r"has ended \(finished\) and cannot be started: reopen it first"):
        study.start_attempt(STUDY, TRIAL)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_trial_ends_once(study: Ledger, outcome: Outcome):
    ending = finished() if outcome is Outcome.FINISHED else ended(outcome, init_value=0.7)
    assert study.end_trial(STUDY, TRIAL, ending)
    assert not study.end_trial(STUDY, TRIAL, ending)
    assert study.trial(STUDY, TRIAL).ending == ending
    with pytest.raises(LedgerError, match=r"cannot end again as .*an ending never changes"):
        study.end_trial(STUDY, TRIAL, replace(ending, steps=ending.steps + 1))
    assert study.trial(STUDY, TRIAL).ending == ending


@pytest.mark.parametrize("field", ["value", "select_value", "init_value", "device_seconds"])
def test_an_ending_that_is_not_finite_is_refused(study: Ledger, field: str):
    with pytest.raises(TrialFailedError, match=rf"reported {field} = nan at its end \(finished\), but"):
        study.end_trial(STUDY, TRIAL, replace(finished(), **{field: float("nan")}))  # type: ignore[arg-type]
    assert study.trial(STUDY, TRIAL).ending is None


@pytest.mark.parametrize("outcome", [Outcome.INFRA_FAILED, Outcome.OUT_OF_MEMORY, Outcome.CANCELLED])
def test_a_lost_trial_runs_again_and_the_loss_is_remembered(study: Ledger, outcome: Outcome):
    run_trial(study, TRIAL, ended(outcome), steps=[0, 10])
    study.reopen_trial(STUDY, TRIAL, "the study was resumed")
    assert study.trial(STUDY, TRIAL).ending is None
    (event,) = study.events(STUDY)
    assert (event.kind, event.detail["trial"], event.detail["outcome"]) == ("trial_reopened", TRIAL, outcome)
    run_trial(study, TRIAL, finished(), steps=[10, 20, 40])
    assert study.trial(STUDY, TRIAL).attempts == 2
    assert [one.step for one in study.measurements(STUDY, TRIAL)] == [0, 10, 20, 40]


@pytest.mark.parametrize("outcome", [Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED])
def test_a_result_is_never_taken_back(study: Ledger, outcome: str):
    study.end_trial(STUDY, TRIAL, ended(Outcome(outcome)))
    with pytest.raises(LedgerError, match=f"ended as {outcome} and cannot be reopened: only"):
        study.reopen_trial(STUDY, TRIAL, "again")


def test_a_trial_that_was_never_planned_is_refused(study: Ledger):
    with pytest.raises(LedgerError, match="Trial 'search/sgd/p99' was never planned in this study"):
        study.record_measurement(STUDY, measured("search/sgd/p99", 0))


# Measurements and rungs


def test_a_replayed_step_changes_nothing(study: Ledger):
    assert study.record_measurement(STUDY, measured(TRIAL, 20, select_loss_nats=0.1 + 0.2))
    assert not study.record_measurement(STUDY, measured(TRIAL, 20, select_loss_nats=9.0))
    assert study.record_measurement(STUDY, measured(TRIAL, 0, select_loss_nats=0.7))
    assert [(one.step, one.metrics) for one in study.measurements(STUDY, TRIAL)] == [
        (0, {"select_loss_nats": 0.7}),
        (20, {"select_loss_nats": 0.1 + 0.2}),
    ]


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_never_stored(study: Ledger, figure: float):
    with pytest.raises(TrialFailedError, match=r"reported train_loss_nats = .* at step 3, but the ledger"):
        study.record_measurement(STUDY, measured(TRIAL, 3, train_loss_nats=figure))
    assert study.measurements(STUDY) == []


def test_rungs_come_back_in_the_order_of_the_decisions(study: Ledger):
    keys = [trial.key for trial in plan(("sgd",))]
    rungs = [
        RungRecord(
            family="sgd",
            trial=key,
            rung=20,
            value=0.5 - i / 10,
            cutoff=None if i == 0 else 0.4,
            num_recorded=i + 1,
            action="continue",
        )
        for i, key in enumerate(reversed(keys))
    ]
    assert [study.record_rung(STUDY, rung) for rung in rungs] == [True] * 3
    assert not study.record_rung(STUDY, rungs[1])
    assert study.rungs(STUDY, "sgd") == rungs
    assert study.rungs(STUDY, "rsgd") == []
    with pytest.raises(LedgerError, match=r"A rung was decided as .* and cannot be decided again as"):
        study.record_rung(STUDY, replace(rungs[1], action="stop"))


def test_threads_write_together(study: Ledger):
    keys = [trial.key for trial in plan()]
    failures: list[BaseException] = []

    def write(key: str) -> None:
        try:
            for step in range(25):
                study.record_measurement(STUDY, measured(key, step))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=write, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [(one.trial, one.step) for one in study.measurements(STUDY)] == [
        (key, step) for key in keys for step in range(25)
    ]


def test_what_was_acknowledged_survives_a_kill(url: str, study: Ledger):
    program = (
        "from study.ledger import Ledger\n"
        "from tests.study.samples import STUDY, measured\n"
        f"ledger = Ledger.open({url!r})\n"
        "for step in range(100000):\n"
        f"    ledger.record_measurement(STUDY, measured({TRIAL!r}, step))\n"
        "    print(step, flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(30)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    writer.wait(30)
    kept = [one.step for one in study.measurements(STUDY, TRIAL)]
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) <= len(acknowledged) + 1


# The driver's claim


def test_a_second_driver_is_told_who_holds_the_study(study: Ledger, clock: Clock):
    clock.now += 12
    with pytest.raises(
        SpecError, match=r"'reviews' is being run by process \d+ on .* \(last sign of life 12 s"
    ):
        study.claim_study(STUDY, "driver-2")
    held = study.holder(STUDY)
    assert held is not None
    assert held.owner == OWNER
    assert study.release_study(STUDY, OWNER)
    assert not study.release_study(STUDY, OWNER)
    assert study.holder(STUDY) is None
    assert study.claim_study(STUDY, "driver-2").owner == "driver-2"


def test_a_driver_without_a_sign_of_life_gives_way(study: Ledger, clock: Clock):
    study.start_attempt(STUDY, TRIAL)
    clock.now += 59
    study.heartbeat(STUDY, OWNER)
    clock.now += 59
    with pytest.raises(SpecError, match="a study has one driver at a time: wait for it, or end it with"):
        study.claim_study(STUDY, "driver-2")
    clock.now += 2
    study.claim_study(STUDY, "driver-2")
    assert study.running_trials(STUDY) == []
    with pytest.raises(LedgerError, match=r"no longer driven by 'driver-1' but by process \d+ on"):
        study.heartbeat(STUDY, OWNER)


@pytest.mark.parametrize("parent_noticed", [True, False])
def test_a_dead_driver_gives_way_at_once(url: str, study: Ledger, clock: Clock, parent_noticed: bool):
    study.release_study(STUDY, OWNER)
    program = (
        "import os; from study.ledger import Ledger; from tests.study.samples import STUDY\n"
        f"ledger = Ledger.open({url!r}, clock=lambda: {clock.now})\n"
        "ledger.claim_study(STUDY, 'other')\n"
        f"ledger.start_attempt(STUDY, {TRIAL!r})\n"
        "os._exit(1)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", program])
    ended = os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_status == 1
    if parent_noticed:
        driver.wait()
    assert study.running_trials(STUDY) == [TRIAL]
    assert study.holder(STUDY) is None
    study.claim_study(STUDY, "driver-2")
    assert study.running_trials(STUDY) == []
    driver.wait()


def test_a_study_that_no_longer_runs_has_no_running_trial(study: Ledger):
    run_trial(study, TRIAL, None)
    study.set_study_state(STUDY, StudyState.INTERRUPTED)
    assert study.running_trials(STUDY) == []
    assert study.trial(STUDY, TRIAL) == replace(study.trial(STUDY, TRIAL), attempts=1, ending=None)


# The tracker's book


def test_the_trackers_book(study: Ledger):
    assert study.intend_run(STUDY, "http://a", RunKind.TRIAL, TRIAL)
    assert not study.intend_run(STUDY, "http://a", RunKind.TRIAL, TRIAL)
    (run,) = study.tracked_runs(STUDY, "http://a")
    assert (run.run_id, run.shipped_measurement, run.shipped_state) == (None, 0, "")
    arrived = replace(run, run_id="abc", shipped_measurement=3, shipped_state="FINISHED:x")
    study.save_tracked_run(STUDY, "http://a", arrived)
    assert study.tracked_runs(STUDY, "http://a") == [arrived]
    assert study.tracked_runs(STUDY, "http://b") == []
    study.forget_tracked_run(STUDY, "http://a", RunKind.TRIAL, TRIAL)
    assert study.tracked_runs(STUDY, "http://a") == []


def test_measurements_are_handed_out_in_the_order_of_their_arrival(study: Ledger):
    for step in (40, 0, 20):
        study.record_measurement(STUDY, measured(TRIAL, step))
    first = study.newer_measurements(STUDY, TRIAL, after=0, limit=2)
    rest = study.newer_measurements(STUDY, TRIAL, after=first[-1][0], limit=2)
    assert [one.step for _, one in first + rest] == [40, 0, 20]
    (activity,) = [one for one in study.trial_activity(STUDY) if one.record.planned.key == TRIAL]
    assert activity.last_measurement == rest[-1][0]


# The servers


def test_a_restarted_postgresql_interrupts_nothing():
    with postgres() as server:
        ledger = Ledger.open(server.new_database())
        begin(ledger, plan())
        ledger.record_measurement(STUDY, measured(TRIAL, 0))
        server.stop()
        threading.Timer(1.5, server.start).start()
        assert ledger.record_measurement(STUDY, measured(TRIAL, 20))
        assert [one.step for one in ledger.measurements(STUDY)] == [0, 20]
        ledger.close()


def test_sqlite_is_durable_and_strict(tmp_path: Path):
    engine = open_engine(f"sqlite:///{tmp_path}/ledger.db")
    with engine.connect() as connection:
        pragmas = [
            connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")
        ]
        pragmas.append(connection.execute(text("PRAGMA foreign_keys")).scalar())
    engine.dispose()
    assert pragmas == ["wal", 2, 1]


def test_an_ending_without_extras_round_trips(study: Ledger):
    bare = Ending(outcome=Outcome.CANCELLED, steps=0)
    study.end_trial(STUDY, TRIAL, bare)
    assert study.trial(STUDY, TRIAL).ending == bare


def test_the_address_is_shown_without_its_password(ledger: Ledger, url: str):
    assert "s3cret" not in ledger.address
    assert ledger.address.startswith(url.partition(":")[0])
