"""The door to MLflow: its client, created when first needed, and its errors sorted by what to do next.

Only `MlflowClient` is used: the fluent interface keeps a global active run, which threads would share.
"""

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search_spaces.errors import RetryableError, TrialwrightError
from study.records import Measurement
from study.tracking.address import client_uri, prepare_environment, reason, sqlite_path
from study.tracking.datasets import DatasetView

PARENT_TAG = "mlflow.parentRunId"
STUDY_TAG = "trialwright.study"
"""Random name of the study, on its experiment and on every run."""
RUN_TAG = "trialwright.run"
"""Kind and key of a run: with the study's random name it finds a run whose id got lost."""
METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100
FIGURES_PER_CALL = 800
"""Metrics that go along with parameters and tags, of which there may be 200: MLflow takes 1,000 things a call."""
CALLS_OF_A_SERVER = 4
"""At once, of one study: MLflow's server answers them in threads."""
QUICK_CALL_S = 0.5
MAX_PARAM_CHARS = 6000
MAX_TAG_CHARS = 8000
MAX_NAME_CHARS = 250
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


class GoneError(TrialwrightError):
    """The run or the experiment is no longer in the store: forget its id, and make it anew."""


class DeletedError(TrialwrightError):
    """The user has deleted the run: leave it so."""


class RefusedError(TrialwrightError):
    """The store refuses this very call: go on with the next run."""


class UnansweredError(RetryableError):
    """The store gave no answer in time, and may yet do what it was asked for."""


