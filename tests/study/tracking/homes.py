"""A ledger with a study under way and a place to ship it to: what the tests of the tracker share."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from study.ledger import Ledger, StudyState
from study.tracking import Backlog, Tracker, redact
from study.tracking.shipping import Shipper
from study.tracking.store import TrackingStore
from tests.study.samples import SPEC, STUDY, begin, finished, plan, planned, run_trial

TRIAL = planned("sgd", 0).key
DONE = Backlog(num_runs=0)


class Home:
    """A ledger with a study under way, and an empty SQLite store beside it unless `uri` names another."""

    def __init__(
        self,
        folder: Path,
        *,
        uri: str | None = None,
        empty: Path | None = None,
        spec: Mapping[str, Any] | None = None,
    ) -> None:
        if empty is not None:
            shutil.copy(empty, folder / "mlflow.db")
        self.ledger_url = f"sqlite:///{folder}/ledger.db"
        self.uri = uri or f"sqlite:///{folder}/mlflow.db"
        self.artifacts_dir = folder / "mlartifacts"
        self.adapters_dir = folder / "adapters"
        self.bring_adapter: Callable[[str], object] = lambda _: None
        self.ledger = Ledger.open(self.ledger_url)
        begin(self.ledger, plan(), {**SPEC, **(spec or {})})

    def tracker(self, **settings: Any) -> Tracker:
        tracker = Tracker(
            ledger_url=self.ledger_url,
            study=STUDY,
            tracking_uri=self.uri,
            artifacts_dir=self.artifacts_dir,
            adapters_dir=self.adapters_dir,
            bring_adapter=self.bring_adapter,
            **{"interval_s": 0.1, "max_pause_s": 1.0, **settings},
        )
        tracker.start()
        return tracker

    def shipper(self, on_arrival: Callable[[int], object] = lambda _: None) -> Shipper:
        return Shipper(
            ledger=self.ledger,
            study=STUDY,
            label=redact(self.uri),
            adapters_dir=self.adapters_dir,
            bring_adapter=self.bring_adapter,
            on_arrival=on_arrival,
        )

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


def forget_open_stores() -> None:
    """MLflow keeps an engine for each store of this process; a new process would not have it."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()
    SqlAlchemyStore._engine_map.clear()
    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
