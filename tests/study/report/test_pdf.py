"""The PDF: every claim on numbered A4 pages, fonts embedded, the same bytes again."""

import io

import pypdf
import pytest
from pypdf.generic import IndirectObject

from study.report import build
from study.report.pdf import figure_pdf, printed, to_pdf
from tests.study.report import sample_report, verdict_samples

A4_POINTS = (595.28, 841.89)


@pytest.fixture(scope="module")
def content() -> bytes:
    model = sample_report.model()
    return to_pdf(model, sample_report.figures(model))


@pytest.fixture(scope="module")
def pages(content: bytes) -> list[pypdf.PageObject]:
    return list(pypdf.PdfReader(io.BytesIO(content)).pages)


@pytest.fixture(scope="module")
def texts(pages: list[pypdf.PageObject]) -> list[str]:
    return [words(page.extract_text()) for page in pages]


def words(text: str) -> str:
    return " ".join(text.replace("\u202f", " ").split())


def test_every_claim_is_there_with_its_numbers(texts):
    text = " ".join(texts)
    for claim in verdict_samples.claims():
        assert claim.id in text
        assert str(claim.verdict) in text
    assert "grsgd reaches a report loss 0.0310 nats below that of rsgd" in text
    assert "[0.0240, 0.0380]" in text


def test_every_page_is_a4_and_numbered(pages, texts):
    for number, (page, text) in enumerate(zip(pages, texts, strict=True), start=1):
        size = (float(page.mediabox.width), float(page.mediabox.height))
        assert size == pytest.approx(A4_POINTS, abs=0.1)
        assert f"Page {number} of {len(pages)}" in text
        assert page.rotation == 0


def test_no_page_is_empty(pages, texts):
    for page, text in zip(pages, texts, strict=True):
        assert len(text) > 60 or "/XObject" in page["/Resources"]


def test_every_font_is_embedded(pages):
    seen = set()
    for page in pages:
        for font in _fonts(page["/Resources"]):
            seen.add(font["/BaseFont"])
            descendant = font["/DescendantFonts"][0].get_object()
            descriptor = descendant["/FontDescriptor"].get_object()
            assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(descriptor), font["/BaseFont"]
    assert any("Libertinus" in name for name in seen)


def test_tables_that_go_on_repeat_their_heads():
    claims = tuple(
        verdict_samples.claim(f"D{n}", f"claim number {n}", *one.parts, verdict=one.verdict)
        for n, one in enumerate([verdict_samples.supported_meaningful()] * 60)
    )
    model = sample_report.model()
    assert model.analysis is not None
    many = type(model)(**{**vars(model), "analysis": verdict_samples.analysis(claims)})
    reader = pypdf.PdfReader(io.BytesIO(to_pdf(many, [])))
    texts = [words(page.extract_text()) for page in reader.pages]
    heads = [text for text in texts if "What is claimed" in text]
    assert len(heads) > 1
    assert all(f"claim number {n}" in " ".join(texts) for n in range(60))


def test_the_same_model_gives_the_same_bytes(content: bytes):
    model = sample_report.modelled(sample_report.snapshot())
    assert to_pdf(model, sample_report.figures(model)) == content


def test_words_of_a_user_cannot_act_as_markup():
    reader = pypdf.PdfReader(io.BytesIO(to_pdf(sample_report.hostile(), [])))
    text = words(" ".join(page.extract_text() for page in reader.pages))
    for word in (r"\input{evil}", "c#d", "$x$", "*y*", "`z`", "[l](m)", "<b>&amp;"):
        assert word in text


def test_the_document_has_a_title_and_an_outline(content: bytes):
    reader = pypdf.PdfReader(io.BytesIO(content))
    assert reader.metadata is not None
    assert reader.metadata.title == "reviews-smollm2"
    titles = [entry.title for entry in reader.outline if not isinstance(entry, list)]
    assert titles[:2] == ["Verdicts", "Behind the verdicts"]
    assert "Checklist" in titles


def test_a_report_of_nothing_is_a_report(empty):
    reader = pypdf.PdfReader(io.BytesIO(to_pdf(build(empty), [])))
    assert "Not judged." in words(reader.pages[0].extract_text())


def test_a_figure_alone_has_a_page_of_its_size():
    model = sample_report.model()
    (figure, *_) = sample_report.figures(model)
    content = figure_pdf(figure)
    (page,) = pypdf.PdfReader(io.BytesIO(content)).pages
    assert float(page.mediabox.width) < A4_POINTS[0]
    assert figure_pdf(figure) == content


def test_a_figure_higher_than_a_page_is_parted():
    (figure, *_) = sample_report.figures(sample_report.model())
    tall = type(figure)(**{**vars(figure), "panels": figure.panels * 15, "height": 248})
    parts = printed([tall])
    assert [len(part.panels) for part in parts] == [6, 6, 3]
    assert len({part.name for part in parts}) == 3


def _fonts(resources):
    resources = resources.get_object() if isinstance(resources, IndirectObject) else resources
    for font in (resources.get("/Font") or {}).values():
        yield font.get_object()
    for inner in (resources.get("/XObject") or {}).values():
        if "/Resources" in inner.get_object():
            yield from _fonts(inner.get_object()["/Resources"])
