"""Does browsing a study of 2,000 runs in MLflow stay as quick as browsing one of 500?

Two studies with planted losses, of about 500 and about 2,000 runs (trials, configurations, families, the study),
are shipped to one real MLflow server. Chromium, without a window, then loads the page that compares the families, of
both in turns, from a cleared page to the last row that is shown: the headline is the ratio of the two times. Beside it
stand the seconds of every page that the description links, and of the searches that notebooks make.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame import Benchmark, Goal, Result, Setting, paired, run
from local_mlflow import mlflow_server
from mlflow import MlflowClient
from overheads import drive
from planted import planted_spec
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from study.ledger import Ledger, RunKind, StudyState
from study.tracking.arrangement import (
    CONFIGURATIONS,
    FAMILIES,
    SEEDS,
    TRIALS,
    experiment_path,
    run_path,
    view_path,
)
from study.tracking.shipping import Shipper
from study.tracking.store import TrackingStore

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1600,1000",
)
WAIT_S = 120
ROWS = "document.querySelectorAll('.ag-center-cols-container .ag-row').length"
DRAWN = "document.querySelectorAll('.plotly .point, .plotly .bars path, .parcoords').length"


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A study in the server."""

    experiment: str
    study_run: str
    family_run: str
    num_runs: int
    ship_s: float


def measure(setting: Setting) -> Result:
    """Ship both studies, then load their pages."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with mlflow_server(place / "mlflow") as uri:
            small = _shipped(place, uri, "small", 0.01, setting)
            large = _shipped(place, uri, "large", 0.02 if setting.quick else 0.38, setting)
            with _browser(place / "profile") as browser:
                return _measured(browser, uri, small, large, setting)


def _measured(browser: Any, uri: str, small: Shipped, large: Shipped, setting: Setting) -> Result:
    both = paired(
        lambda: _load(browser, uri, view_path(large.experiment, FAMILIES), f"{ROWS} === 6"),
        lambda: _load(browser, uri, view_path(small.experiment, FAMILIES), f"{ROWS} === 6"),
        pairs=2 if setting.quick else 8,
        device=setting.device,
    )
    repeats = 1 if setting.quick else 3
    table = [
        {"what": what, "small_s": _median(repeats, look, small), "large_s": _median(repeats, look, large)}
        for what, look in _looks(browser, uri).items()
    ]
    return Result(
        ratios=both.ratios,
        table=table,
        more={
            "families_page": both.row("large", "small"),
            "runs": {"small": small.num_runs, "large": large.num_runs},
            "ship_s": large.ship_s,
        },
    )


def _looks(browser: Any, uri: str) -> dict[str, Callable[[Shipped], object]]:
    """What somebody does who browses a study."""
    client = MlflowClient(uri)

    def page(key: str, shown: str) -> Callable[[Shipped], object]:
        return lambda study: _load(browser, uri, view_path(study.experiment, key), shown)

    def search(query: Callable[[Shipped], str]) -> Callable[[Shipped], object]:
        return lambda study: client.search_runs([study.experiment], query(study), max_results=1000)

    return {
        "page: families": page(FAMILIES, f"{ROWS} === 6"),
        "page: configurations, with charts": page(CONFIGURATIONS, f"{DRAWN} > 1"),
        "page: trials, with charts": page(TRIALS, f"{DRAWN} > 1"),
        "page: seeds, with charts": page(SEEDS, f"{DRAWN} > 1"),
        "page: MLflow's own list": lambda study: _load(
            browser, uri, experiment_path(study.experiment), f"{ROWS} > 0"
        ),
        "page: the study's run": lambda study: _load(
            browser,
            uri,
            run_path(study.experiment, study.study_run),
            "document.body.innerText.includes('trials have ended')",
        ),
        "search: the families": search(lambda _: "tags.kind = 'family'"),
        "search: a family's children": search(
            lambda study: f"tags.`mlflow.parentRunId` = '{study.family_run}'"
        ),
        "search: 1,000 of the trials": search(lambda _: "tags.kind = 'trial'"),
        "search: diverged trials": search(lambda _: "tags.outcome = 'diverged'"),
    }


def _load(browser: Any, uri: str, path: str, shown: str) -> None:
    """From an empty page to what is waited for."""
    browser.get("about:blank")
    browser.get(f"{uri}/{path}")
    WebDriverWait(browser, WAIT_S, poll_frequency=0.05).until(
        lambda driver: driver.execute_script(f"return {shown}")
    )


def _median(repeats: int, look: Callable[[Shipped], object], study: Shipped) -> float:
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        look(study)
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def _shipped(place: Path, uri: str, name: str, scale: float, setting: Setting) -> Shipped:
    spec = planted_spec(scale=scale, steps=40, eval_every=20, name=name)
    with Ledger.open(f"sqlite:///{place}/{name}.db") as ledger:
        ledger.create_study(name, spec.canonical(), spec.digest, {})
        ledger.set_study_state(name, StudyState.RUNNING)
        drive(spec, ledger, 16)
        ledger.set_study_state(name, StudyState.FINISHED)
        began = time.monotonic()
        setting.say(f"shipping {name}: {len(ledger.trials(name))} trials")
        backlog = Shipper(ledger=ledger, study=name, label=uri).ship(TrackingStore(uri, place), verify=True)
        if not backlog.is_empty:
            raise RuntimeError(f"MLflow has not received everything ({backlog.problem}).")
        ship_s = time.monotonic() - began
        runs = {(one.kind, one.key): str(one.run_id) for one in ledger.tracked_runs(name, uri)}
    shown = [kind for kind, _ in runs if kind not in {RunKind.EXPERIMENT, RunKind.ARTIFACTS}]
    setting.say(f"{len(shown)} runs in {ship_s:.0f} s")
    return Shipped(
        experiment=runs[RunKind.EXPERIMENT, ""],
        study_run=runs[RunKind.STUDY, ""],
        family_run=runs[RunKind.FAMILY, "grsgd"],
        num_runs=len(shown),
        ship_s=ship_s,
    )


@contextmanager
def _browser(profile: Path) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise RuntimeError("Pages need Chromium and its driver: install them (Debian: chromium-driver).")
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = chromium
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


BENCHMARK = Benchmark(
    name="mlflow_browsing",
    question="Does the page of a study's families take longer with about 2,000 runs than with about 500?",
    goal=Goal(at_most=1.5),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
