"""Everything that is parsed, each as one function of bytes: it returns, or it raises one of our errors in one line.

`make fuzz` gives these functions to atheris; `tests/fuzz/test_targets.py` gives them to hypothesis. Anything else that
they raise is a defect, which gets a test of its own where the parser is tested.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from search_spaces.errors import TrialwrightError

MAX_MESSAGE_CHARS = 4_000
_FOLDER = Path(tempfile.gettempdir())
_INTERNALS = re.compile(r"Traceback|pydantic|Input should|NoneType|object at 0x")


def given(name: str, data: bytes) -> Path:
    """A file of that name with these bytes, in a folder of this process."""
    global _FOLDER  # noqa: PLW0603 (one folder a process, made when it is needed)
    if not _FOLDER.name.startswith("trialwright-fuzz-"):
        _FOLDER = Path(tempfile.mkdtemp(prefix="trialwright-fuzz-"))
    path = _FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@contextmanager
def refusing() -> Iterator[None]:
    """Let nothing through but an error of ours with a message for people."""
    try:
        yield
    except TrialwrightError as error:
        message = str(error)
        assert message.isprintable(), ascii(message)
        assert message.endswith((".", "?")), message
        assert 10 < len(message) <= MAX_MESSAGE_CHARS, message[:200]
        assert not _INTERNALS.search(message), message


def text_of(data: bytes) -> str:
    """The bytes as a text that a command line or a variable can hold."""
    return data.decode("utf-8", errors="surrogateescape").replace("\0", "")


def study_file(data: bytes) -> None:
    """A study file, as far as a plan counts its trials."""
    from study.plan import counted_plan, smallest_effects
    from study.preflight import check_rungs
    from study.spec import load_spec, parse_spec

    with refusing():
        spec = load_spec(given("study.yaml", data))
        assert parse_spec(spec.canonical(), "again").digest == spec.digest
        check_rungs(spec)
        if counted_plan(spec)["num_trials"] < 10_000:
            smallest_effects(spec)


def claims_file(data: bytes) -> None:
    """A claims file, as far as it could be locked."""
    from study.claims import check, load_claims
    from study.claims.planning import check_plan

    path = given("claims.yaml", data)
    with refusing():
        file = load_claims(path)
        file.claim_set()
        with suppress(TrialwrightError):
            check(path)
        check_plan(file)


def trial_table_csv(data: bytes) -> None:
    """A table of trials as CSV."""
    from study.analysis_files import read_tables

    with refusing():
        read_tables(given("trials.csv", data))


def trial_table_parquet(data: bytes) -> None:
    """A table of trials as Parquet."""
    from study.analysis_files import read_tables

    with refusing():
        read_tables(given("trials.parquet", data))


def curves_csv(data: bytes) -> None:
    """A table of measurements, beside a table of trials that is right."""
    from study.analysis_files import read_tables

    trials = given("right.csv", _RIGHT_TABLE)
    with refusing():
        read_tables(trials, given("curves.csv", data))


_RIGHT_TABLE = (
    b"phase,slice,workload,family,replicate,point,seed,value,select_value,init_value,outcome,steps,device_seconds\n"
    b"confirmation,,reviews,sgd,0,0,1,0.5,0.4,0.7,finished,40,2.5\n"
)


def own_rows(data: bytes) -> None:
    """Rows of the user's own; the first byte says in which kind of file."""
    from trainers.tasks.own_rows import load_own_rows
    from trainers.workload import Task

    ending = ("csv", "jsonl", "parquet")[(data[0] if data else 0) % 3]
    path = given(f"rows.{ending}", data[1:])
    with refusing():
        load_own_rows(Task(name="rows", path=str(path), prompt="{text}", answer="label"))


def checkpoint(data: bytes) -> None:
    """A checkpoint's two files, the first byte telling where one ends; damaged ones count as absent."""
    from trainers.checkpoint import STATE_FILE, TENSORS_FILE, load_newest

    end = (data[0] if data else 0) * 4 + 1
    tensors = given(f"trial/step-00000001/{TENSORS_FILE}", data[end:])
    given(f"trial/step-00000001/{STATE_FILE}", data[1:end])
    load_newest(tensors.parent.parent)