class TrackingStore:
    """One MLflow store. Every method raises RetryableError when nothing answers there."""

    def __init__(self, uri: str, artifacts_dir: Path) -> None:
        """Connect; creates or migrates a store that is a database.

        Args:
            uri: the tracking address.
            artifacts_dir: where a store without a server of its own keeps artifacts.
        """
        self._uri = uri
        self._artifacts_dir = artifacts_dir
        self._call_s = QUICK_CALL_S
        """Running mean of what answered calls took: the older one is, the less it counts."""
        prepare_environment()
        path = sqlite_path(uri)
        with self._sorted_errors():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            from mlflow import MlflowClient

            for chatty in ("alembic", "mlflow"):
                logging.getLogger(chatty).setLevel(logging.WARNING)
            self._client: Any = MlflowClient(client_uri(uri))

    @property
    def num_calls(self) -> int:
        """How many calls at once it is good for.

        One, where this process writes to a database itself, and where answers take long: then others ask the server,
        too, and with more in its queue calls would be given up that it still works on.
        """
        is_quick = self._uri.startswith("http") and self._call_s < QUICK_CALL_S
        return CALLS_OF_A_SERVER if is_quick else 1

    def find_experiment(self, experiment_id: str, uid: str) -> bool:
        """Whether the experiment is there and is this study's; one that was deleted is restored."""
        try:
            with self._sorted_errors():
                experiment = self._client.get_experiment(experiment_id)
        except GoneError:
            return False
        if experiment.tags.get(STUDY_TAG) != uid:
            return False
        self._restore(experiment)
        return True

    def experiment(self, name: str, uid: str) -> str:
        """Id of the study's experiment, made if need be; a namesake of another ledger stays untouched."""
        for title in (name, f"{name} ({uid[:8]})"):
            with self._sorted_errors():
                found = self._client.get_experiment_by_name(title)
                if found is None:
                    served = self._uri.startswith("http")
                    place = None if served else (self._artifacts_dir / uid).absolute().as_uri()
                    made = self._client.create_experiment(
                        title, artifact_location=place, tags={STUDY_TAG: uid}
                    )
                    return str(made)
            if found.tags.get(STUDY_TAG) == uid:
                self._restore(found)
                return str(found.experiment_id)
        raise RefusedError(f"The experiments {name!r} and {name} ({uid[:8]}) belong to other studies.")

    def create_run(self, experiment_id: str, *, name: str, started_at: float, tags: Mapping[str, str]) -> str:
        """Make a run, which is RUNNING then; its id."""
        with self._sorted_errors():
            run = self._client.create_run(
                experiment_id, start_time=_milliseconds(started_at), run_name=name, tags=_tags(tags)
            )
        return str(run.info.run_id)

    def find_run(self, experiment_id: str, *, uid: str, label: str) -> str | None:
        """Id of a run whose creation was begun but never confirmed; absent if it never was made."""
        query = f"tags.`{STUDY_TAG}` = '{uid}' and tags.`{RUN_TAG}` = '{label}'"
        with self._sorted_errors():
            runs = self._client.search_runs([experiment_id], filter_string=query, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def running_runs(self, experiment_id: str, *, uid: str) -> list[str]:
        """Ids of the study's runs that have not ended."""
        query = f"tags.`{STUDY_TAG}` = '{uid}' and attributes.status = 'RUNNING'"
        with self._sorted_errors():
            runs = self._client.search_runs([experiment_id], filter_string=query, max_results=1000)
        return [str(run.info.run_id) for run in runs]

    def delete_run(self, run_id: str) -> None:
        """End a run and have it shown no more."""
        with self._sorted_errors():
            self._client.set_terminated(run_id, "KILLED")
            self._client.delete_run(run_id)

    def log_measurements(self, run_id: str, measurements: Sequence[Measurement]) -> None:
        """Add step metrics with the times at which they were recorded: once more changes nothing."""
        with self._sorted_errors():
            for batch in _chunks(_points(measurements), METRICS_PER_CALL):
                self._client.log_batch(run_id, metrics=batch)

    def describe(
        self,
        run_id: str,
        *,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        step: int,
        at: float,
        measurements: Sequence[Measurement] = (),
    ) -> None:
        """Set a run's parameters and tags, and add figures at one step and time, in one call if they are few.

        Args:
            run_id: of the run.
            params: set once; a store refuses others later.
            tags: in place of earlier ones of their names.
            metrics: figures at `step`.
            step: of the figures.
            at: Unix time in seconds of the figures.
            measurements: as for `log_measurements`.
        """
        from mlflow.entities import Metric, Param, RunTag

        all_params = [Param(_name(name), _cut(text, MAX_PARAM_CHARS)) for name, text in params.items()]
        all_tags = [RunTag(name, text) for name, text in _tags(tags).items()]
        figures = [Metric(_name(name), figure, _milliseconds(at), step) for name, figure in metrics.items()]
        first_params, *more_params = _chunks(all_params, PARAMS_PER_CALL) or [[]]
        *more_figures, last_figures = _chunks(_points(measurements) + figures, FIGURES_PER_CALL) or [[]]
        with self._sorted_errors():
            for batch in more_params:
                self._client.log_batch(run_id, params=batch)
            for batch in more_figures:
                self._client.log_batch(run_id, metrics=batch)
            self._client.log_batch(run_id, params=first_params, tags=all_tags, metrics=last_figures)

    def set_status(self, run_id: str, status: str, ended_at: float | None) -> None:
        """Say whether the run is under way, or how and when it ended."""
        with self._sorted_errors():
            if ended_at is None:
                self._client.update_run(run_id, status=status)
            else:
                self._client.set_terminated(run_id, status, _milliseconds(ended_at))

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set some tags of a run and leave the others."""
        from mlflow.entities import RunTag

        with self._sorted_errors():
            self._client.log_batch(run_id, tags=[RunTag(name, text) for name, text in _tags(tags).items()])

    def set_experiment_tags(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set some tags of the experiment and leave the others."""
        with self._sorted_errors():
            for name, text in tags.items():
                self._client.set_experiment_tag(experiment_id, name, text)

    def log_datasets(self, run_id: str, datasets: Sequence[DatasetView]) -> None:
        """Say which splits a run used; those that it has already stay as they are."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(one.name, one.digest, "trialwright", one.source, profile=one.profile),
                [InputTag("mlflow.data.context", one.context)],
            )
            for one in datasets
        ]
        with self._sorted_errors():
            self._client.log_inputs(run_id, datasets=inputs)

    def write_text(self, run_id: str, text: str, file: str) -> None:
        """Attach a text to a run under a file name."""
        with self._sorted_errors():
            self._client.log_text(run_id, text, file)

    def upload(self, run_id: str, folder: Path, into: str) -> None:
        """Attach the files of a folder to a run, in place of earlier ones of their names."""
        with self._sorted_errors():
            self._client.log_artifacts(run_id, str(folder), into)

    def _restore(self, experiment: Any) -> None:
        if experiment.lifecycle_stage == "deleted":
            with self._sorted_errors():
                self._client.restore_experiment(experiment.experiment_id)

    @contextmanager
    def _sorted_errors(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        began = time.monotonic()
        try:
            yield
            self._call_s = (self._call_s + time.monotonic() - began) / 2
        except MlflowException as error:
            text = reason(error, self._uri)
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise GoneError(text) from None
            if "must be in the 'active' state" in error.message:
                raise (GoneError if "experiment" in error.message else DeletedError)(text) from None
            if error.error_code in {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST"}:
                raise RefusedError(text) from None
            raise (UnansweredError if _timed_out(error) else RetryableError)(text) from None
        except Exception as error:  # noqa: BLE001 (no failure of the view may reach a study)
            raise RetryableError(reason(error, self._uri)) from None


def _timed_out(error: BaseException | None) -> bool:
    """Whether a call was sent and its answer was waited for in vain."""
    from urllib3.exceptions import ReadTimeoutError

    while error is not None:
        if isinstance(error, ReadTimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _points(measurements: Sequence[Measurement]) -> list[Any]:
    """The step metrics of some measurements as MLflow has them."""
    from mlflow.entities import Metric

    return [
        Metric(_name(name), figure, _milliseconds(one.recorded_at), one.step)
        for one in measurements
        for name, figure in one.metrics.items()
    ]


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_name(name): _cut(str(text), MAX_TAG_CHARS) for name, text in tags.items()}


def _chunks(items: list[Any], length: int) -> list[list[Any]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _name(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)[:MAX_NAME_CHARS]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
