"""What the page of a study shows, computed from a ledger."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from sqlalchemy import event

from search_spaces.errors import SpecError
from study.ledger import Ledger, StudyState
from study.records import PACK_READY, PACKS_AWAITED, Outcome, Phase, RungRecord
from study.service.pages.live import StudyView, study_view
from study.service.pages.overview import study_rows
from study.service.pages.showing import StudyPages, show_study
from study.service.pages.trial import trial_view
from study.service.pages.trial_list import PAGE_SIZE, find_trials
from tests.study.samples import (
    OWNER,
    STUDY,
    Clock,
    begin,
    ended,
    finished,
    measured,
    plan,
    planned,
    run_trial,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", clock=clock) as opened:
        begin(opened, plan())
        yield opened


def view(ledger: Ledger, clock: Clock) -> StudyView:
    return study_view(ledger, STUDY, now=clock.now)


def test_trials_are_counted_by_phase_family_and_outcome(ledger: Ledger, clock: Clock) -> None:
    run_trial(ledger, "search/sgd/r00/p00", finished())
    run_trial(ledger, "search/sgd/r00/p01", ended(Outcome.DIVERGED))
    run_trial(ledger, "search/rsgd/r00/p00", ended(Outcome.STOPPED))
    run_trial(ledger, "search/rsgd/r00/p01", ended(Outcome.INFRA_FAILED))
    run_trial(ledger, "search/rsgd/r00/p02", None)
    ledger.save_plan(
        STUDY, {"trial_counts": {"search": {"sgd": 3, "rsgd": 3}, "confirmation": {"sgd": 5, "rsgd": 5}}}
    )
    shown = view(ledger, clock)
    assert shown.tally.words == "1 finished, 1 stopped, 1 diverged, 1 lost, 1 running, 11 waiting"
    assert [(row.phase, row.tally.ended, row.tally.planned, row.state) for row in shown.phases] == [
        (Phase.SEARCH, 4, 6, "runs"),
        (Phase.CONFIRMATION, 0, 10, "waits"),
    ]
    by_family = {row.family: row.tally for row in shown.rows}
    assert (by_family["sgd"].ended, by_family["rsgd"].lost, by_family["rsgd"].running) == (2, 1, 1)
    assert sum(part.width for part in shown.tally.parts) == pytest.approx(100 * 5 / 16, abs=0.1)


def test_the_best_so_far_had_its_full_budget_and_was_not_confirmed(ledger: Ledger, clock: Clock) -> None:
    ledger.plan_trials(STUDY, [planned("sgd", 9, phase=Phase.CONFIRMATION)])
    run_trial(ledger, "search/sgd/r00/p00", finished())
    run_trial(ledger, "confirmation/sgd/r00/p09", finished(value=0.1))
    sgd = view(ledger, clock).rows[0]
    assert sgd.best is not None
    assert (sgd.best.trial, sgd.best.loss_nats, sgd.best.lr) == (
        "search/sgd/r00/p00",
        0.3,
        pytest.approx(0.1),
    )
    assert (sgd.confirmed_nats, sgd.confirmed_mean_nats) == ((0.1,), 0.1)
    assert view(ledger, clock).rows[1].best is None


def test_a_study_whose_driver_is_gone_is_interrupted_and_trains_nothing(ledger: Ledger, clock: Clock) -> None:
    run_trial(ledger, "search/sgd/r00/p00", None)
    clock.now += 3600
    shown = view(ledger, clock)
    assert shown.state is StudyState.INTERRUPTED
    assert (shown.tally.running, shown.packs, shown.driver) == (0, (), "")
    assert shown.can_resume
    assert not shown.can_stop
    assert shown.announcement == "Study reviews is interrupted."


def test_rungs_say_who_reached_them_and_who_was_stopped(ledger: Ledger, clock: Clock) -> None:
    keys = [f"search/sgd/r00/p0{point}" for point in range(3)]
    for place, (key, action) in enumerate(zip(keys, ("continue", "stop", "stop"), strict=True)):
        ledger.record_rung(
            STUDY,
            RungRecord(
                family="sgd",
                trial=key,
                rung=20,
                value=0.5,
                cutoff=0.4 if place else None,
                num_recorded=place + 1,
                action=action,
            ),
        )
    run_trial(ledger, keys[0], finished())
    run_trial(ledger, keys[1], ended(Outcome.STOPPED, steps=20))
    survival = view(ledger, clock).survivals[0]
    rung = survival.rungs[0]
    assert (rung.step, rung.place, rung.reached, rung.passed, rung.num_stopped) == (20, 50.0, 3, 1, 2)
    assert (rung.stopped, rung.cutoff_nats) == (tuple(keys[1:]), 0.4)
    assert [(line.kind, line.reached) for line in survival.lines] == [("finished", 100.0), ("stopped", 50.0)]
    assert survival.words == "2 of 3 trials started; 3 reached step 20, 2 stopped there; 1 finished."


def test_learning_rates_stand_by_their_loss_and_divergence_at_the_top(ledger: Ledger, clock: Clock) -> None:
    run_trial(ledger, "search/sgd/r00/p00", finished())
    run_trial(ledger, "search/sgd/r00/p01", ended(Outcome.DIVERGED, init_value=0.7))
    run_trial(ledger, "search/sgd/r00/p02", None, steps=(0, 20))
    shown = view(ledger, clock).landscape
    panel = shown.panels[0]
    assert [(point.kind, point.loss_nats) for point in panel.points] == [
        ("finished", 0.3),
        ("diverged", None),
        ("running", pytest.approx(1 / 21)),
    ]
    assert panel.points[1].y == 100.0
    assert panel.points[0].x < panel.points[1].x < panel.points[2].x
    assert shown.init_nats == pytest.approx(0.7)
    assert [(row.power, row.num_trials, row.num_diverged) for row in panel.decades] == [(-1, 3, 1)]


def test_what_a_driver_waits_for_is_told_until_a_pack_is_ready(ledger: Ledger, clock: Clock) -> None:
    assert view(ledger, clock).waits_for == ""
    told = "No pack has started yet: each takes 4 CPUs, and <none> is free."
    ledger.record_event(STUDY, PACKS_AWAITED, {"told": told})
    shown = view(ledger, clock)
    assert shown.waits_for == told
    page = show_study(shown, root="", ray_url="").fragments["packs"].html
    assert "each takes 4 CPUs, and &lt;none&gt; is free." in page
    ledger.record_event(STUDY, PACK_READY, {"pack": 0, "node": "10.0.0.1", "lanes": 4})
    assert view(ledger, clock).waits_for == ""


def test_packs_say_which_trials_train_in_them_and_where(ledger: Ledger, clock: Clock) -> None:
    ledger.record_event(STUDY, "pack_ready", {"pack": 0, "node": "10.0.0.1", "lanes": 4})
    ledger.record_event(STUDY, "pack_ready", {"pack": 1, "node": "10.0.0.2", "lanes": 4})
    run_trial(ledger, "search/sgd/r00/p00", None, steps=(0, 20))
    ledger.place_attempt(STUDY, "search/sgd/r00/p00", pack=0, node="10.0.0.1")
    ledger.record_event(STUDY, "pack_lost", {"pack": 1, "reason": "Its node died."})
    first, second = view(ledger, clock).packs
    assert (first.number, first.node, first.num_free) == (0, "10.0.0.1", 3)
    assert [(seat.trial, seat.done_frac) for seat in first.seats] == [("search/sgd/r00/p00", 0.5)]
    assert (second.state, second.reason) == ("lost", "Its node died.")


def test_trials_without_a_place_stand_together(ledger: Ledger, clock: Clock) -> None:
    run_trial(ledger, "search/sgd/r00/p00", None)
    (only,) = view(ledger, clock).packs
    assert (only.number, only.lanes, len(only.seats)) == (None, None, 1)


def test_cost_to_come_is_judged_by_the_calibration(ledger: Ledger, clock: Clock) -> None:
    prediction = {
        "device_seconds": {"search": {"sgd": 30.0, "rsgd": 60.0}},
        "device_hours": 0.025,
        "hours": 0.0125,
        "packs": 2,
        "lanes": 4,
    }
    ledger.record_event(STUDY, "calibrated", {"prediction": prediction})
    run_trial(ledger, "search/sgd/r00/p00", finished())
    cost = view(ledger, clock).cost
    assert cost.by == "calibration"
    assert cost.spent_s == 2.5
    assert cost.to_come_s == pytest.approx(2 * 10 + 3 * 20)
    assert cost.left_s == pytest.approx(
        45 * 80 / 90
    )  # as predicted, while too few trials have ended to see a pace


def test_time_left_follows_the_pace_once_there_is_one(ledger: Ledger, clock: Clock) -> None:
    for family, point in (("sgd", 0), ("sgd", 1), ("rsgd", 0), ("rsgd", 1)):
        clock.now += 10
        run_trial(ledger, f"search/{family}/r00/p0{point}", finished())
    clock.now += 10
    cost = view(ledger, clock).cost
    assert cost.by == "trials"
    assert cost.to_come_s == pytest.approx(2 * 2.5)
    assert cost.left_s == pytest.approx(5.0 * 50 / 10)


def test_nothing_is_said_of_a_cost_that_nothing_tells(ledger: Ledger, clock: Clock) -> None:
    cost = view(ledger, clock).cost
    assert (cost.to_come_s, cost.left_s, cost.by) == (None, None, "")


def test_failures_come_once_each_the_newest_first_with_their_log(ledger: Ledger, clock: Clock) -> None:
    key = "search/sgd/r00/p00"
    ledger.record_event(
        STUDY, "attempt_failed", {"trial": key, "reason": "Out of memory.", "log": "line 1\nline 2"}
    )
    ledger.record_event(STUDY, "worker_lost", {"trial": key, "reason": "Out of memory.", "attempt": 1})
    clock.now += 5
    ledger.record_event(STUDY, "capped", {"cap": "max_hours", "limit": 2, "used": 2.01})
    clock.now += 5
    run_trial(ledger, "search/rsgd/r00/p00", ended(Outcome.OUT_OF_MEMORY))
    shown = view(ledger, clock).failures
    assert [one.title for one in shown.shown] == [
        "A trial ran out of memory",
        "A cap was reached",
        "An attempt failed",
    ]
    assert shown.shown[2].log == "line 1\nline 2"
    assert "2.01 hours" in shown.shown[1].reason
    assert trial_view(ledger, STUDY, key, now=clock.now).failures[0].log == "line 1\nline 2"


def test_a_trial_has_its_curve_rungs_and_attempts(ledger: Ledger, clock: Clock) -> None:
    key = "search/sgd/r00/p00"
    run_trial(ledger, key, None, steps=(0,))
    ledger.place_attempt(STUDY, key, pack=0, node="10.0.0.1")
    clock.now += 60
    run_trial(ledger, key, None, steps=(20,))
    ledger.place_attempt(STUDY, key, pack=1, node="10.0.0.2")
    shown = trial_view(ledger, STUDY, key, now=clock.now)
    assert shown.kind == "running"
    assert [(one.number, one.pack, one.node, one.ended_at is None) for one in shown.attempts] == [
        (1, 0, "10.0.0.1", False),
        (2, 1, "10.0.0.2", True),
    ]
    assert shown.curve is not None
    assert [x for x, _ in shown.curve.points] == [0.0, 50.0]
    assert shown.metrics == ("select_loss_nats", "select_accuracy")


def test_a_trial_that_has_not_begun_shows_nothing_that_is_not_there(ledger: Ledger, clock: Clock) -> None:
    shown = trial_view(ledger, STUDY, "search/sgd/r00/p00", now=clock.now)
    assert (shown.kind, shown.curve, shown.attempts) == ("waiting", None, ())


def test_a_study_that_nothing_was_planned_of_can_be_shown(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/other.db") as ledger:
        ledger.create_study("bare", {}, "d" * 64, {})
        shown = study_view(ledger, "bare", now=time.time())
    assert (shown.state, shown.phases, shown.tally.planned) == (StudyState.PLANNED, (), 0)
    assert asdict(shown)["survivals"] == ()


def test_an_unknown_study_is_refused(ledger: Ledger, clock: Clock) -> None:
    with pytest.raises(SpecError, match="Unknown study 'review', did you mean 'reviews'"):
        study_view(ledger, "review", now=clock.now)


def test_a_look_takes_as_many_queries_whatever_runs(ledger: Ledger, clock: Clock) -> None:
    asked: list[str] = []
    event.listen(ledger._engine, "before_cursor_execute", lambda *told: asked.append(told[2]))

    def num_queries() -> int:
        view(ledger, clock)
        asked.clear()
        view(ledger, clock)
        return len(asked)

    run_trial(ledger, "search/sgd/r00/p00", None)
    with_one = num_queries()
    for key in ("search/sgd/r00/p01", "search/rsgd/r00/p00", "search/rsgd/r00/p01"):
        run_trial(ledger, key, None)
    assert num_queries() == with_one


def test_those_who_look_at_once_share_a_page_until_something_is_new(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = StudyPages(ledger, fresh_s=60.0)

    def look() -> StudyView:
        return pages.page(STUDY, root="", ray_url="")[0]

    first = look()
    run_trial(ledger, "search/sgd/r00/p00", finished())
    assert look() is first
    later = time.monotonic() + 61.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    second = look()
    assert second.tally.finished == 1
    ledger.set_study_state(STUDY, StudyState.STOPPED)
    assert look().state is StudyState.STOPPED
    ledger.record_event(STUDY, "attempt_failed", {"reason": "Look here."})
    assert look().failures.num_all == 1
    assert pages.page(STUDY, root="/under", ray_url="")[1] is not pages.page(STUDY, root="", ray_url="")[1]


def test_the_list_of_studies_counts_trials_and_reads_none(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_trial(ledger, "search/sgd/r00/p00", finished())
    run_trial(ledger, "search/sgd/r00/p01", ended(Outcome.DIVERGED))
    run_trial(ledger, "search/sgd/r00/p02", None)
    shown = view(ledger, clock)
    for name in ("trials", "trial_activity", "measurements"):
        monkeypatch.setattr(Ledger, name, lambda *_: pytest.fail("trials are read"))
    (row,) = study_rows(ledger)
    assert shown.phase is not None
    assert (row.tally, row.phase, row.families) == (shown.tally, shown.phase.title, shown.families)
    assert row.spent_s == shown.cost.spent_s == 2.5


def test_studies_are_listed_the_newest_first(ledger: Ledger, clock: Clock) -> None:
    ledger.create_study("later", {"families": ["sgd"]}, "e" * 64, {})
    rows = study_rows(ledger)
    assert [(row.name, row.state.value) for row in rows] == [("later", "planned"), ("reviews", "running")]


def test_trials_are_filtered_and_paged(ledger: Ledger, clock: Clock) -> None:
    ledger.plan_trials(STUDY, [planned("sgd", point) for point in range(3, 120)])
    run_trial(ledger, "search/sgd/r00/p05", ended(Outcome.DIVERGED))

    def find(**asked: object) -> list[str]:
        wanted = {"phase": "", "family": "", "kind": "", "page": 1, **asked}
        return [row.record.planned.key for row in find_trials(ledger, STUDY, now=clock.now, **wanted).rows]

    assert len(find()) == PAGE_SIZE
    assert find(kind="diverged") == ["search/sgd/r00/p05"]
    assert find(family="rsgd") == [f"search/rsgd/r00/p0{point}" for point in range(3)]
    assert find(phase="confirmation") == []
    assert len(find(page=3)) == 123 - 2 * PAGE_SIZE
    assert find(page=99) == find(page=3)


def test_a_large_study_stays_light(ledger: Ledger, clock: Clock) -> None:
    ledger.plan_trials(STUDY, [planned("sgd", point) for point in range(3, 1500)])
    for point in range(3, 700):
        ledger.start_attempt(STUDY, f"search/sgd/r00/p{point:02d}")
        ledger.end_trial(STUDY, f"search/sgd/r00/p{point:02d}", finished())
    shown = view(ledger, clock)
    sgd = shown.landscape.panels[0]
    assert (len(sgd.points), sgd.num_trials, sgd.is_thinned) == (240, 697, True)
    assert (len(shown.survivals[0].lines), shown.survivals[0].num_started) == (48, 697)
    assert shown.survivals[0].is_thinned


def test_only_the_driver_is_asked_for_running_measurements(ledger: Ledger, clock: Clock) -> None:
    run_trial(ledger, "search/sgd/r00/p00", None, steps=(0,))
    ledger.record_measurement(STUDY, measured("search/sgd/r00/p00", 20))
    assert view(ledger, clock).packs[0].seats[0].done_frac == 0.5
    ledger.release_study(STUDY, OWNER)
    assert view(ledger, clock).packs == ()
