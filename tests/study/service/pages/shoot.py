"""Write the pictures of the pages that the documentation shows: `python -m tests.study.service.pages.shoot`."""

import base64
import io
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from study.ledger import Ledger, Scope
from study.service.tokens import create_token
from tests.study.service.pages.planted import STUDY, PlantedLauncher, plant, spec
from tests.study.service.pages.serving import chromium, look, served, wait_until

FOLDER = Path(__file__).parents[4] / "docs" / "images" / "service"
NUM_COLORS = 200
"""Of a picture, so that it stays small."""
NAME = "reviews-smollm2"
SCREENS: Mapping[str, Mapping[str, Any]] = {
    "light": {"width": 1280, "scheme": "light"},
    "phone": {"width": 390, "scheme": "dark"},
}
TRIAL = "search/gradamw/p015"


def main(folder: Path = FOLDER) -> None:
    """Plant a home with studies in every state, serve it, and look at each page on a desk and on a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trialwright-shots-") as place:
        home = Path(place) / "home"
        home.mkdir()
        url = f"sqlite:///{home}/ledger.db"
        with chromium(Path(place) / "empty-profile") as browser, served(home) as address:
            for screen, settings in SCREENS.items():
                look(browser, f"{address}/", **settings)
                shoot(browser, folder / f"first-{screen}.png", most_px=620)
        plant_all(url)
        launcher = PlantedLauncher(url, tick_s=1.0)
        with (
            chromium(Path(place) / "profile") as browser,
            served(home, launcher, ray="http://10.0.0.10:8265") as address,
        ):
            for screen, settings in SCREENS.items():
                for name, (path, most_px, prepare) in pages(screen).items():
                    look(browser, address + path, **settings)
                    prepare(browser)
                    shoot(browser, folder / f"{name}-{screen}.png", most_px=most_px)
            with Ledger.open(url) as ledger:
                create_token(ledger, "team", Scope.RUN)
            for screen, settings in SCREENS.items():
                look(browser, f"{address}/", **settings)
                shoot(browser, folder / f"login-{screen}.png", most_px=620)
        launcher.close()


def plant_all(url: str) -> None:
    """One study that runs, and others in further states."""
    small = {
        "phases": {
            "search": {"trials": 9, "reduction": 3, "grace_steps": 20},
            "confirmation": {"seeds": 5, "looks": [5]},
        }
    }
    for number, (name, families, for_s) in enumerate(
        [
            ("lora-plus-check", ["adamw", "loraplus"], 90_000.0),
            ("reviews-pilot", ["sgd", "rsgd", "grsgd"], 40_000.0),
        ]
    ):
        until = None if number else -1
        study = spec(STUDY, **small, name=name, families=["adamw", "radamw"] if "plus" in name else families)
        plant(url, for_s=for_s, tick_s=40.0 if until is None else 80.0, study=study)
    plant(url, for_s=5400.0, tick_s=33.0)


def pages(screen: str) -> dict[str, tuple[str, int, Callable[[Any], None]]]:
    """Name → path, the most pixels of its height that are shown, and what is done before."""
    tall = 2300 if screen == "light" else 2600
    return {
        "studies": ("/", 900, live),
        "study": (f"/studies/{NAME}", tall, live),
        "study-below": (f"/studies/{NAME}", 0, live),
        "trial": (f"/studies/{NAME}/trials/{TRIAL}", 1500, live),
        "trials": (f"/studies/{NAME}/trials?family=grsgd&kind=stopped", 1000, lambda _: None),
        "new": ("/new", 1150, lambda _: None),
        "new-wrong": ("/new", 1150, mistyped),
        "report": ("/studies/lora-plus-check/report", 1000, lambda _: None),
        "delete": ("/studies/lora-plus-check/delete", 620, lambda _: None),
        "missing": ("/studies/reviews-smolm2", 620, lambda _: None),
    }


def live(browser: Any) -> None:
    """Wait for the stream."""
    wait_until(lambda: browser.find_element("id", "connection").text == "Live", "the page is live")


def mistyped(browser: Any) -> None:
    """Make a mistake in the form and wait until it is told."""
    browser.execute_script(
        """const text = document.getElementById("spec");
        text.value = text.value.replace("grsgd, adamw", "grsdg, adamw");
        text.dispatchEvent(new Event("input", {bubbles: true}));"""
    )
    wait_until(lambda: browser.find_elements("css selector", ".wrong"), "the mistake is told")


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
