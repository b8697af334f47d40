"""Shipping to real servers in the background: one that is killed and started again, and PostgreSQL."""

import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from search_spaces.errors import SpecError
from study.ledger import StudyState
from study.records import Outcome
from study.tracking import check_tracking, comparison_url
from study.tracking.address import client_uri
from tests.study.samples import STUDY, ended, finished, measured, plan, run_trial
from tests.study.servers import MlflowServer, postgres
from tests.study.tracking.homes import DONE, Home, assert_agrees, finish_all


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


def test_the_comparison_is_the_arranged_page_of_the_families(tmp_path: Path, server: MlflowServer):
    home = Home(tmp_path, uri=server.uri.replace("://", "://tester:s3cret@"))
    with pytest.raises(SpecError, match="No family of study 'reviews' has arrived at 'http://tester:"):
        comparison_url(home.ledger, STUDY, home.uri)
    finish_all(home.ledger)
    home.ship()
    address = comparison_url(home.ledger, STUDY, home.uri)
    assert address == (
        f"{server.uri}/#/experiments/{home.experiment()}/runs"
        "?workflowType=machine_learning&viewStateShareKey=families"
    )


def test_a_file_store_needs_the_address_of_its_pages(home: Home):
    finish_all(home.ledger)
    home.ship()
    with pytest.raises(SpecError, match=r"Nobody serves the pages of 'sqlite:.*: start `make mlflow`"):
        comparison_url(home.ledger, STUDY, home.uri)
    address = comparison_url(home.ledger, STUDY, home.uri, "http://127.0.0.1:5000/")
    assert address.startswith("http://127.0.0.1:5000/#/experiments/")


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
