"""The study of the rehearsal, tiny, with a random model; how it is launched, watched and counted."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from deploy.rehearsal.container import Container
from tests.tiny import tiny_llama

if TYPE_CHECKING:
    from study.client import Client

NAME = "rehearsal"
STUDY_FILE = """
name: rehearsal
seed: 3
base: {model: "path:/srv/models/base", dtype: float32}
task: {name: rows, path: /srv/models/rows.jsonl, prompt: "{text}:", answer: label, options: [good, bad],
       max_tokens: 32, train_rows: 40, select_rows: 16, report_rows: 16}
adapter: {target_modules: [q_proj, v_proj]}
training: {steps: 8, batch: 4, eval_every: 4, checkpoint_every: 4}
families: [sgd, gradamw]
spaces:
  all: {lr: {log: [1.0e-3, 1.0e-1]}, num_experts: [2, 4], rank: [2], top_k: [1, 2]}
phases:
  search: {trials: 6, reduction: 2, grace_steps: 4}
  confirmation: {seeds: 2}
resources: {packs: 2, lanes: 1, cpus_per_pack: 1}
"""
_COUNT_OBJECTS = """
import boto3, sys
pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=sys.argv[1])
print(sum(len(page.get("Contents", ())) for page in pages))
"""
_OPEN_FILE_MODE = 0o755
_DRIVER_LEAVES_S = 400.0
NUM_TRIALS = 16
"""Of two families: six in the search each, and two seeds in the confirmation."""
NUM_RUNS = 31
"""In MLflow: of the study, two families, twelve configurations and their trials."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the study left in the stores."""

    trials: int
    ended: int
    measurements: int
    runs: int
    """Runs in MLflow's database."""
    artifacts: int
    """Objects in MLflow's bucket."""
    checkpoints: int
    """Objects in Trialwright's bucket."""


def write_models(folder: Path) -> None:
    """Lay down the base and the rows that the study names.

    Args:
        folder: what containers see as /srv/models.
    """
    words = {"good": ("fine", "warm", "bright"), "bad": ("dull", "cold", "grim")}
    rows = [
        json.dumps({"text": f"Item {number} is {words[label][number % 3]}", "label": label})
        for number in range(40)
        for label in words
    ]
    tiny_llama(folder / "base")
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(_OPEN_FILE_MODE)


def launch_through_service(url: str, token: str, out: Path, say: Callable[[str], None]) -> None:
    """Create the study from outside, stop it midway, have it go on, watch it until it ends, fetch its report.

    Args:
        url: of the service, on this machine.
        token: for it.
        out: folder for the report.
        say: told of every change of state.

    Raises:
        RuntimeError: the study did not stop or finish, or something that had ended before changed afterwards.
    """
    from study.client import Client

    with Client(url, token) as client:
        client.create(yaml.safe_load(STUDY_FILE))
        for document in client.watch(NAME):
            if _num_ended(document):
                say(client.stop(NAME)["told"])
                break
        _watch(client, "stopped", say)
        before = {trial["trial"]: trial for trial in client.trials(NAME) if trial["outcome"]}
        say(client.resume(NAME)["told"])
        _watch(client, "finished", say)
        after = {trial["trial"]: trial for trial in client.trials(NAME)}
        say(f"{len(before)} of {len(after)} trials had ended when it was stopped")
        _expect_kept(before, after)
        paths = client.report(NAME, ["html", "csv"], out)
        say(f"report fetched: {', '.join(sorted(path.name for path in paths.values()))}")


def _num_ended(document: Mapping[str, Any]) -> int:
    counts = document["phases"].values()
    return sum(number for phase in counts for name, number in phase.items() if name != "planned")


def _watch(client: "Client", until: str, say: Callable[[str], None]) -> None:
    """Follow the study until nothing of it runs."""
    state = ""
    for document in client.watch(NAME):
        if document["state"] != state:
            state = document["state"]
            say(f"study {state}")
    if state != until:
        raise RuntimeError(f"the study is {state!r} and not {until!r}: {client.study(NAME)}")


def _expect_kept(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """What had ended when the study was stopped is as it was; all else has ended since."""
    if not 0 < len(before) < len(after):
        raise RuntimeError(
            f"the study was not stopped midway: {len(before)} of {len(after)} trials had ended"
        )
    changed = [key for key, trial in before.items() if after[key] != trial]
    unended = [key for key, trial in after.items() if not trial["outcome"]]
    if changed or unended:
        raise RuntimeError(
            f"after the stop these trials ended again: {changed}, and these not at all: {unended}"
        )


def wait_for_the_driver(url: str, token: str) -> None:
    """Wait until the driver has left, which brings MLflow up to date after the study's end.

    Args:
        url: of the service, on this machine.
        token: for it.

    Raises:
        RuntimeError: it stays.
    """
    from study.client import Client

    with Client(url, token) as client:
        give_up_at = time.monotonic() + _DRIVER_LEAVES_S
        while client.study(NAME)["driver"]:
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"the driver is still there after {_DRIVER_LEAVES_S:.0f} s")
            time.sleep(1)


def count(postgres: Container, mlflow: Container, head: Container) -> Counts:
    """Ask the database and the object store what is there."""

    def rows(database: str, query: str) -> int:
        asked = postgres.run(["psql", "-U", "postgres", "-d", database, "-Atc", query])
        return int(_out(asked.stdout, asked.stderr))

    def objects(container: Container, bucket: str) -> int:
        asked = container.run(["python", "-c", _COUNT_OBJECTS, bucket])
        return int(_out(asked.stdout, asked.stderr))

    return Counts(
        trials=rows("trialwright", "SELECT count(*) FROM trial"),
        ended=rows("trialwright", "SELECT count(*) FROM trial WHERE outcome IS NOT NULL"),
        measurements=rows("trialwright", "SELECT count(*) FROM measurement"),
        runs=rows("mlflow", "SELECT count(*) FROM runs"),
        artifacts=objects(mlflow, "mlflow"),
        checkpoints=objects(head, "trialwright"),
    )


def nodes_of_packs(dashboard: str, token: str) -> set[str]:
    """Addresses of the nodes that packs were on, told by Ray's dashboard.

    Args:
        dashboard: its URL on this machine.
        token: Ray's.
    """

    def rows(kind: str) -> list[dict[str, Any]]:
        answer = json.loads(_get(f"{dashboard}/api/v0/{kind}?limit=1000&detail=1", token))
        found: list[dict[str, Any]] = answer["data"]["result"]["result"]
        return found

    addresses = {node["node_id"]: node["node_ip"] for node in rows("nodes")}
    return {addresses[actor["node_id"]] for actor in rows("actors") if actor["class_name"] == "PackActor"}


def status_of(url: str, token: str = "", host: str = "") -> int:
    """HTTP status that a GET is answered with.

    Args:
        url: what is asked for.
        token: sent as a bearer's, if any.
        host: name that is asked for, if another than the URL's.
    """
    try:
        _get(url, token, host)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def _get(url: str, token: str = "", host: str = "") -> bytes:
    headers = ({"Authorization": f"Bearer {token}"} if token else {}) | ({"Host": host} if host else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as reply:  # noqa: S310
        body: bytes = reply.read()
    return body


def _out(out: str, err: str) -> str:
    if not out.strip():
        raise RuntimeError(err.strip())
    return out.strip()
