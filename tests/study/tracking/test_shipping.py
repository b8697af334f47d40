"""Shipping to a store in a file: everything once, whatever breaks off, is lost or is deleted there."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from search_spaces.errors import RetryableError
from study.ledger import Ledger, RunKind, StudyState
from study.records import Measurement, Outcome
from study.report.document import to_json
from study.tracking import redact
from study.tracking.store import TrackingStore
from tests.study.report import sample_report, verdict_samples
from tests.study.samples import OWNER, STUDY, ended, finished, measured, planned, run_trial
from tests.study.tracking.homes import DONE, TRIAL, Home, assert_agrees, finish_all, forget_open_stores


def test_a_study_arrives_with_its_tree_params_tags_and_metrics(home: Home):
    finish_all(home.ledger)
    home.ledger.save_plan(STUDY, {"trials": 6})
    assert home.ship() == DONE
    assert_agrees(home)
    run = home.run(f"trial:{TRIAL}")
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "family": "sgd",
        "lr": "0.1",
        "num_experts": "8",
        "top_k": "4",
        "rank": "4",
        "steps": "40",
        "seed": str(2**62),
    }
    wanted = {"phase": "search", "family": "sgd", "replicate": "0", "seed": str(2**62), "attempt": "1"}
    wanted |= {"trial": TRIAL, "configuration": planned("sgd", 0).configuration, "outcome": "finished"}
    assert wanted.items() <= run.data.tags.items()
    assert run.data.metrics["report_loss_nats"] == 0.4
    assert run.data.metrics["report_accuracy"] == 0.8
    assert home.history(run, "select_loss_nats") == [(0, 1.0), (20, 1 / 21), (40, 1 / 41)]
    chain = [run]
    while parent := chain[-1].data.tags.get("mlflow.parentRunId"):
        chain.append(MlflowClient(home.uri).get_run(parent))
    assert [one.data.tags["kind"] for one in chain] == ["trial", "configuration", "family", "study"]
    assert chain[-1].data.params["task.name"] == "vader_movie"
    assert chain[2].data.metrics["search_best_select_loss_nats"] == 0.3
    files = {file.path for file in MlflowClient(home.uri).list_artifacts(chain[-1].info.run_id)}
    assert files == {"spec.yaml", "plan.json", "manifest.json"}
    assert list(home.artifacts_dir.rglob("spec.yaml"))


def test_a_second_pass_sends_nothing(home: Home, monkeypatch: pytest.MonkeyPatch):
    finish_all(home.ledger)
    home.ship()
    store = home.store()
    for method in (
        "create_run",
        "log_measurements",
        "describe",
        "set_status",
        "set_tags",
        "set_experiment_tags",
        "log_datasets",
        "write_text",
        "upload",
    ):
        monkeypatch.setattr(store, method, lambda *_, **__: pytest.fail("something was sent again"))
    assert home.shipper().ship(store, verify=True) == DONE


class FlakyStore(TrackingStore):
    """Does what it is told, and then loses the word of it at one call."""

    def __init__(self, home: Home, method: str, nth: int) -> None:
        super().__init__(home.uri, home.artifacts_dir)
        self._method, self._nth, self._calls = method, nth, 0

    def _lose_word(self, method: str) -> None:
        self._calls += method == self._method
        if self._calls == self._nth:
            self._calls += 1
            raise RetryableError("the connection was cut")

    def create_run(self, *args: Any, **kwargs: Any) -> str:
        run_id = super().create_run(*args, **kwargs)
        self._lose_word("create_run")
        return run_id

    def experiment(self, name: str, uid: str) -> str:
        experiment_id = super().experiment(name, uid)
        self._lose_word("experiment")
        return experiment_id

    def log_measurements(self, *args: Any) -> None:
        super().log_measurements(*args)
        self._lose_word("log_measurements")

    def describe(self, *args: Any, **kwargs: Any) -> None:
        super().describe(*args, **kwargs)
        self._lose_word("describe")


@pytest.mark.parametrize(
    ("method", "nth"),
    [("experiment", 1), ("create_run", 1), ("create_run", 8), ("describe", 2), ("describe", 11)],
)
def test_a_crash_between_a_call_and_its_note_makes_no_duplicate(home: Home, method: str, nth: int):
    finish_all(home.ledger)
    with pytest.raises(RetryableError, match="the connection was cut"):
        home.shipper().ship(FlakyStore(home, method, nth), verify=True)
    assert home.ship() == DONE
    assert_agrees(home)


def test_measurements_of_a_trial_under_way_whose_note_was_lost_arrive_once(home: Home):
    run_trial(home.ledger, TRIAL, None, steps=[0])
    home.ship()
    home.ledger.record_measurement(STUDY, measured(TRIAL, 20))
    with pytest.raises(RetryableError, match="the connection was cut"):
        home.shipper().ship(FlakyStore(home, "log_measurements", 1), verify=True)
    home.ledger.record_measurement(STUDY, measured(TRIAL, 40))
    finish_all(home.ledger)
    assert home.ship() == DONE
    assert_agrees(home)


def test_a_run_that_a_dead_drivers_last_request_made_is_deleted_at_the_end(home: Home):
    run_trial(home.ledger, TRIAL, finished())
    home.ship()
    known = home.run(f"trial:{TRIAL}")
    client = MlflowClient(home.uri)
    own = {name: known.data.tags[name] for name in ("trialwright.study", "trialwright.run")}
    stray = client.create_run(home.experiment(), tags=own).info.run_id
    foreign = client.create_run(home.experiment(), tags={"trialwright.study": "another"}).info.run_id
    home.ship()
    assert client.get_run(stray).info.lifecycle_stage == "active"  # it may be one that is being made
    finish_all(home.ledger)
    assert home.ship() == DONE
    assert client.get_run(stray).info.lifecycle_stage == "deleted"
    assert client.get_run(stray).info.status == "KILLED"
    assert client.get_run(foreign).info.lifecycle_stage == "active"
    client.delete_run(foreign)
    assert_agrees(home)


def test_a_tracker_whose_driver_lost_the_study_ships_nothing_more(home: Home):
    with Ledger.open(home.ledger_url) as ledger:
        ledger.release_study(STUDY, OWNER)
        ledger.claim_study(STUDY, "driver-2")
        run_trial(ledger.held_by("driver-2"), TRIAL, finished())
    tracker = home.tracker(owner=OWNER)
    backlog = tracker.flush(30)
    assert "is no longer driven by this process, driver-1, but by process" in backlog.problem
    assert tracker.close(30) == backlog
    assert MlflowClient(home.uri).search_experiments(filter_string=f"name = '{STUDY}'") == []
    assert home.ledger.tracked_runs(STUDY, redact(home.uri)) == []


def test_a_resumed_trial_runs_again_and_ends(home: Home):
    run_trial(home.ledger, TRIAL, None, steps=[0, 20])
    home.ship()
    assert home.run(f"trial:{TRIAL}").info.status == "RUNNING"
    home.ledger.set_study_state(STUDY, StudyState.INTERRUPTED)
    home.ship()
    assert {run.info.status for run in home.runs()} == {"KILLED"}
    home.ledger.set_study_state(STUDY, StudyState.RUNNING)
    home.ledger.start_attempt(STUDY, TRIAL)
    home.ship()
    resumed = home.run(f"trial:{TRIAL}")
    assert (resumed.info.status, resumed.data.tags["attempt"]) == ("RUNNING", "2")
    home.ledger.record_measurement(STUDY, measured(TRIAL, 20))
    home.ledger.record_measurement(STUDY, measured(TRIAL, 40))
    home.ledger.end_trial(STUDY, TRIAL, finished())
    finish_all(home.ledger)
    assert home.ship() == DONE
    assert_agrees(home)


def test_many_metrics_go_in_batches_and_odd_names_are_tamed(home: Home):
    loads = {f"expert_load_frac.{i:02d}": i / 100 for i in range(60)} | {"ratio[%]": 1.0}
    home.ledger.start_attempt(STUDY, TRIAL)
    for step in range(50):
        one = Measurement(trial=TRIAL, step=step, metrics=loads, recorded_at=1.7e9 + step)
        home.ledger.record_measurement(STUDY, one)
    home.ledger.end_trial(STUDY, TRIAL, ended(Outcome.STOPPED))
    assert home.ship() == DONE
    run = home.run(f"trial:{TRIAL}")
    assert len(home.history(run, "expert_load_frac.59")) == 50
    assert run.data.metrics["ratio___"] == 1.0
    assert run.info.status == "KILLED"


def test_namesakes_of_two_ledgers_keep_apart(tmp_path: Path, empty_store: Path):
    shutil.copy(empty_store, tmp_path / "shared.db")
    uri = f"sqlite:///{tmp_path}/shared.db"
    homes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        homes.append(Home(tmp_path / name, uri=uri))
        finish_all(homes[-1].ledger)
        assert homes[-1].ship() == DONE
    for home in homes:
        assert_agrees(home)
    names = [MlflowClient(uri).get_experiment(home.experiment()).name for home in homes]
    assert names == [STUDY, f"{STUDY} ({homes[1].ledger.study(STUDY).uid[:8]})"]


def test_a_store_that_was_lost_is_filled_again(home: Home, tmp_path: Path, empty_store: Path):
    finish_all(home.ledger)
    home.ship()
    shutil.copy(empty_store, tmp_path / "other.db")
    elsewhere = MlflowClient(f"sqlite:///{tmp_path}/other.db").create_experiment("another study")
    assert elsewhere == home.experiment()  # a new store gives the old number to a stranger
    for file in tmp_path.glob("mlflow.db*"):
        file.unlink()
    (tmp_path / "other.db").rename(tmp_path / "mlflow.db")
    forget_open_stores()
    assert home.ship() == DONE
    assert_agrees(home)


def test_a_deleted_run_stays_deleted_and_a_deleted_experiment_comes_back(home: Home):
    finish_all(home.ledger)
    home.ship()
    client = MlflowClient(home.uri)
    client.delete_run(home.run(f"trial:{TRIAL}").info.run_id)
    client.delete_experiment(home.experiment())
    home.ledger.record_measurement(STUDY, measured(TRIAL, 60))
    assert home.ship() == DONE
    assert client.get_experiment(home.experiment()).lifecycle_stage == "active"


def test_a_run_that_is_gone_is_made_anew_and_its_children_follow(home: Home):
    run_trial(home.ledger, TRIAL, None)
    home.ship()
    configuration = home.run(f"configuration:{planned('sgd', 0).configuration}")
    client = MlflowClient(home.uri)
    client.delete_run(configuration.info.run_id)
    client._tracking_client.store._hard_delete_run(configuration.info.run_id)  # what `mlflow gc` does
    finish_all(home.ledger)
    assert "has to be made anew" in home.ship().problem
    assert home.ship() == DONE
    assert_agrees(home)
    anew = home.run(f"configuration:{planned('sgd', 0).configuration}")
    assert home.run(f"trial:{TRIAL}").data.tags["mlflow.parentRunId"] == anew.info.run_id


def test_the_verdicts_of_the_report_stand_on_the_study_and_on_the_claimed_family(home: Home, tmp_path: Path):
    finish_all(home.ledger)
    report = tmp_path / "report"
    report.mkdir()
    for name in ("report.html", "report.pdf", "report.md", "claims.tex", "trials.parquet"):
        (report / name).write_text("x")
    document = to_json(sample_report.model()).replace(b'"a": "grsgd"', b'"a": "rsgd"')
    (report / "report.json").write_bytes(document)
    home.ledger.intend_run(STUDY, redact(home.uri), RunKind.ARTIFACTS, str(report))
    assert home.ship() == DONE
    part = verdict_samples.supported_meaningful().parts[0]
    wanted = {"estimate": part.estimate, "ci_low": part.ci_low, "ci_high": part.ci_high}
    for label in ("study:", "family:rsgd"):
        data = home.run(label).data
        assert (data.tags["claim.C2.verdict"], data.tags["claim.C2.grade"]) == ("supported", "meaningful")
        assert {end: data.metrics[f"claim.C2.tuned_loss.{end}"] for end in wanted} == wanted
    assert home.run("study:").data.tags["claim.C8.verdict"] == "not evaluable"
    assert not any(name.startswith("claim.") for name in home.run("family:sgd").data.metrics)
    client = MlflowClient(home.uri)
    found = client.search_runs([home.experiment()], "tags.`claim.C2.verdict` = 'supported'")
    assert {run.data.tags["trialwright.run"] for run in found} == {"study:", "family:rsgd"}
    attached = {file.path for file in client.list_artifacts(home.run("study:").info.run_id, "report")}
    assert attached == {f"report/{path.name}" for path in report.iterdir()}
    (report / "report.json").write_bytes(document.replace(b'"grade": "meaningful"', b'"grade": "detectable"'))
    assert home.ship() == DONE
    assert home.run("family:rsgd").data.tags["claim.C2.grade"] == "detectable"