def adapter(data: bytes) -> None:
    """A kept adapter's configuration and weights; it is read, or raises what its reader takes for absent."""
    from study.tracking.adapters import CONFIG, WEIGHTS, num_labels

    end = (data[0] if data else 0) + 1
    folder = given(f"adapter/{CONFIG}", data[1:end]).parent
    given(f"adapter/{WEIGHTS}", data[end:])
    with suppress(OSError, ValueError):
        num_labels(folder)


def base_folder(data: bytes) -> None:
    """A model folder's configuration and the header of its weights."""
    from trainers.model_folder import check_folder, linear_names

    end = (data[0] if data else 0) + 1
    folder = given("base/config.json", data[1:end]).parent
    given("base/tokenizer.json", b"{}")
    given("base/model.safetensors", data[end:])
    with refusing():
        linear_names(folder)
    with refusing():
        check_folder(folder, "path:base")


def api_body(data: bytes) -> None:
    """A study that was sent to the service; the first byte says as what."""
    from study.service.bodies import read_sent
    from study.service.intake import check_sent, plan_document
    from study.service.settings import ServiceSettings

    kind = ("application/json", "application/yaml")[(data[0] if data else 0) % 2]
    with refusing():
        sent = read_sent(kind, data[1:])
        plan_document(check_sent(sent, ServiceSettings(home=given("home/x", b"").parent), to_run=False))


def bundle(data: bytes) -> None:
    """A study that travelled to a cluster."""
    from study.bundle import unpack_bundle

    with refusing():
        unpack_bundle(text_of(data))


def relayed_result(data: bytes) -> None:
    """A result in a job's log."""
    from study.jobs.relay import MARK, relayed

    with refusing():
        relayed([MARK + text_of(data)])


def archive(data: bytes) -> None:
    """A wheel or a report, unpacked: nothing is written outside of its folder, and no more than is allowed."""
    from trainers.archives import UnsafeArchiveError, open_archive, unpack

    path = given("archive.zip", data)
    folder = given("unpacked/in/x", b"").parent
    shutil.rmtree(folder)
    folder.mkdir()
    with suppress(UnsafeArchiveError), open_archive(path) as opened:
        unpack(opened, folder, most_bytes=100_000)
    assert [one.name for one in folder.parent.iterdir()] == ["in"]


def addresses(data: bytes) -> None:
    """What follows `--address`, `--tracking-uri`, TRIALWRIGHT_LEDGER and TRIALWRIGHT_STORE, before anyone is asked."""
    from study.cluster import check_address
    from study.jobs import address
    from study.ledger import engine
    from study.tracking.address import redact, redact_text
    from trainers.places import parse_store

    text = text_of(data)
    parsers = (address._parsed, engine._parse, parse_store, redact, lambda one: redact_text("x", one))
    with patch("socket.create_connection", _refused_connection):
        for parse in (*parsers, check_address):
            with refusing():
                parse(text)


def _refused_connection(place: tuple[str, int], **_: object) -> None:
    """Look a name up as far as this machine can by itself, and find nobody there."""
    place[0].encode("idna")
    raise ConnectionRefusedError(111, "Connection refused")


def tokens(data: bytes) -> None:
    """What stands in a token's file, and in a header."""
    import os

    from study import client
    from study.service.tokens import digest

    path = given("token", data)
    before = os.environ.get("TRIALWRIGHT_TOKEN_FILE")
    os.environ["TRIALWRIGHT_TOKEN_FILE"] = str(path)
    try:
        with refusing():
            secret = client._token(None)
            if secret is not None:
                digest(secret)
    finally:
        os.environ.pop("TRIALWRIGHT_TOKEN_FILE")
        if before is not None:
            os.environ["TRIALWRIGHT_TOKEN_FILE"] = before


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        study_file,
        claims_file,
        trial_table_csv,
        trial_table_parquet,
        curves_csv,
        own_rows,
        checkpoint,
        adapter,
        base_folder,
        api_body,
        bundle,
        relayed_result,
        archive,
        addresses,
        tokens,
    )
}
"""Every target by its name."""
