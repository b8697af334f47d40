"""Shipping to real MLflow stores: a SQLite file, and a server that is killed and started again."""

import http.server
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient

from search_spaces.errors import RetryableError, SpecError
from study.ledger import Ledger, RunKind, StudyState
from study.records import Measurement, Outcome
from study.report.document import to_json
from study.tracking import Backlog, Tracker, check_tracking, comparison_url, redact
from study.tracking.address import client_uri, redact_text
from study.tracking.shipping import Shipper
from study.tracking.store import TrackingStore
from tests.study.report import sample_report, verdict_samples
from tests.study.samples import STUDY, begin, ended, finished, measured, plan, planned, run_trial
from tests.study.servers import MlflowServer, free_port, mlflow_server, postgres

TRIAL = planned("sgd", 0).key
DONE = Backlog(num_runs=0)


class Home:
    """A ledger with a study under way, and an empty SQLite store beside it unless `uri` names another."""

    def __init__(self, folder: Path, *, uri: str | None = None, empty: Path | None = None) -> None:
        if empty is not None:
            shutil.copy(empty, folder / "mlflow.db")
        self.ledger_url = f"sqlite:///{folder}/ledger.db"
        self.uri = uri or f"sqlite:///{folder}/mlflow.db"
        self.artifacts_dir = folder / "mlartifacts"
        self.ledger = Ledger.open(self.ledger_url)
        begin(self.ledger, plan())

    def tracker(self, **settings: float) -> Tracker:
        tracker = Tracker(
            ledger_url=self.ledger_url,
            study=STUDY,
            tracking_uri=self.uri,
            artifacts_dir=self.artifacts_dir,
            **{"interval_s": 0.1, "max_pause_s": 1.0, **settings},
        )
        tracker.start()
        return tracker

    def shipper(self) -> Shipper:
        return Shipper(ledger=self.ledger, study=STUDY, label=redact(self.uri))

    def store(self) -> TrackingStore:
        return TrackingStore(self.uri, self.artifacts_dir)

    def ship(self, *, verify: bool = True) -> Backlog:
        return self.shipper().ship(self.store(), verify=verify)

    def experiment(self) -> str:
        known = self.ledger.tracked_runs(STUDY, redact(self.uri))
        return next(str(run.run_id) for run in known if run.kind == "experiment")

    def runs(self) -> list[Any]:
        return list(MlflowClient(self.uri).search_runs([self.experiment()], max_results=1000))

    def run(self, label: str) -> Any:
        (found,) = [run for run in self.runs() if run.data.tags["trialwright.run"] == label]
        return found

    def history(self, run: Any, metric: str) -> list[tuple[int, float]]:
        points = MlflowClient(self.uri).get_metric_history(run.info.run_id, metric)
        return [(point.step, point.value) for point in points]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without a run: MLflow takes seconds to make one, so that tests copy it."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    TrackingStore(f"sqlite:///{path}", path.parent)
    return path


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Home:
    return Home(tmp_path, empty=empty_store)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


def finish_all(ledger: Ledger) -> None:
    for trial in plan():
        if ledger.trial(STUDY, trial.key).ending is None:
            run_trial(ledger, trial.key, finished())
    ledger.set_study_state(STUDY, StudyState.FINISHED)


def assert_agrees(home: Home) -> None:
    """MLflow holds every trial of the ledger once, with its outcome, and its measurements once."""
    runs = home.runs()
    labels = Counter(run.data.tags["trialwright.run"] for run in runs)
    assert set(labels.values()) == {1}, labels
    assert "RUNNING" not in {run.info.status for run in runs}
    by_key = {run.data.tags["trial"]: run for run in runs if run.data.tags["kind"] == "trial"}
    for record in home.ledger.trials(STUDY):
        run = by_key.pop(record.planned.key)
        assert record.ending is not None
        assert run.data.tags["outcome"] == record.ending.outcome
        steps = [one.step for one in home.ledger.measurements(STUDY, record.planned.key)]
        assert [step for step, _ in home.history(run, "select_loss_nats")] == steps
    assert by_key == {}


