"""A study on this machine with secrets in every place that takes one: none is said, and none is kept."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.end_to_end.command import Ended, Started, make_place
from tests.end_to_end.secrecy import Search
from tests.study.object_store import object_store
from tests.study.servers import PostgresServer, free_port, mlflow_server, postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ROOT = str(Path(__file__).parents[2])
STUDY_FILE = """
name: tiny
seed: 7
base: {model: "path:base", dtype: float32, matmul_tolerance: 0}
task: {name: rows, path: rows.jsonl, prompt: "{text}:", answer: label, options: [good, bad],
       max_tokens: 32, train_rows: 40, select_rows: 16, report_rows: 16}
adapter: {target_modules: [q_proj, v_proj]}
training: {steps: 8, batch: 4, eval_every: 4, checkpoint_every: 4}
families: [sgd, adamw]
phases: {confirmation: {seeds: 3}}
resources: {lanes: 1, packs: 1}
"""
IN_URI, IN_LEDGER = "planted+in/the tracking-uri", "planted@in:the-ledger"
PLANTED = {
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-access-key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "TRIALWRIGHT_TOKEN": "twr_planted-token-of-a-service",
    "HF_TOKEN": "hf_planted-token-of-the-hub",
}
"""What lies in the environment of whoever launches a study."""


class StartedPlanted(Started):
    program = ("-m", "tests.end_to_end.planted_command")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres() as one:
        yield one


@pytest.fixture
def ray_dir() -> Iterator[Path]:
    """Where Ray keeps its session, under a path that is short enough for its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="tw-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def with_password(url: str, password: str) -> str:
    """The address of a server with another password, quoted as addresses are."""
    scheme, _, rest = url.partition("://")
    before, _, host = rest.rpartition("@")
    user = before.partition(":")[0] or "tester"
    return f"{scheme}://{user}:{quote(password, safe='')}@{host}"


def ended(place: Path, search: Search, *arguments: str, **environment: str) -> Ended:
    """A command's end, once everything that it said was searched."""
    started = StartedPlanted(place, *arguments, PYTHONPATH=ROOT, **{**PLANTED, **environment})
    try:
        result = started.wait()
    finally:
        started.clean_up()
    search.text(f"output of {arguments[0]}", result.out + result.err)
    return result


def test_no_secret_is_said_or_kept(tmp_path, ray_dir, server):
    place, home = make_place(tmp_path), tmp_path / "home"
    (place / "study.yaml").write_text(STUDY_FILE)
    search = Search(secrets={**PLANTED, "URI": IN_URI, "ledger": IN_LEDGER}, users=("tester", "planted-user"))
    ledger = with_password(server.new_database(), IN_LEDGER)
    (place / "ledger-url").write_text(f"{ledger}\n")
    (tmp_path / "mlflow").mkdir()
    with mlflow_server(tmp_path / "mlflow") as mlflow, object_store(tmp_path) as store:
        around = {
            **store.environment,
            "AWS_SECRET_ACCESS_KEY": PLANTED["AWS_SECRET_ACCESS_KEY"],
            "MLFLOW_TRACKING_URI": with_password(mlflow.uri, IN_URI),
            "MLFLOW_TRACKING_USERNAME": "planted-user",
            "TRIALWRIGHT_STORE": store.url,
            "TRIALWRIGHT_LEDGER_FILE": str(place / "ledger-url"),
            "TRIALWRIGHT_HOME": str(home),
            "RAY_TMPDIR": str(ray_dir),
        }
        made = StartedPlanted(place, "token", "create", "laptop", PYTHONPATH=ROOT, **{**PLANTED, **around})
        secret = made.wait().out.split()[-1]
        assert secret.startswith("twr_")
        search.secrets = {**search.secrets, "token of the service": secret}
        launched = StartedPlanted(place, "launch", "study.yaml", PYTHONPATH=ROOT, **{**PLANTED, **around})
        try:
            while launched.process.poll() is None:
                search.command_lines(launched.processes())
                time.sleep(0.3)
            result = launched.wait()
        finally:
            launched.clean_up()
        search.text("output of launch", result.out + result.err)
        assert result.code == 0, result.err
        for command in (
            ("status", "--json"),
            ("report", "--format", "html,json,md,csv"),
            ("compare", "--no-open"),
        ):
            assert ended(place, search, *command, **around).code == 0
    search.folder(home)
    search.folder(ray_dir)
    search.folder(tmp_path / "mlflow")
    search.folder(place / "logs", but=[path for path in (place / "logs").iterdir() if made.is_log(path)])
    search.database(ledger)
    assert search.leaks == []
    assert {"table study", "table event", "table token", "table measurement"} <= set(search.places)
    assert any("gcs_server" in place for place in search.places), "Ray's own logs were not searched"
    assert sum(place.startswith("command line") for place in search.places) > 5
    assert any(place.endswith("server.db") for place in search.places)
    assert search.num_bytes > 1_000_000


def test_servers_that_refuse_are_told_of_without_their_passwords(tmp_path, server):
    place = make_place(tmp_path)
    (place / "study.yaml").write_text(STUDY_FILE)
    search = Search(secrets={**PLANTED, "URI": IN_URI, "ledger": IN_LEDGER})
    refusing = with_password(locked(server), IN_LEDGER)
    mlflow = with_password(f"http://127.0.0.1:{free_port()}", IN_URI)
    for address, named, commands in (
        (refusing, "password authentication failed", (("status",), ("launch", "study.yaml"))),
        (
            with_password(f"postgresql://127.0.0.1:{free_port()}/none", IN_LEDGER),
            "cannot be opened",
            (("status",),),
        ),
        (f"postgresql://tester:{IN_LEDGER}@127.0.0.1/none", "not a database URL", (("status",),)),
    ):
        for command in commands:
            result = ended(place, search, *command, TRIALWRIGHT_LEDGER=address)
            assert result.code == 2, result.err
            assert named in result.err
            assert "Traceback" not in result.err
    result = ended(place, search, "launch", "study.yaml", "--home", "home", MLFLOW_TRACKING_URI=mlflow)
    assert result.code == 2, result.err
    assert search.leaks == []


def locked(server: PostgresServer) -> str:
    """The address of a database for whose user the server asks for a password."""
    address = server.new_database()
    with psycopg.connect(address.partition("?")[0], autocommit=True) as connection:
        (rules,) = connection.execute("show hba_file").fetchone() or ("",)
        connection.execute("create role locked login password 'the-right-one'")
    path = Path(rules)
    path.write_text(f"host all locked 127.0.0.1/32 scram-sha-256\n{path.read_text()}")
    with psycopg.connect(address.partition("?")[0], autocommit=True) as connection:
        connection.execute("select pg_reload_conf()")
    return address.replace("tester", "locked")
