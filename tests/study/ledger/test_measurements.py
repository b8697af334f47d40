"""Measurements, rungs, and what the tracker has shipped of them."""

import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from search_spaces.errors import LedgerError, TrialFailedError
from study.ledger import Ledger, RunKind
from study.records import RungRecord
from tests.study.samples import (
    STUDY,
    measured,
    plan,
    planned,
)

TRIAL = planned("sgd", 0).key


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
