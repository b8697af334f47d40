"""Write the pictures of the pages that the documentation shows: `python -m tests.study.service.pages.shoot`."""

import base64
import io
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from study.ledger import Ledger, StudyState
from study.report import write_report
from study.snapshot import take_snapshot
from study.tracking import Tracker
from tests.browser import chromium, look, wait_until
from tests.study.servers import mlflow_server
from tests.study.service.pages.planted import STUDY, PlantedLauncher, leave, plant, spec
from tests.study.service.pages.serving import served
from tests.study.tracking.test_browser import ASSISTANT

FOLDER = Path(__file__).parents[4] / "docs" / "images" / "service"
NUM_COLORS = 200
"""Of a picture, so that it stays small."""
SHIPPING_S = 180.0
RUNNING, STOPPED, FINISHED = "reviews-smollm2", "reviews-adam", "reviews-pilot"
TRIAL = "search/gradamw/p015"
SMALL: Mapping[str, Any] = {
    "phases": {
        "search": {"trials": 18, "reduction": 3, "grace_steps": 20},
        "sensitivity": {"replicates": 4, "points": 4, "lr_slice": {"step_decades": 1}},
        "confirmation": {"seeds": 5, "looks": [5]},
    }
}
LIGHT: Mapping[str, Any] = {"width": 1280, "scheme": "light"}
PHONE: Mapping[str, Any] = {"width": 390, "scheme": "dark"}
WIDE: Mapping[str, Any] = {"width": 1600, "height": 640, "scheme": "light"}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A page as a document shows it."""

    path: str
    screen: Mapping[str, Any]
    most_px: int
    """Of its height from the top; 0: the lower part of the page."""
    prepare: Callable[[Any], object]
    """What is done before."""


def main(folder: Path = FOLDER) -> None:
    """Plant a home with studies in several states, ship one of them to MLflow, and look at each page."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trialwright-shots-") as place:
        home, store = Path(place) / "home", Path(place) / "mlflow"
        home.mkdir()
        store.mkdir()
        url = f"sqlite:///{home}/ledger.db"
        launcher = PlantedLauncher(url, tick_s=1.0)
        with mlflow_server(store) as mlflow:
            plant_all(url)
            ship(url, mlflow.uri, home)
            plant(url, for_s=5400.0, tick_s=33.0)
            with (
                chromium(Path(place) / "profile") as browser,
                served(home, launcher, ray="http://10.0.0.10:8265", tracking_uri=mlflow.uri) as address,
            ):
                browser.get(f"{mlflow.uri}/health")
                browser.execute_script(f"localStorage.setItem('{ASSISTANT}', 'true')")
                for name, one in pictures().items():
                    look(browser, address + one.path, **one.screen)
                    one.prepare(browser)
                    shoot(browser, folder / f"{name}.png", most_px=one.most_px)
        launcher.close()


def plant_all(url: str) -> None:
    """A study that was stopped half through, and one that has finished."""
    plant(url, for_s=90_000.0, tick_s=40.0, study=spec(STUDY, **SMALL, name=FINISHED))
    plant(
        url,
        for_s=1500.0,
        tick_s=33.0,
        study=spec(STUDY, **SMALL, name=STOPPED, families=["adamw", "radamw", "gradamw"]),
    )
    leave(url, STOPPED, StudyState.STOPPED)


def ship(url: str, tracking_uri: str, home: Path) -> None:
    """Put the finished study into MLflow with its report, by what does so beside a driver."""
    report = home / "report"
    with Ledger.open(url) as ledger:
        write_report(take_snapshot(ledger, FINISHED), report, ["html", "json"])
    tracker = Tracker(ledger_url=url, study=FINISHED, tracking_uri=tracking_uri, artifacts_dir=home)
    tracker.start()
    tracker.attach_artifacts(report)
    backlog = tracker.close(SHIPPING_S)
    assert backlog.is_empty, backlog


def pictures() -> dict[str, Picture]:
    """By their names in the folder."""

    def page(
        path: str, most_px: int, prepare: Callable[[Any], object] = live, screen: Mapping[str, Any] = LIGHT
    ) -> Picture:
        return Picture(path=path, screen=screen, most_px=most_px, prepare=prepare)

    return {
        "new-light": page("/new", 1150, written),
        "new-wrong-light": page("/new", 700, mistyped),
        "studies-light": page("/", 520),
        "study-light": page(f"/studies/{RUNNING}", 2300),
        "study-below-light": page(f"/studies/{RUNNING}", 0),
        "study-phone": page(f"/studies/{RUNNING}", 1700, screen=PHONE),
        "trial-light": page(f"/studies/{RUNNING}/trials/{TRIAL}", 1500),
        "stopped-light": page(f"/studies/{STOPPED}", 1100),
        "finished-light": page(f"/studies/{FINISHED}", 1250),
        "report-light": page(f"/studies/{FINISHED}/report", 1000, reported),
        "report-phone": page(f"/studies/{FINISHED}/report", 1000, reported, PHONE),
        "mlflow-light": page(f"/studies/{FINISHED}", 640, compared, WIDE),
    }


def live(browser: Any) -> None:
    """Wait for the stream."""
    wait_until(lambda: browser.find_element("id", "connection").text == "Live", "the page is live")


def written(browser: Any) -> None:
    """Wait for the plan."""
    wait_until(lambda: browser.find_elements("css selector", "#checked table"), "the plan is shown")


def mistyped(browser: Any) -> None:
    """Make a mistake in the form and wait until it is told."""
    browser.execute_script(
        """const text = document.getElementById("spec");
        text.value = text.value.replace("grsgd, adamw", "grsdg, adamw");
        text.dispatchEvent(new Event("input", {bubbles: true}));"""
    )
    wait_until(lambda: browser.find_elements("css selector", ".wrong"), "the mistake is told")


def reported(browser: Any) -> None:
    """Wait for the report in its frame."""
    browser.switch_to.frame(browser.find_element("css selector", "iframe"))
    wait_until(lambda: browser.find_elements("css selector", "#answer"), "the report is there")
    browser.switch_to.default_content()


def compared(browser: Any) -> None:
    """Follow the study's link into MLflow and wait for the families."""
    browser.find_element("css selector", '.links a[href$="/mlflow"]').click()
    rows = ".ag-row .ag-cell[col-id='metrics.`tuned_report_loss_nats`']"
    num_families = len(spec().families)
    wait_until(
        lambda: len(browser.find_elements("css selector", rows)) == num_families, "MLflow lists the families"
    )


def shoot(browser: Any, path: Path, *, most_px: int) -> None:
    """A picture of a page from its top, or, where `most_px` is 0, of its lower part."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return document.documentElement.clientWidth")
    top = max(0, height - 2000) if not most_px else 0
    clip = {"x": 0, "y": top, "width": width, "height": min(height - top, most_px or 2000), "scale": 1}
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True}
    )
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    picture.quantize(NUM_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
