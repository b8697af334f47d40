import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import RetryableError, SpecError
from study.client import Client
from study.home import home_at
from study.ledger import Ledger
from study.report import FORMATS
from study.service.meters import Meters
from study.service.reports import MAIN_FILES, MEDIA_TYPES, Reports
from study.service.settings import ServiceSettings
from tests.study.samples import STUDY, finished
from tests.study.service.support import NoDrivers, serving
from tests.study.service.test_tables import fill

WRITER = """
import sys, time, pathlib
arguments = dict(zip(sys.argv[3::2], sys.argv[4::2]))
folder, form = pathlib.Path(arguments["--out"]), arguments["--format"]
with open(folder.parents[2] / "calls", "a") as calls:
    calls.write(form + "\\n")
time.sleep(0.1)
names = {"html": "report.html", "csv": "trials.csv", "tex": "families.tex"}
if form not in names:
    print("trialwright: This study has nothing to report: wait.", file=sys.stderr)
    sys.exit(2 if form == "md" else 1)
(folder / names[form]).write_text(form)
(folder / "figures").mkdir()
(folder / "figures" / "one.svg").write_text("<svg/>")
"""


@pytest.fixture
def ledger(home: Path) -> Any:
    with Ledger.open(f"sqlite:///{home}/ledger.db") as opened:
        fill(opened)
        yield opened


@pytest.fixture
def reports(ledger: Ledger, settings: ServiceSettings) -> Reports:
    """Reports whose writer writes a word and counts its calls."""
    program = (sys.executable, "-c", WRITER)
    return Reports(home_at(settings.home), ledger, Meters(ledger), timeout_s=20, program=program)


def calls(home: Path) -> list[str]:
    return (home / "cache" / "reports" / "calls").read_text().split()


def test_every_format_has_its_place():
    assert MAIN_FILES.keys() == MEDIA_TYPES.keys() == FORMATS.keys()


def test_a_report_is_written_once_until_the_study_changes(reports: Reports, ledger: Ledger, home: Path):
    path = reports.path(STUDY, "html")
    assert path.read_text() == "html"
    assert reports.path(STUDY, "report.html") == path
    assert calls(home) == ["html"]
    for change in (
        lambda: ledger.record_event(STUDY, "pack_lost", {}),
        lambda: ledger.end_trial(STUDY, "search/rsgd/r00/p01", finished()),
    ):
        change()
        newer = reports.path(STUDY, "html")
        assert newer != path
        path = newer
    assert calls(home) == ["html"] * 3
    assert len(list((home / "cache" / "reports" / STUDY).iterdir())) == 2


def test_many_who_ask_at_once_wait_for_one(reports: Reports, home: Path):
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: reports.path(STUDY, "csv"), range(8)))
    assert len(paths) == 1
    assert calls(home) == ["csv"]


def test_the_main_file_may_have_two_names(reports: Reports):
    assert reports.path(STUDY, "tex").name == "families.tex"


def test_what_cannot_be_written_is_told(reports: Reports):
    with pytest.raises(SpecError, match="nothing to report"):
        reports.path(STUDY, "md")
    with pytest.raises(RetryableError, match="could not be written"):
        reports.path(STUDY, "pdf")
    with pytest.raises(SpecError, match="Unknown report format 'htm', did you mean 'html'"):
        reports.path(STUDY, "htm")
    with pytest.raises(SpecError, match="Unknown study"):
        reports.path("nobody", "html")


def test_a_writer_that_hangs_is_ended(ledger: Ledger, settings: ServiceSettings):
    program = (sys.executable, "-c", "import time; time.sleep(60)")
    reports = Reports(home_at(settings.home), ledger, Meters(ledger), timeout_s=0.5, program=program)
    with pytest.raises(RetryableError, match="too long"):
        reports.path(STUDY, "html")


def test_the_real_report_comes_whole_and_does_not_hold_up_others(settings: ServiceSettings, tmp_path: Path):
    with serving(settings, NoDrivers()) as service, Client(service.url) as client:
        fill(service.context.ledger)
        found: dict[str, Path] = {}

        def fetch() -> None:
            found.update(client.report(STUDY, ["html", "csv"], tmp_path / "out"))

        thread = threading.Thread(target=fetch)
        thread.start()
        other = Client(service.url, timeout_s=2)
        while thread.is_alive():
            assert other.study(STUDY)["study"] == STUDY
            thread.join(0.1)
        assert found == {
            "html": tmp_path / "out" / "report.html",
            "csv": tmp_path / "out" / "trials.csv",
        }
        assert "<svg" in found["html"].read_text()
        assert (tmp_path / "out" / "curves.csv").is_file()
        verdicts = client.verdicts(STUDY)
        assert verdicts["verdicts"] == []
        with pytest.raises(SpecError, match="form is 'exe'"):
            client.report(STUDY, ["exe"], tmp_path)
        places = json.loads(client._http.get(f"/api/v1/studies/{STUDY}/reports").text)["reports"]
        assert places["pdf"] == f"/api/v1/studies/{STUDY}/reports/pdf"
        answer = client._http.get(places["html"])
        assert answer.headers["content-disposition"].startswith("attachment")
