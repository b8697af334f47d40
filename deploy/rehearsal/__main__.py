"""`python -m deploy.rehearsal`: bring the stack up, run a study on it from outside, count, take everything down.

Ends with 0 when all held, 1 when something did not, 77 where this machine cannot (not root, or a program is missing).
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploy.rehearsal.commands import ask_by_commands
from deploy.rehearsal.network import ip
from deploy.rehearsal.ports import free_port
from deploy.rehearsal.running import RunningStack
from deploy.rehearsal.stack import ROOT, read_stack
from deploy.rehearsal.stand_ins import missing_tools
from deploy.rehearsal.study import (
    NAME,
    NUM_RUNS,
    NUM_TRIALS,
    Counts,
    count,
    launch_through_service,
    nodes_of_packs,
    status_of,
    wait_for_the_driver,
    write_models,
)

CANNOT = 77
NUM_WORKERS = 2
ONCE_EACH = ("postgres", "store", "buckets", "mlflow", "ray-head", "first-token", "service")
_MAKE_SECRETS_TIMEOUT_S = 120
_began = time.monotonic()


def say(text: str) -> None:
    """One line of the rehearsal's own account."""
    print(f"[{time.monotonic() - _began:5.1f} s] {text}", flush=True)  # noqa: T201


def main() -> int:
    """Rehearse, or say why not."""
    problem = _why_not()
    if problem:
        say(f"cannot rehearse here: {problem}")
        return CANNOT
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with _folder() as folder:
            _rehearse(folder)
        _expect_no_trace()
    except RuntimeError as error:
        say(f"FAILED: {error}")
        return 1
    say("everything held, and nothing is left")
    return 0


def _rehearse(folder: Path) -> None:
    ports = {name: str(free_port()) for name in ("TRIALWRIGHT_PORT", "MLFLOW_PORT", "DASHBOARD_PORT")}
    places = {"TRIALWRIGHT_SECRETS": str(folder / "secrets"), "TRIALWRIGHT_MODELS": str(folder / "models")}
    stack = read_stack(ports | places | {"MLFLOW_WORKERS": "1", "WORKER_CPUS": "1"})
    running = RunningStack(stack, dict.fromkeys(ONCE_EACH, 1) | {"worker-cpu": NUM_WORKERS}, folder, say)
    try:
        running.start()
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        _expect_closed_doors(urls)
        token = (folder / "secrets/service_token").read_text(encoding="utf-8")
        launch_through_service(urls["TRIALWRIGHT_PORT"], token, folder / "report", say)
        access = {
            urls["TRIALWRIGHT_PORT"]: {"TRIALWRIGHT_TOKEN_FILE": str(folder / "secrets/service_token")},
            urls["DASHBOARD_PORT"]: {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(folder / "secrets/ray_token"),
            },
        }
        ask_by_commands(NAME, access, folder)
        say("trialwright status and report told the same at the service and at Ray's dashboard")
        wait_for_the_driver(urls["TRIALWRIGHT_PORT"], token)
        _expect_results(running, urls["DASHBOARD_PORT"], (folder / "secrets/ray_token").read_text("utf-8"))
    except BaseException:
        _tell_all(running)
        raise
    finally:
        running.end()


def _tell_all(running: RunningStack) -> None:
    """What there is to find a failure's cause in: every log, the drivers' too, and the ledger's events."""
    for container in running.containers.values():
        if container.log.exists():
            say(f"log of {container.host}:\n{container.last_lines(40)}")
    told = {
        "ray-head": ["sh", "-c", "tail -n 60 /tmp/ray/session_latest/logs/job-driver-*.log"],
        "postgres": [
            "psql",
            "-U",
            "postgres",
            "-d",
            "trialwright",
            "-Atc",
            "SELECT kind, detail FROM event",
        ],
    }
    for host, command in told.items():
        with suppress(RuntimeError, KeyError):
            say(f"{' '.join(command)}:\n{running.containers[host].run(command).stdout}")


def _expect_closed_doors(urls: dict[str, str]) -> None:
    """Nobody comes in without a token or a password, or by another name."""
    runs = f"{urls['MLFLOW_PORT']}/api/2.0/mlflow/experiments/search?max_results=1"
    _expect("MLflow without a password", status_of(runs), 401)
    _expect("MLflow by an unknown name", status_of(runs, host="evil.example"), 403)
    _expect("Ray's jobs without a token", status_of(f"{urls['DASHBOARD_PORT']}/api/jobs/"), 401)
    _expect("Ray's jobs with a wrong token", status_of(f"{urls['DASHBOARD_PORT']}/api/jobs/", "wrong"), 403)
    studies = f"{urls['TRIALWRIGHT_PORT']}/api/v1/studies"
    _expect("the service without a token", status_of(studies), 401)
    _expect("the service with a wrong token", status_of(studies, "twr_wrong"), 401)


def _expect_results(running: RunningStack, dashboard: str, token: str) -> None:
    hosts = {
        running.address(one.host, net): one.host
        for one in running.of("worker-cpu")
        for net in one.service.networks
    }
    nodes = {hosts[address] for address in nodes_of_packs(dashboard, token)}
    say(f"packs were on: {', '.join(sorted(nodes))}")
    counts = count(*(running.containers[name] for name in ("postgres", "mlflow", "ray-head")))
    say(_sentence(counts))
    _expect("nodes with packs", len(nodes), NUM_WORKERS)
    _expect("trials", counts.trials, NUM_TRIALS)
    _expect("trials that ended", counts.ended, NUM_TRIALS)
    _expect("MLflow runs", counts.runs, NUM_RUNS)
    for name in ("measurements", "artifacts", "checkpoints"):
        if not getattr(counts, name):
            raise RuntimeError(f"there are no {name} where the stack should keep them")


def _sentence(counts: Counts) -> str:
    return (
        f"PostgreSQL: {counts.trials} trials, {counts.ended} ended, {counts.measurements} measurements, "
        f"{counts.runs} MLflow runs; object store: {counts.artifacts} artifacts, {counts.checkpoints} of Trialwright"
    )


def _expect(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"{what}: {found}, expected {wanted}")
    say(f"{what}: {found}")


def _expect_no_trace() -> None:
    """The mark of this process must be gone from namespaces and links."""
    mark = f"trw{os.getpid()}"
    left = [line for line in (ip("netns", "list") + ip("-o", "link", "show")).splitlines() if mark in line]
    if left:
        raise RuntimeError(f"left behind: {left}")


def _why_not() -> str:
    if os.geteuid() != 0:
        return "network namespaces need root"
    lacking = missing_tools()
    if lacking:
        return f"this machine lacks {', '.join(lacking)}"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"],  # noqa: S607
        capture_output=True,
        check=False,
    )
    return tried.stderr.decode().strip()


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with secrets and models, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="trialwright-rehearsal-"))
    try:
        folder.chmod(0o711)  # the containers' users pass through, and see nothing
        subprocess.run(  # noqa: S603 (our own script)
            [ROOT / "deploy/make-secrets.sh", folder / "secrets"],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=_MAKE_SECRETS_TIMEOUT_S,
        )
        (folder / "models").mkdir()
        write_models(folder / "models")
        yield folder
    finally:
        shutil.rmtree(folder)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise RuntimeError(f"interrupted by signal {number}")


if __name__ == "__main__":
    sys.exit(main())