# A store in a file


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
    for method in ("create_run", "log_measurements", "describe", "set_status", "write_text", "upload"):
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
    [("experiment", 1), ("create_run", 1), ("create_run", 8), ("log_measurements", 2), ("describe", 5)],
)
def test_a_crash_between_a_call_and_its_note_makes_no_duplicate(home: Home, method: str, nth: int):
    finish_all(home.ledger)
    with pytest.raises(RetryableError, match="the connection was cut"):
        home.shipper().ship(FlakyStore(home, method, nth), verify=True)
    assert home.ship() == DONE
    assert_agrees(home)


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
    _forget_open_stores()
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


# A server, in the background


@pytest.mark.slow
def test_an_outage_never_reaches_the_study_and_everything_arrives_once(
    tmp_path: Path, server: MlflowServer, caplog: pytest.LogCaptureFixture
):
    home = Home(tmp_path, uri=server.uri.replace("://", "://tester:s3cret@"))
    tracker = home.tracker()
    trials = [trial.key for trial in plan()]
    run_trial(home.ledger, trials[0], finished())
    run_trial(home.ledger, trials[1], None, steps=[0, 20])
    tracker.notify()
    assert tracker.flush(60) == DONE
    server.kill()
    began = time.monotonic()
    home.ledger.record_measurement(STUDY, measured(trials[1], 40))
    home.ledger.end_trial(STUDY, trials[1], ended(Outcome.DIVERGED, init_value=0.7))
    for key in trials[2:]:
        run_trial(home.ledger, key, finished())
        tracker.notify()
    assert time.monotonic() - began < 2, "the study waited for MLflow"
    behind = tracker.flush(3)
    assert behind.num_runs > len(trials[2:])
    assert "Connection refused" in behind.problem or "Max retries" in behind.problem, behind
    assert "s3cret" not in behind.problem + caplog.text
    home.ledger.set_study_state(STUDY, StudyState.FINISHED)
    (tmp_path / "late").mkdir()
    late = Home(
        tmp_path / "late", uri=server.uri
    )  # a study that is launched during the outage, and ends in it
    finish_all(late.ledger)
    assert late.tracker().close(0.5).num_runs > 0
    server.start()
    assert tracker.close(60) == DONE
    assert_agrees(home)
    assert late.tracker().close(60) == DONE
    assert_agrees(late)


def test_reports_are_attached_to_the_study_and_figures_to_the_families(tmp_path: Path, server: MlflowServer):
    home = Home(tmp_path, uri=server.uri)
    finish_all(home.ledger)
    report = tmp_path / "report"
    (report / "figures").mkdir(parents=True)
    (report / "report.html").write_text("<p>first</p>")
    (report / "figures" / "curve.svg").write_text("<svg/>")
    tracker = home.tracker()
    tracker.attach_artifacts(report)
    assert tracker.flush(60) == DONE
    (report / "report.html").write_text("<p>second, longer</p>")
    tracker.notify()
    assert tracker.close(60) == DONE
    client = MlflowClient(home.uri)
    study = home.run("study:").info.run_id
    path = client.download_artifacts(study, "report/report.html", str(tmp_path))
    assert Path(path).read_text() == "<p>second, longer</p>"
    for family in ("sgd", "rsgd"):
        files = client.list_artifacts(home.run(f"family:{family}").info.run_id, "figures")
        assert [file.path for file in files] == ["figures/curve.svg"]


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


def test_the_comparison_names_every_family(tmp_path: Path, server: MlflowServer):
    home = Home(tmp_path, uri=server.uri.replace("://", "://tester:s3cret@"))
    with pytest.raises(SpecError, match="No family of study 'reviews' has arrived at 'http://tester:"):
        comparison_url(home.ledger, STUDY, home.uri)
    finish_all(home.ledger)
    home.ship()
    address = comparison_url(home.ledger, STUDY, home.uri)
    page, _, query = address.partition("#/compare-runs?")
    assert page == f"{server.uri}/"
    families = [home.run(f"family:{family}").info.run_id for family in ("sgd", "rsgd")]
    asked: Mapping[str, list[str]] = parse_qs(query)
    assert asked["runs"] == ['["' + '","'.join(families) + '"]']
    assert asked["experiments"] == [f'["{home.experiment()}"]']


