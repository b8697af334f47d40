"""Whether nothing was lost: a study in the ledger against what was planted, and MLflow's store against the ledger."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from sqlalchemy import bindparam, create_engine, text

from study.ledger import Ledger, RunKind
from study.spec import StudySpec
from study.tracking.view import TRIAL_STATUS
from tests.faults.checker import differences
from tests.faults.trainable import SURFACES
from tests.load.studies import EVAL_EVERY, Written
from tests.study.simulation import World, content, coordinator_in, drive, new_study
from tests.validation.planted import life

_PAGE = 5000
_HISTORIES = ("select_loss_nats", "device_s")
"""Metrics that measurements have and endings have not."""
_MOST_TOLD = 20


def planted(spec: StudySpec, folder: Path) -> dict[str, Any]:
    """What a study comes to by its plan and its planted losses alone: no server, no driver, one lane."""
    with new_study(spec, f"sqlite:///{folder / spec.name}.db") as ledger:
        world = World(seed=0, num_workers=1, life=partial(life, SURFACES, eval_every=EVAL_EVERY))
        drive(coordinator_in(world, spec, ledger), world)
        return content(ledger, spec.name)


def problems(ledger: Ledger, study: Written, expected: Mapping[str, Any], mlflow: "Tracked") -> list[str]:
    """Every way in which a study that is over is not as it should be, the first ones of each kind.

    Args:
        ledger: holds the study.
        study: what was asked for.
        expected: as `planted` gives it.
        mlflow: what arrived there.
    """
    found = [*_leftovers(ledger, study), *_against_plan(ledger, study, expected)]
    return [f"{study.name}: {line}" for line in [*found, *_against_mlflow(ledger, study, mlflow)]]


def _leftovers(ledger: Ledger, study: Written) -> Iterator[str]:
    """What a study that has ended still holds, and what was done twice."""
    if (held := ledger.holder(study.name)) is not None:
        yield f"a claim of {held.owner}"
    if running := ledger.running_trials(study.name):
        yield f"{len(running)} attempts are open"
    trials = ledger.trials(study.name)
    if len(trials) != study.num_trials:
        yield f"{len(trials)} trials and not {study.num_trials}"
    yield from _first(f"{one.planned.key} has no ending" for one in trials if one.ending is None)
    yield from _first(f"{one.planned.key} had {one.attempts} attempts" for one in trials if one.attempts != 1)


def _against_plan(ledger: Ledger, study: Written, expected: Mapping[str, Any]) -> Iterator[str]:
    """Trials, outcomes, measurements and rungs, to the bit."""
    for name, part in content(ledger, study.name).items():
        if part != expected[name]:
            yield from _first(differences(part, expected[name], name))


def _against_mlflow(ledger: Ledger, study: Written, mlflow: "Tracked") -> Iterator[str]:
    record, trials = ledger.study(study.name), ledger.trials(study.name)
    runs = mlflow.runs(record.uid)
    labels = Counter(run.data.tags.get("trialwright.run", "an unlabelled run") for run in runs)
    yield from _first(f"{number} runs of {label}" for label, number in labels.items() if number != 1)
    wanted = {f"{RunKind.STUDY}:"}
    for one in trials:
        wanted |= {
            f"{RunKind.FAMILY}:{one.planned.family}",
            f"{RunKind.CONFIGURATION}:{one.planned.configuration}",
            f"{RunKind.TRIAL}:{one.planned.key}",
        }
    yield from _first(f"{label} is not in MLflow" for label in wanted - labels.keys())
    yield from _first(f"{label} is in MLflow only" for label in labels.keys() - wanted)
    yield from _first(f"{run.info.run_name} is RUNNING" for run in runs if run.info.status == "RUNNING")
    by_key = {run.data.tags["trial"]: run for run in runs if run.data.tags.get("kind") == RunKind.TRIAL}
    for one in trials:
        run, ending = by_key.get(one.planned.key), one.ending
        if run is None or ending is None:
            continue  # said above
        shown = (run.info.status, run.data.tags.get("outcome"), run.data.params.get("seed"))
        if shown != (TRIAL_STATUS[ending.outcome], ending.outcome.value, str(one.planned.seed)):
            yield f"{one.planned.key} is {shown} in MLflow"
    measured: dict[str, list[Any]] = {one.planned.key: [] for one in trials}
    for one in ledger.measurements(study.name):
        measured[one.trial] += [
            (name, one.step, one.metrics[name]) for name in _HISTORIES if name in one.metrics
        ]
    shown = mlflow.histories(run.info.run_id for run in by_key.values())
    yield from _first(
        f"{key} has other measurements in MLflow"
        for key, run in by_key.items()
        if sorted(measured.get(key, [])) != sorted(shown.get(run.info.run_id, []))
    )


class Tracked:
    """What an MLflow server holds: its runs as it tells of them, its histories as they lie in its store."""

    def __init__(self, uri: str, store: str) -> None:
        """Begin.

        Args:
            uri: of the server.
            store: URL of its database, since asking for ten thousand histories one by one takes minutes.
        """
        self._client = MlflowClient(uri)
        self._store = store

    def runs(self, uid: str) -> list[Any]:
        """All runs of the one experiment of a study."""
        mine = [one for one in self._client.search_experiments() if uid in one.tags.values()]
        found: list[Any] = []
        token: str | None = None
        while token != "" and len(mine) == 1:
            page = self._client.search_runs([mine[0].experiment_id], max_results=_PAGE, page_token=token)
            found += page
            token = page.token or ""
        return found

    def histories(self, runs: Iterable[str]) -> dict[str, list[tuple[str, int, float]]]:
        """Every point of the step metrics of some runs, by their ids: name, step and value, doubles too."""
        wanted, found = set(runs), {}
        query = text("SELECT run_uuid, key, step, value FROM metrics WHERE key IN :names")
        engine = create_engine(self._store)
        with closing(engine.connect()) as connection:
            names = bindparam("names", _HISTORIES, expanding=True)
            for run, name, step, value in connection.execute(query.bindparams(names)):
                if run in wanted:
                    found.setdefault(run, []).append((name, step, value))
        engine.dispose()
        return found


def _first(lines: Iterable[str]) -> list[str]:
    """The first of many lines, and how many there are."""
    told = list(lines)
    rest = [f"and {len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
    return told[:_MOST_TOLD] + rest
