"""TeX tables: booktabs, escaped, and with the environments that they open closed."""

import re

import pytest

from study.report import build
from study.report.latex import escaped, to_latex
from tests.study.report import sample_report, verdict_samples

BEGIN, END = re.compile(r"\\begin\{(\w+)\}"), re.compile(r"\\end\{(\w+)\}")


def files_of(model) -> dict[str, str]:
    return {name: content.decode() for name, content in to_latex(model, sample_report.figures(model)).items()}


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return files_of(sample_report.model())


def test_each_table_has_its_file(files: dict[str, str]):
    assert {
        "claims.tex",
        "intervals.tex",
        "tests.tex",
        "families.tex",
        "configurations.tex",
        "figures.tex",
    } == set(files)
    for name in set(files) - {"figures.tex"}:
        assert [files[name].count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_every_row_has_as_many_cells_as_the_table_has_columns(files: dict[str, str]):
    body = files["claims.tex"]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {7}
    assert len(rows) == 1 + sum(len(claim.parts) for claim in verdict_samples.claims())


@pytest.mark.parametrize("model", [sample_report.model, sample_report.hostile])
def test_every_environment_and_every_brace_is_closed(model):
    for body in files_of(model()).values():
        assert BEGIN.findall(body) == list(reversed(END.findall(body))) or body.count("\\begin") > 2
        assert sorted(BEGIN.findall(body)) == sorted(END.findall(body))
        bare = re.sub(r"\\[\\{}]", "", body)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") == bare.count(r"\$")


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("50 %", r"50 \%"),
        ("num_experts", r"num\_experts"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a & b # c $ d", r"a \& b \# c \$ d"),
        ("[0.1, 0.2]", r"{[}0.1, 0.2{]}"),
        ("\u22120.5", r"\ensuremath{-}0.5"),
        ("10\u207b\u2074", r"10\ensuremath{^{-}}\ensuremath{^4}"),
        ("a--b", "a-{}-b"),
        ("two\nlines", "two lines"),
    ],
)
def test_text_is_set_as_it_is_written(text: str, tex: str):
    assert escaped(text) == tex


def test_figures_are_included_by_their_files(files: dict[str, str]):
    assert r"\includegraphics[width=0.475\linewidth]{figures/forest.pdf}" in files["figures.tex"]


def test_without_claims_the_families_remain(empty):
    assert set(to_latex(build(empty), [])) == {"families.tex"}