def test_a_file_store_needs_the_address_of_its_pages(home: Home):
    finish_all(home.ledger)
    home.ship()
    with pytest.raises(SpecError, match=r"Nobody serves the pages of 'sqlite:.*: start `make mlflow`"):
        comparison_url(home.ledger, STUDY, home.uri)
    address = comparison_url(home.ledger, STUDY, home.uri, "http://127.0.0.1:5000/")
    assert address.startswith("http://127.0.0.1:5000/#/compare-runs?runs=")


@pytest.mark.slow
def test_a_postgresql_store_is_as_good(tmp_path: Path):
    with postgres() as database:
        home = Home(tmp_path, uri=database.new_database())
        check_tracking(home.uri)
        finish_all(home.ledger)
        assert home.ship() == DONE
        assert home.shipper().pending() == 0
        runs = MlflowClient(client_uri(home.uri)).search_runs([home.experiment()], max_results=1000)
        assert Counter(run.data.tags["kind"] for run in runs) == {
            "study": 1,
            "family": 2,
            "configuration": 6,
            "trial": 6,
        }
        assert {run.info.status for run in runs} == {"FINISHED"}


# Addresses


def test_a_server_that_answers_is_accepted(server: MlflowServer):
    check_tracking(server.uri)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("htp://localhost:5000", "'htp://localhost:5000' is of no kind that is known: write http"),
        ("localhost:5000", "'localhost:5000' is of no kind that is known: write http"),
        ("http://", "'http://' names no host: write http"),
        (
            "file:///tmp/mlruns",
            "'file:///tmp/mlruns' is a folder, which MLflow 3 no longer writes to",
        ),
        ("./mlruns", "'./mlruns' is a folder, which"),
        ("sqlite://", "'sqlite://' names no file: write sqlite:///<file>"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////dev/null/mlflow.db", r"cannot be used \(File exists\): name a file that you can write"),
        (
            "http://u:s3cret@no-such-host.invalid:5000",
            r"'http://u:\*\*\*@no-such-host.invalid:5000' does not answer",
        ),
        (
            "postgresql://u:s3cret@127.0.0.1:1/mlflow",
            r"'postgresql://u:\*\*\*@127.0.0.1:1/mlflow' does not answer",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_the_users_mistake(uri: str, message: str):
    with pytest.raises(SpecError, match=message) as caught:
        check_tracking(uri)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_nothing_listening_is_the_users_mistake():
    with pytest.raises(SpecError, match=r"does not answer as one .*: start it, correct the address"):
        check_tracking(f"http://127.0.0.1:{free_port()}")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "mlflow.db").write_text("not a database at all")
    with pytest.raises(SpecError, match=r"cannot be used \(it is not a SQLite database\)"):
        check_tracking(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.parametrize(("status", "text"), [(403, "Invalid Host header"), (401, "no"), (404, "no page")])
def test_a_server_that_is_no_mlflow_or_shuts_us_out_is_the_users_mistake(status: int, text: str):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        with pytest.raises(SpecError, match="does not answer as one"):
            check_tracking(f"http://127.0.0.1:{listener.server_port}")
        listener.shutdown()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("https://user:pa%40ss@host/path", "https://user:***@host/path"),
        ("https://:token@host", "https://:***@host"),
        (
            "postgresql://u:p@h:1/d?sslpassword=x&sslmode=require",
            "postgresql://u:***@h:1/d?sslpassword=***&sslmode=require",
        ),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
    ],
)
def test_a_password_is_never_shown(uri: str, shown: str):
    assert redact(uri) == shown
    assert urlsplit(redact(uri)).hostname == urlsplit(uri).hostname


def test_a_message_loses_its_secrets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    text = redact_text("http://u:pa%40ss@h refused pa@ss and t0ken", "http://u:pa%40ss@h")
    assert text == "http://u:***@h refused *** and ***"


def _forget_open_stores() -> None:
    """MLflow keeps an engine for each store of this process; a new process would not have it."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()
    SqlAlchemyStore._engine_map.clear()
    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
