"""Every format says the same of a claim, to the digit."""

import html
import io
import json
import re
from pathlib import Path
from unittest import mock

import pandas as pd
import pypdf
import pytest

from study.report import cells, sentences, write_report
from study.report.latex import escaped
from study.statistics.results import ClaimResult
from tests.study.report import sample_report, verdict_samples

CLAIMS = [claim for claim in verdict_samples.claims() if claim.parts[0].estimate is not None]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Format → what a reader sees, with one kind of blank."""
    formats = ("html", "md", "tex", "pdf", "json", "csv", "parquet")
    folder = tmp_path_factory.mktemp("formats")
    model = sample_report.model()
    with mock.patch("study.report.writers.draw_all", return_value=sample_report.figures(model)):
        paths = write_report(sample_report.snapshot(), folder, formats, model=model)
    pages = pypdf.PdfReader(io.BytesIO(paths["pdf"].read_bytes())).pages
    seen = {name: paths[name].read_text(encoding="utf-8") for name in ("html", "md", "tex", "json")}
    seen["html"] = html.unescape(re.sub(r"<[^>]+>", " ", seen["html"]))
    seen["md"] = re.sub(r"\\(.)", r"\1", seen["md"])
    seen["pdf"] = " ".join(page.extract_text() for page in pages)
    seen["csv"] = str(folder / "parts.csv")
    seen["parquet"] = str(folder / "parts.parquet")
    return {name: re.sub(r"\s+", " ", text) for name, text in seen.items()}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_each_claims_sentence_is_in_every_format_for_people(texts: dict[str, str], claim: ClaimResult):
    sentence = re.sub(r"\s+", " ", sentences.claim_sentence(claim))
    squeezed = sentence.replace(" ", "")
    for name in ("html", "md", "pdf"):
        assert squeezed in texts[name].replace(" ", ""), name


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_each_claims_estimate_is_the_same_everywhere(texts: dict[str, str], claim: ClaimResult):
    for part in claim.parts:
        told, between = cells.estimate(part), cells.interval(part)
        assert f"| {told} | {between} |" in texts["md"]
        assert f"& {escaped(told)} & {escaped(between)} &" in texts["tex"]
        assert f"{told} {between}" in texts["pdf"]
        assert f"{told} {cells.unit(part)} {between}" in texts["html"]


def test_the_documents_numbers_are_what_the_tables_round(texts: dict[str, str]):
    found = json.loads(texts["json"])["claims"]
    parts = [part for claim in verdict_samples.claims() for part in claim.parts]
    told = [part["estimate"] for claim in found for part in claim["parts"]]
    assert told == [part.estimate for part in parts]
    csv = pd.read_csv(texts["csv"], float_precision="round_trip")["estimate"]
    parquet = pd.read_parquet(Path(texts["parquet"]))["estimate"]
    for column in (csv, parquet):
        assert [None if pd.isna(number) else number for number in column] == told
