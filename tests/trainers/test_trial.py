"""One trial: the same measurements from the same seed, wherever and however often it was interrupted."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_bert, tiny_llama
from trainers import trial as trial_module
from trainers.checkpoint import load_newest
from trainers.reports import Report
from trainers.training_step import accumulate_gradients
from trainers.trial import Trial, TrialSetup
from trainers.workbench import Workbench, open_workbench
from trainers.workload import Adapter, Base, Task, Training, Workload

PARAMS = {"lr": 3e-2, "router_lr": 1e-3, "num_experts": 4, "top_k": 2, "rank": 2, "damping": 1e-4}


def write_rows(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    words = {"good": ("fine", "warm", "bright"), "bad": ("dull", "cold", "grim")}
    rows = [
        {"text": f"Item {number} is {words[label][number % 3]}", "label": label}
        for number in range(40)
        for label in words
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def workload(folder: Path, *, encoder: bool = False, **training: object) -> Workload:
    base = (tiny_bert if encoder else tiny_llama)(folder / "base")
    return Workload(
        base=Base(model=f"path:{base}", dtype="float32"),
        task=Task(
            name="rows",
            path=str(write_rows(folder)),
            prompt="{text}:",
            answer="label",
            options=("good", "bad"),
            train_rows=40,
            select_rows=16,
            report_rows=16,
            max_tokens=32,
        ),
        adapter=Adapter(target_modules=("query", "value") if encoder else ("q_proj", "v_proj"), dropout=0.1),
        training=Training(**{"steps": 8, "batch": 4, "eval_every": 2, "checkpoint_every": 3, **training}),
    )


def bench(folder: Path, **options: object) -> Workbench:
    return open_workbench(workload(folder, **options), folder, folder / "cache", "cpu")


def setup(
    folder: Path, *, family: str = "gradamw", seed: int = 11, steps: int = 8, **params: float
) -> TrialSetup:
    return TrialSetup(
        key="t",
        family=family,
        params={**PARAMS, **params},
        seed=seed,
        steps=steps,
        checkpoint_dir=folder / "checkpoints",
        adapter_dir=folder / "adapter",
    )


def run(trial: Trial) -> list[Report]:
    while not trial.is_over:
        trial.advance()
    trial.close()
    return trial.reports


def figures(reports: list[Report]) -> list[dict[str, object]]:
    """Everything that was measured, but for figures in seconds."""
    documents = [report.to_json() for report in reports]
    for document in documents:
        document["metrics"] = {k: v for k, v in document["metrics"].items() if not k.endswith("_s")}
    return documents


@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize("family", ["rsgd", "gradamw"])
def test_an_interrupted_trial_measures_the_same(tmp_path, encoder, family):
    shared = bench(tmp_path, encoder=encoder)
    whole = figures(run(Trial(setup(tmp_path / "whole", family=family), shared)))
    interrupted = Trial(setup(tmp_path / "cut", family=family), shared)
    for _ in range(3):
        interrupted.advance()
    interrupted.close()  # its newest checkpoint is older than its last report
    assert load_newest(tmp_path / "cut" / "checkpoints").step == 3
    resumed = Trial(setup(tmp_path / "cut", family=family), shared)
    assert figures(run(resumed)) == whole
    assert whole[-1]["ending"]["outcome"] == "finished"


def test_a_trial_that_diverges_after_an_interruption_says_the_same(tmp_path, monkeypatch):
    def poisoned(workbench, adapter, *, step, **options: int):
        made = accumulate_gradients(workbench, adapter, step=step, **options)
        if step == 6:
            adapter.parameters[0].grad.fill_(math.nan)
        return made

    monkeypatch.setattr(trial_module, "accumulate_gradients", poisoned)
    shared = bench(tmp_path)
    whole = figures(run(Trial(setup(tmp_path / "whole"), shared)))
    assert "gradient norm is nan at optimizer step 7," in whole[-1]["ending"]["reason"]
    cut = Trial(setup(tmp_path / "cut"), shared)
    for _ in range(3):
        cut.advance()
    cut.close()
    assert figures(run(Trial(setup(tmp_path / "cut"), shared))) == whole


def test_steps_are_repeated_from_a_checkpoint_and_measurements_are_not(tmp_path):
    shared = bench(tmp_path)
    whole = figures(run(Trial(setup(tmp_path / "whole"), shared)))
    cut = Trial(setup(tmp_path / "cut"), shared)
    for _ in range(3):
        cut.advance()
    cut.close()
    assert [report.step for report in cut.reports] == [0, 2, 4]
    assert load_newest(tmp_path / "cut" / "checkpoints").step == 3
    resumed = run(Trial(setup(tmp_path / "cut"), shared))
    assert figures(resumed) == whole
    assert resumed[:3] == cut.reports  # to the seconds that they took: told again, not made again


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    shared = bench(tmp_path)
    whole = figures(run(Trial(setup(tmp_path / "whole"), shared)))
    cut = Trial(setup(tmp_path / "cut"), shared)
    for _ in range(4):
        cut.advance()
    cut.close()
    newest = max((tmp_path / "cut" / "checkpoints").glob("step-*")) / "tensors.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[-7] ^= 0x10
    newest.write_bytes(damaged)
    assert load_newest(tmp_path / "cut" / "checkpoints").step == 3
    assert figures(run(Trial(setup(tmp_path / "cut"), shared))) == whole


def test_a_finished_trial_repeats_its_reports_without_training(tmp_path):
    shared = bench(tmp_path)
    whole = figures(run(Trial(setup(tmp_path), shared)))
    again = Trial(setup(tmp_path), shared)
    assert again.is_over
    assert figures(again.reports) == whole
    again.close()


def test_a_checkpoint_of_another_configuration_is_not_continued(tmp_path):
    shared = bench(tmp_path)
    run(Trial(setup(tmp_path), shared))
    other = Trial(setup(tmp_path, lr=1e-2), shared)
    assert other.reports == []
    other.close()


def test_order_of_trials_and_process_change_nothing(tmp_path):
    shared = bench(tmp_path)
    first = figures(run(Trial(setup(tmp_path / "a", family="rsgd"), shared)))
    second = figures(run(Trial(setup(tmp_path / "b", family="gadamw", seed=5), shared)))
    shared = bench(tmp_path)
    assert figures(run(Trial(setup(tmp_path / "c", family="gadamw", seed=5), shared))) == second
    assert figures(run(Trial(setup(tmp_path / "d", family="rsgd"), shared))) == first
    code = (
        "import json, sys, torch; from pathlib import Path; from tests.trainers import test_trial as t;"
        f"torch.set_num_threads({torch.get_num_threads()});"  # another number may sum in another order
        "root = Path(sys.argv[1]);"
        "print(json.dumps(t.figures(t.run(t.Trial(t.setup(root / 'e', family='rsgd'), t.bench(root))))))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert json.loads(elsewhere.stdout.splitlines()[-1]) == json.loads(json.dumps(first))


def test_micro_batches_make_the_same_step(tmp_path):
    whole = figures(run(Trial(setup(tmp_path / "a"), bench_without_dropout(tmp_path, micro_batch=None))))
    split = figures(run(Trial(setup(tmp_path / "b"), bench_without_dropout(tmp_path, micro_batch=3))))
    for one, other in zip(whole, split, strict=True):
        assert one["metrics"]["select_loss_nats"] == pytest.approx(
            other["metrics"]["select_loss_nats"], rel=1e-5
        )


def bench_without_dropout(folder: Path, **training: object) -> Workbench:
    made = workload(folder, **training)
    made = made.model_copy(update={"adapter": made.adapter.model_copy(update={"dropout": 0.0})})
    return open_workbench(made, folder, folder / "cache", "cpu")


@pytest.mark.parametrize(
    ("lr", "head_lr", "why"), [(1e30, 1e-3, "(is|was) -?(inf|nan)"), (1e-3, 1e4, "exceeds")]
)
def test_an_exploding_trial_ends_as_diverged(tmp_path, lr, head_lr, why):
    shared = bench(tmp_path, encoder=True, head_lr=head_lr)
    reports = run(Trial(setup(tmp_path, family="sgd", lr=lr), shared))
    ending = reports[-1].ending
    assert ending is not None
    assert ending.outcome == "diverged"
    assert re.search(why, ending.reason)
    assert ending.value is None
    assert ending.init_value == reports[0].metrics["init_loss_nats"]
    assert reports[-1].step < 8


def test_a_failed_step_is_reported_after_the_measurement_that_was_survived(tmp_path):
    """So that no step is reported twice, and a rung that was passed is not met again as diverged."""
    reports = run(Trial(setup(tmp_path, family="sgd", lr=1e30), bench(tmp_path, encoder=True, eval_every=1)))
    steps = [report.step for report in reports]
    assert reports[-1].ending.outcome == "diverged"
    assert steps == sorted(set(steps))
    assert "select_loss_nats" in reports[-2].metrics


def test_the_base_is_given_back_as_it_was(tmp_path):
    shared = bench(tmp_path)
    before = {name: weight.clone() for name, weight in shared.foundation.model.state_dict().items()}
    run(Trial(setup(tmp_path), shared))
    after = shared.foundation.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_kept_adapter_loads_in_plain_peft_and_scores_the_same(tmp_path):
    from peft import PeftModel

    from trainers.objective import evaluate

    shared = bench(tmp_path)
    ending = run(Trial(setup(tmp_path), shared))[-1].ending
    assert not list((tmp_path / "adapter").rglob("*.bin"))
    fresh = bench(tmp_path)
    loaded = PeftModel.from_pretrained(fresh.foundation.model, tmp_path / "adapter").eval()
    scores = evaluate(loaded, fresh.data.report, fresh.foundation)
    assert scores.loss_nats == pytest.approx(ending.value, rel=1e-6)


def test_out_of_memory_halves_the_micro_batch_at_the_same_effective_batch(tmp_path, monkeypatch):
    from trainers import training_step

    real = training_step.training_loss

    def scarce(model, batch):
        if len(batch.input_ids) > 1:
            raise torch.OutOfMemoryError("no room")
        return real(model, batch)

    monkeypatch.setattr(training_step, "training_loss", scarce)
    reports = run(Trial(setup(tmp_path), bench(tmp_path)))
    assert reports[-1].ending.outcome == "finished"
    assert reports[-1].metrics["micro_batch"] == 1


def test_out_of_memory_with_one_row_is_an_outcome(tmp_path, monkeypatch):
    from trainers import training_step

    def none_left(model, batch):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(training_step, "training_loss", none_left)
    reports = run(Trial(setup(tmp_path), bench(tmp_path)))
    assert reports[-1].ending.outcome == "out_of_memory"
