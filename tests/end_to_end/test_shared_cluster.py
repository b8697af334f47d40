"""Two studies on a real cluster of two nodes: packs are given back when idle, shared, taken again; and its refusals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import SpecError
from tests.end_to_end.command import Ended, Started, ledger_of, make_place, run, wait_until
from tests.end_to_end.nodes import two_nodes
from tests.end_to_end.planted_worker import SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ROOT = str(Path(__file__).parents[2])
STUDY_FILE = """
name: NAME
seed: 7
base: {model: "path:base", dtype: float32, matmul_tolerance: 0}
task: {name: rows, path: rows.jsonl, prompt: "{text}:", answer: label, options: [good, bad],
       max_tokens: 32, train_rows: 40, select_rows: 16, report_rows: 16}
adapter: {target_modules: [q_proj, v_proj]}
training: {steps: 8, batch: 4, eval_every: 4, checkpoint_every: 4}
families: [sgd, adamw]
phases:
  search: {trials: 4, reduction: 2, grace_steps: 4}
  sensitivity: {replicates: 8, points: 64}
resources: {lanes: 1, RESOURCES}
"""
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "PYTHONPATH": ROOT}


class StartedHasty(Started):
    program = ("-m", "tests.end_to_end.hasty_command")


class StartedPlanted(Started):
    program = ("-m", "tests.end_to_end.planted_command")


def written(place: Path, name: str, resources: str = "packs: auto") -> str:
    text = STUDY_FILE.replace("NAME", name).replace("RESOURCES", resources)
    (place / f"{name}.yaml").write_text(text)
    return f"{name}.yaml"


def told(home: Path, study: str, kind: str) -> list[Mapping[str, Any]]:
    if not (home / "ledger.db").exists():
        return []
    try:
        with ledger_of(home) as ledger:
            return [event.detail for event in ledger.events(study) if event.kind == kind]
    except SpecError:
        return []


def test_packs_are_given_back_when_idle_and_shared_with_a_second_study(tmp_path):
    place, home = make_place(tmp_path), tmp_path / "home"
    with two_nodes(PYTHONPATH=ROOT, **{SECONDS: "0.2"}) as nodes:
        options = ("--home", str(home), "--address", nodes.address)
        one = StartedHasty(place, "launch", written(place, "one"), *options, **ON_LOOPBACK)
        two: Started | None = None
        try:
            wait_until(lambda: len(told(home, "one", "pack_ready")) >= 3, one)
            assert [detail["reason"] for detail in told(home, "one", "pack_released")] == ["idle"]
            two = StartedHasty(
                place, "launch", written(place, "two"), "--phase", "search", *options, **ON_LOOPBACK
            )
            wait_until(lambda: told(home, "two", "pack_ready"), one)
            assert [detail["reason"] for detail in told(home, "one", "pack_released")] == ["idle", "share"]
            assert not told(home, "one", "pack_lost")
            assert len(told(home, "two", "pack_ready")) == 1
            assert two.wait().code == 0
            wait_until(lambda: len(told(home, "one", "pack_ready")) >= 4, one)
            one.interrupt()
            assert one.wait().code == 130
        finally:
            for started in (one, two):
                if started is not None:
                    started.clean_up()
    with ledger_of(home) as ledger:
        assert all(
            record.attempts <= 1 for record in ledger.trials("one")
        )  # none was ended for the other study
        assert not told(home, "one", "pack_lost")


def test_a_limit_stops_a_launch_in_order_and_a_higher_one_lets_it_go_on(tmp_path):
    place, home = make_place(tmp_path), tmp_path / "home"

    def launched(max_hours: float) -> Ended:
        file = written(place, "one", f"packs: 1, max_hours: {max_hours:f}")
        command = ("launch", file, "--home", str(home), "--phase", "search")
        started = StartedPlanted(place, *command, PYTHONPATH=ROOT)
        try:
            return started.wait()
        finally:
            started.clean_up()

    ended = launched(0.0001)
    assert ended.code == 130, ended.err
    assert "Study one is stopped (resources.max_hours is 0.0001 and " in ended.out
    assert [detail["cap"] for detail in told(home, "one", "capped")] == ["max_hours"]
    ended = launched(1)
    assert ended.code == 0, ended.err
    with ledger_of(home) as ledger:
        assert ledger.study("one").spec["resources"]["max_hours"] == 1
        trials = ledger.trials("one")
        assert trials
        assert all(record.ending is not None for record in trials)


def test_a_node_that_imports_a_stray_folder_is_refused_before_anything_is_written(tmp_path):
    place, home = make_place(tmp_path), tmp_path / "home"
    (tmp_path / "stray" / "trainers").mkdir(parents=True)
    (tmp_path / "stray" / "trainers" / "__init__.py").touch()
    with two_nodes(PYTHONPATH=str(tmp_path / "stray")) as nodes:
        command = ("launch", written(place, "one"), "--home", str(home), "--address", nodes.address)
        ended = run(place, *command, **(ON_LOOPBACK | {"PYTHONPATH": ""}))
    assert ended.code == 2
    assert "Node 127.0.0.1 (" in ended.err
    assert (
        f"imports 'trainers' from '{tmp_path / 'stray' / 'trainers'}' and not from the installed" in ended.err
    )
    assert not (home / "ledger.db").exists()
