r"""The report's tables for a paper: booktabs, one file each, to be taken in with `\input`.

A preamble needs `\usepackage{booktabs,graphicx,tabularx}`. Text from the study is escaped, so that a family or a title
with a `%` or an underscore compiles; the signs that the report itself uses become commands, which every engine knows.
"""

from collections.abc import Sequence

from study.report.blocks import Column, Table
from study.report.claim_tables import claims_table, intervals_table, tests_table
from study.report.content import configurations_table, families_table
from study.report.figures import Figure
from study.report.figures.canvas import print_share
from study.report.forecast import forecast_table
from study.report.model import ReportModel

COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    '"': "''{}",
    "`": r"\textasciigrave{}",
    "[": r"{[}",
    "]": r"{]}",
    "\n": " ",
    "\r": " ",
    "\t": " ",
    "\u00a0": "~",
    "\u202f": r"\,",
    "\u2013": r"\textendash{}",
    "\u2014": r"\textemdash{}",
    "\u2018": "`{}",
    "\u2019": "'{}",
    "\u201c": "``{}",
    "\u201d": "''{}",
    "\u2026": r"\ldots{}",
    "\u2212": r"\ensuremath{-}",
    "\u00d7": r"\ensuremath{\times}",
    "\u00b1": r"\ensuremath{\pm}",
    "\u2264": r"\ensuremath{\le}",
    "\u2265": r"\ensuremath{\ge}",
    "\u2248": r"\ensuremath{\approx}",
    "\u221a": r"\ensuremath{\surd}",
    "\u221e": r"\ensuremath{\infty}",
    "\u0394": r"\ensuremath{\Delta}",
    "\u03b1": r"\ensuremath{\alpha}",
    "\u03b2": r"\ensuremath{\beta}",
    "\u03b3": r"\ensuremath{\gamma}",
    "\u03b4": r"\ensuremath{\delta}",
    "\u03b5": r"\ensuremath{\varepsilon}",
    "\u03b7": r"\ensuremath{\eta}",
    "\u03bb": r"\ensuremath{\lambda}",
    "\u03bc": r"\ensuremath{\mu}",
    "\u00b5": r"\ensuremath{\mu}",
    "\u03c3": r"\ensuremath{\sigma}",
    "\u03c4": r"\ensuremath{\tau}",
    "\u2126": r"\ensuremath{\Omega}",
    "\u207b": r"\ensuremath{^{-}}",
    **{
        sign: rf"\ensuremath{{^{digit}}}"
        for digit, sign in enumerate("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
    },
}
"""Characters that TeX takes for its own, or that not every font has."""
FEW_COLUMNS = 6
"""Tables with more are set small, and those with more than `SOME_COLUMNS` smaller."""
SOME_COLUMNS = 8


def to_latex(model: ReportModel, figures: Sequence[Figure]) -> dict[str, bytes]:
    """The files by name: `claims.tex`, `families.tex`, their details, and `figures.tex`.

    Args:
        model: the report's content.
        figures: those whose PDF files stand in `figures/`.
    """
    tables = {"families": families_table(model), "configurations": configurations_table(model)}
    if model.forecast is not None:
        tables["forecast"] = forecast_table(model.forecast, model.spec)
    found = model.analysis
    if found is not None:
        tables |= {
            "claims": claims_table(found),
            "intervals": intervals_table(found),
            "tests": tests_table(found),
        }
    files = {f"{name}.tex": _table(name, table) for name, table in tables.items() if table is not None}
    if figures:
        files["figures.tex"] = "\n".join(_figure(figure) for figure in figures)
    return {name: text.encode() for name, text in files.items()}


def escaped(text: str) -> str:
    """Text as TeX sets it letter by letter; what an eight-bit engine cannot know stays as it is."""
    return "".join(COMMANDS.get(character, character) for character in text).replace("--", "-{}-")


def _table(name: str, table: Table) -> str:
    """A floating table as wide as the text, with its note below."""
    size = r"\small" if len(table.columns) <= FEW_COLUMNS else r"\footnotesize"
    size = r"\scriptsize" if len(table.columns) > SOME_COLUMNS else size
    wide = any(column.wide for column in table.columns)
    spec = "@{}" + "".join(_alignment(column) for column in table.columns) + "@{}"
    begin = rf"\begin{{tabularx}}{{\linewidth}}{{{spec}}}" if wide else rf"\begin{{tabular}}{{{spec}}}"
    lines = [
        r"\begin{table}[tbp]",
        r"\centering",
        rf"\caption{{{escaped(table.title)}}}",
        rf"\label{{tab:trialwright-{name}}}",
        rf"{size}\setlength{{\tabcolsep}}{{3pt}}",
        begin,
        r"\toprule",
        _row(tuple(column.title for column in table.columns)),
        r"\midrule",
        *_rows(table, spaced=wide),
        r"\bottomrule",
        r"\end{tabularx}" if wide else r"\end{tabular}",
        *([rf"\par\smallskip\footnotesize\raggedright {escaped(table.note)}"] if table.note else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _alignment(column: Column) -> str:
    if column.wide:
        return r">{\raggedright\arraybackslash}X"
    return "r" if column.numeric else "l"


def _rows(table: Table, *, spaced: bool) -> list[str]:
    """The rows, groups of several lines a little apart."""
    lines: list[str] = []
    for index, row in enumerate(table.rows):
        if spaced and index and row[0]:
            lines.append(r"\addlinespace")
        lines.append(_row(row))
    return lines


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


def _figure(figure: Figure) -> str:
    width = f"{print_share(figure):.3g}"
    lines = [
        r"\begin{figure}[tbp]",
        r"\centering",
        rf"\includegraphics[width={width}\linewidth]{{figures/{figure.name}.pdf}}",
        rf"\caption{{{escaped(f'{figure.title}. {figure.caption}')}}}",
        rf"\label{{fig:trialwright-{figure.name}}}",
        r"\end{figure}",
    ]
    return "\n".join(lines) + "\n"
