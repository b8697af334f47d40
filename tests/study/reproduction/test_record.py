"""Records written, read, sampled, and what differs between two places."""

import json
from pathlib import Path

import jsonschema
import pytest

from search_spaces.errors import SpecError
from study.home import Home
from study.ledger import Ledger
from study.progress import TerminalView
from study.records import PRECISION
from study.reproduction import record as records
from study.reproduction import reproducing
from study.reproduction.comparison import compare
from study.reproduction.differences import differences, facts_of, promise
from study.reproduction.record import Record, read_record
from study.reproduction.rerun import Rerun
from study.reproduction.sample import sample
from study.reproduction.taking import take_record
from tests.study.simulation import World, coordinator_in, drive, study_spec

DOCS = Path(__file__).resolve().parents[3] / "docs"
HERE = {
    "platform": "Linux-6.1-x86_64-with-glibc2.36",
    "processor": "A",
    "accelerators": "none",
    "packages": {"torch": "2.13.0"},
}
FLOAT32 = {"model": "path:/models/none", "dtype": "float32"}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A simulated study that ran to its end."""
    spec = study_spec(base=FLOAT32)
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('home')}/ledger.db") as ledger:
        ledger.create_study(spec.name, spec.canonical(), spec.digest, HERE)
        world = World(seed=0, num_workers=3)
        drive(coordinator_in(world, spec, ledger), world)
        return take_record(ledger, spec.name)


def test_a_record_reads_back_to_the_bit(record, tmp_path):
    (tmp_path / records.FILE_NAME).write_bytes(record.to_json())
    assert read_record(tmp_path) == record
    assert len(record.trials) > 20
    assert all(len(trial.measured_steps) > 0 for trial in record.trials if trial.is_a_result)


def test_it_holds_what_its_schema_says(record):
    schema = json.loads((DOCS / "record.schema.json").read_text())
    assert schema == records.json_schema()
    jsonschema.validate(json.loads(record.to_json()), schema)
    assert json.loads((DOCS / "reproduction.schema.json").read_text()) == reproducing.json_schema()


def test_a_sample_has_something_of_each_phase_and_grows(record):
    few, more = ([one.key for one in sample(record, number, 0)] for number in (4, 9))
    assert {key.split("/")[0] for key in few} == {"search", "sensitivity", "lr_slice", "confirmation"}
    assert set(few) < set(more)
    assert [one.key for one in sample(record, 4, 1)] != few
    assert len(sample(record, 10_000, 0)) == sum(trial.is_a_result for trial in record.trials)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text[:100], "holds|no record"),
        (lambda text: text.replace('"version":1', '"version":2'), "version"),
        (lambda text: text.replace('"measured_steps":[0,', '"measured_steps":['), "figures for"),
    ],
)
def test_what_is_no_record_is_refused_in_one_sentence(record, tmp_path, change, expected):
    (tmp_path / records.FILE_NAME).write_text(change(record.to_json().decode()))
    with pytest.raises(SpecError, match=expected):
        read_record(tmp_path)


def test_equal_places_promise_every_bit(record):
    facts = facts_of(HERE, device="cpu", threads=1)
    assert differences(facts, facts) == ()
    assert promise(study_spec(base=FLOAT32), record, (), 1e-3).exact


@pytest.mark.parametrize(
    ("change", "threads", "fact", "exact"),
    [
        ({"processor": "B"}, 1, "processor", False),
        ({"packages": {"torch": "2.14.0"}}, 1, "packages.torch", False),
        ({"platform": "Linux-6.1-x86_64-with-glibc2.41"}, 1, "libc", False),
        ({}, 2, "threads", False),
        ({"platform": "Linux-7.0-x86_64-with-glibc2.36"}, 1, "platform", True),
        ({"num_cpus": 64}, 1, "num_cpus", True),
    ],
)
def test_what_rounds_otherwise_takes_the_promise_back(record, change, threads, fact, exact):
    then = facts_of(HERE, device="cpu", threads=1)
    found = differences(then, facts_of({**HERE, **change}, device="cpu", threads=threads))
    assert fact in {one.fact for one in found}
    promised = promise(study_spec(base=FLOAT32), record, found, 1e-3)
    assert promised.exact is exact
    assert promised.tolerance == (0.0 if exact else 1e-3)
    assert bool(promised.because) is not exact


def test_a_base_in_bfloat16_promises_no_bit(record):
    promised = promise(study_spec(), record, (), 1e-3)
    assert (promised.exact, promised.because) == (False, ("the base is in bfloat16",))


@pytest.mark.parametrize("seed", range(6))
def test_a_sample_alone_makes_the_measurements_that_its_trials_made_among_all(record, tmp_path, seed):
    spec, chosen = study_spec(base=FLOAT32), sample(record, 12, seed)
    world = World(seed=seed, num_workers=2)
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(spec.name, spec.canonical(), spec.digest, HERE)
        rerun = Rerun(
            record=record,
            spec=spec,
            home=Home(root=tmp_path),
            facts=HERE,
            address=None,
            sample=chosen,
            view=TerminalView(quiet=True),
        )
        drive(coordinator_in(world, spec, ledger, given=rerun.prepare(ledger)), world)
        again = take_record(ledger, spec.name)
    assert sorted(set(world.started)) == sorted(one.key for one in chosen)
    found = compare(record, again, tolerance=None, trials=frozenset(one.key for one in chosen))
    assert (found.reproduced, found.trials) == (True, 12)


def test_a_rerun_has_the_precision_that_was_recorded_once(record, tmp_path):
    spec, probe = study_spec(base=FLOAT32), {"mode": "medium", "device_type": "cpu"}
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(spec.name, spec.canonical(), spec.digest, HERE)
        for _ in range(2):
            Rerun(
                record=record.model_copy(update={"precision": probe}),
                spec=spec,
                home=Home(root=tmp_path),
                facts=HERE,
                address=None,
                sample=None,
                view=TerminalView(quiet=True),
            ).prepare(ledger)
        assert [event.detail for event in ledger.events(spec.name) if event.kind == PRECISION] == [probe]
