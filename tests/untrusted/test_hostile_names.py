"""Names and words that somebody else chose: harmless in every report, on every page, in every table and terminal."""

import csv
import html
import io
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from fastapi.testclient import TestClient
from markdown_it import MarkdownIt

from search_spaces.errors import SpecError, TrialFailedError, one_line, unknown
from study.cli import main
from study.report.tables import FORMULA
from study.service.app import make_app
from study.service.context import make_context
from study.service.settings import ServiceSettings
from tests.study.service.support import NoDrivers, spec
from tests.study.test_analyze import CLAIMS, planted

SCRIPT = "<script>alert(1)</script>"
ONLOAD = '"><img src=x onerror=alert(1)>'
FORGED = "a\n\x1b[2J\x1b[32mtrialwright: all is well\x1b[0m"
FORMULAS = ("=HYPERLINK('http://evil')", "+1+1", "-1+1", "@SUM(1)")
TEX = r"\input{/etc/passwd} $x$ %"


class Tags(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts = 0
        self.handlers: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]


def hostile_table() -> pd.DataFrame:
    table = planted(workload=ONLOAD, reason=FORMULAS[0])
    table["family"] = table["family"].map({"rsgd": SCRIPT, "grsgd": FORMULAS[0]})
    for place, words in enumerate([*FORMULAS, FORGED, TEX, ONLOAD]):
        table.loc[place, "reason"] = words
    table["param.kind"] = FORMULAS[1]
    return table.rename(columns={"param.kind": "=param"})


def hostile_claims() -> str:
    written = yaml.safe_load(CLAIMS)
    written["study"] = SCRIPT
    written["families"] = {SCRIPT: {}, FORMULAS[0]: {}}
    written["claims"] = [
        {
            **written["claims"][0],
            "id": f"C{place}",
            "title": title,
            "compare": {"a": FORMULAS[0], "b": SCRIPT},
        }
        for place, title in enumerate([SCRIPT, ONLOAD, FORGED, FORMULAS[0], TEX])
    ]
    return yaml.safe_dump(written)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The report of an analysis in which every name is hostile, and what the terminal was told."""
    folder = tmp_path_factory.mktemp("hostile")
    hostile_table().to_csv(folder / "trials.csv", index=False)
    (folder / "claims.yaml").write_text(hostile_claims())
    arguments = [
        str(folder / "trials.csv"),
        "--claims",
        str(folder / "claims.yaml"),
        "--out",
        str(folder / "out"),
    ]
    patch, out = pytest.MonkeyPatch(), io.StringIO()
    patch.setattr(sys, "argv", ["trialwright", "analyze", *arguments, "--format", "html,csv,md,json,tex"])
    patch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit) as ended:
        main()
    patch.undo()
    assert ended.value.code == 0
    return folder / "out", out.getvalue()


def test_a_report_shows_words_and_runs_none(analysed: tuple[Path, str]):
    text = (analysed[0] / "report.html").read_text(encoding="utf-8")
    page = Tags(text)
    assert page.scripts == 1  # the report's own
    assert page.handlers == []
    assert not any(source.lower().startswith(("javascript:", "http://evil")) for source in page.sources)
    assert SCRIPT not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_markdown_and_tex_show_them_too(analysed: tuple[Path, str]):
    markdown = (analysed[0] / "report.md").read_text(encoding="utf-8")
    page = Tags(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    assert (page.scripts, page.handlers) == (0, [])
    assert SCRIPT in html.unescape(MarkdownIt().render(markdown))
    tex = "".join(path.read_text(encoding="utf-8") for path in analysed[0].rglob("*.tex"))
    assert tex
    assert r"\input{/etc" not in tex


def test_no_cell_of_a_table_runs(analysed: tuple[Path, str]):
    tables = sorted(analysed[0].glob("*.csv"))
    assert {path.name for path in tables} >= {"trials.csv", "claims.csv", "parts.csv"}
    seen = 0
    for path in tables:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file, strict=True):
                for cell in row:
                    seen += cell.startswith("'")
                    assert not cell.startswith(FORMULA) or is_number(cell), (path.name, cell)
    assert seen > 10


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_the_terminal_gets_lines_and_no_commands(analysed: tuple[Path, str]):
    lines = analysed[1].splitlines()
    assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()]
    assert not any(line.startswith("trialwright: all is well") for line in lines)


@pytest.mark.parametrize("error", [SpecError, TrialFailedError])
def test_a_message_is_one_line_whatever_it_repeats(error: type[Exception]):
    told = str(error(f"study {FORGED}: wrong\u2028or\u202eleft \ud800."))
    assert told.isprintable()
    assert "\\x1b[2J" in told
    assert "\\n" in told
    assert str(unknown("family", "x" * 10_000, ["y" * 10_000])).count("x") < 100


def test_what_is_printable_stays_as_it_is():
    assert one_line("Größe = 10⁻³, “good” ≥ 0.5 µs: 学习率") == "Größe = 10⁻³, “good” ≥ 0.5 µs: 学习率"


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service whose ledger holds a study that no version of this program would have let in."""
    for name in ("TRIALWRIGHT_LEDGER", "TRIALWRIGHT_TOKEN", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    settings = ServiceSettings(home=tmp_path / "home", port=0)
    context = make_context(settings, NoDrivers())
    with context.ledger:
        context.ledger.create_study(SCRIPT, {**spec(ONLOAD), "families": [SCRIPT]}, "d" * 64, {"x": SCRIPT})
        app = make_app(settings, context=context)
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            yield client


@pytest.mark.parametrize(
    "path", ["/", f"/studies/{SCRIPT}", "/studies/x%22onload=alert(1)", f"/nothing/{SCRIPT}"]
)
def test_no_page_runs_what_a_ledger_or_an_address_holds(pages: TestClient, path: str):
    answer = pages.get(path, headers={"Accept": "text/html"})
    assert answer.status_code in {200, 404, 422}
    assert SCRIPT not in answer.text
    assert Tags(answer.text).handlers == []
    assert "'unsafe-inline'" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", [SCRIPT, ONLOAD, FORGED, *FORMULAS[:1], TEX, "../up", "a/b", "x\0y"])
def test_a_study_of_such_a_name_is_refused_where_it_enters(pages: TestClient, name: str):
    answer = pages.post("/api/v1/studies", json={"spec": spec(name)})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].isprintable()
