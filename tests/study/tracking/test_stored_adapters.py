"""Adapters in an object store are logged while the study runs: the chosen ones, also after the store was away."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from study.home import Home as StudyHome
from study.kept import kept_files
from study.records import Phase
from study.tracking.adapters import CONFIG, WEIGHTS
from tests.study.object_store import ObjectStore
from tests.study.samples import STUDY, finished, planned, run_trial
from tests.study.servers import MlflowServer
from tests.study.tracking.homes import DONE, Home

SEEDS = {
    family: [planned(family, 9, phase=Phase.CONFIRMATION, replicate=replicate) for replicate in range(2)]
    for family in ("sgd", "rsgd")
}
BEST = {"sgd": SEEDS["sgd"][1].key, "rsgd": SEEDS["rsgd"][0].key}


@pytest.fixture
def home(tmp_path: Path, server: MlflowServer, s3: ObjectStore) -> Home:
    """A study whose confirmed trials ended, with their adapters in a store and a tracker that can fetch them."""
    home = Home(tmp_path, uri=server.uri)
    kept = kept_files(StudyHome(root=tmp_path), home.ledger.study(STUDY))
    home.adapters_dir, home.bring_adapter = kept.adapters_dir, kept.bring_adapter
    for family, seeds in SEEDS.items():
        home.ledger.plan_trials(STUDY, seeds)
        for trial in seeds:
            loss = 0.3 if trial.key == BEST[family] else 0.5
            run_trial(home.ledger, trial.key, replace(finished(), select_value=loss))
            weights = (2).to_bytes(8, "little") + b"{}" + trial.key.encode()
            kept.adapters.write(trial.key, {WEIGHTS: weights, CONFIG: json.dumps({}).encode()})
    return home


def logged(home: Home, family: str) -> str:
    run_id = home.run(f"family:{family}").info.run_id
    try:
        return Path(MlflowClient(home.uri).download_artifacts(run_id, f"adapter/{WEIGHTS}")).read_text()
    except Exception:  # noqa: BLE001 (MLflow has several for what is not there)
        return ""


def test_the_chosen_adapters_alone_are_fetched_and_logged_once(home: Home):
    assert home.ship() == DONE
    for family, key in BEST.items():
        assert logged(home, family).endswith(key)
        assert home.run(f"family:{family}").data.tags["adapter"] == key
        assert "adapter/README.md" in home.run(f"family:{family}").data.tags["mlflow.note.content"]
    fetched = {str(path.parent.relative_to(home.adapters_dir)) for path in home.adapters_dir.rglob("*.json")}
    assert fetched == set(BEST.values())


def test_a_store_that_is_away_holds_nothing_up_and_is_asked_again(home: Home, s3: ObjectStore):
    with s3.away():
        tracker = home.tracker()
        wait_for(lambda: "could not be fetched" in tracker.backlog().problem)
        assert "s3cret" not in tracker.backlog().problem
        trial = planned("sgd", 0)
        run_trial(home.ledger, trial.key, finished())
        tracker.notify()
        wait_for(lambda: shown(home, trial.key) == "FINISHED")  # what the study does meanwhile arrives
        assert logged(home, "sgd") == ""
    assert tracker.close(30.0) == DONE
    assert {family: logged(home, family)[10:] for family in BEST} == BEST


def shown(home: Home, key: str) -> str:
    return next(
        (run.info.status for run in home.runs() if run.data.tags["trialwright.run"] == f"trial:{key}"), ""
    )


def wait_for(holds: Any, within_s: float = 120.0) -> None:
    give_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.05)
