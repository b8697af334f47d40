"""Every figure of the registry: what it states, what it is on a page and in a file."""

import dataclasses
import re
import xml.etree.ElementTree as ET

import pytest

from study.report import ReportModel, Snapshot, build
from study.report.figures import FIGURES, Figure, panel_svg, sheet_svg
from study.report.figures.style import INK, MARKS, MUTED, PAPER, groups, mark, power_of_ten
from tests.study.report import synthetic


@pytest.fixture(params=list(FIGURES))
def figure(request: pytest.FixtureRequest, model: ReportModel) -> Figure:
    found = FIGURES[request.param](model)
    assert found is not None
    return found


def test_it_states_n_its_unit_and_its_interval(figure: Figure) -> None:
    assert re.search(r"n = [\d,]+", figure.caption)
    assert "nats" in figure.caption or figure.name in ("divergence", "survival")
    assert re.search(r"t-interval|Wilson|No interval", figure.caption)
    assert all(re.search(r"\d", panel.alt) for panel in figure.panels)


def test_a_panel_is_themed_and_has_ids_of_its_own(figure: Figure) -> None:
    seen: set[str] = set()
    for index in range(len(figure.panels)):
        svg = panel_svg(figure, index)
        ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))  # noqa: S314 - ours
        ids = re.findall(r' id="([^"]+)"', svg)
        assert len(ids) == len(set(ids))
        assert not seen & set(ids)
        seen |= set(ids)
        for target in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg):
            assert (target[0] or target[1]) in ids
        assert not re.findall(r"#[0-9a-f]{6}\b", svg)
        assert "<style" not in svg
        assert "<metadata" not in svg
        assert svg.startswith('<svg class="panel"')


def test_a_file_stands_alone(figure: Figure) -> None:
    svg = sheet_svg(figure)
    ET.fromstring(svg)  # noqa: S314 - ours
    assert "var(--" not in svg
    assert PAPER in svg
    assert svg == sheet_svg(figure)


def test_no_data_no_figure(empty: Snapshot) -> None:
    assert {name for name, make in FIGURES.items() if make(build(empty)) is not None} == set()


def test_a_study_that_always_diverged_can_be_drawn(diverged: Snapshot) -> None:
    model = build(diverged)
    drawn = {name: make(model) for name, make in FIGURES.items()}
    assert {name for name, found in drawn.items() if found is None} == {"factors", "entropy"}
    for found in drawn.values():
        if found is not None:
            assert len(sheet_svg(found)) > 1000


def test_all_known_families_and_a_foreign_one_can_be_drawn() -> None:
    maker = synthetic.Maker()
    for index, family in enumerate([*MARKS, "muon"]):
        for point in range(4):
            params = synthetic.tuned("rsgd") | {"lr": 10.0 ** (-index / 2 - point)}
            maker.add("sensitivity", "rsgd", 0, point, params)
            maker.trials[-1].update(family=family, trial=f"s/{family}/{point}")
    model = build(synthetic.snapshot(maker, state="running", families=[*MARKS, "muon"]))
    assert groups(model.families)["Other families"] == ("muon",)
    figure = FIGURES["lr-loss"](model)
    assert figure is not None
    assert [panel.title for panel in figure.panels] == [*MARKS, "muon"]
    assert "no interval" in figure.caption
    sheet_svg(figure)


def test_marks_tell_families_of_a_panel_apart() -> None:
    families = (*MARKS, "one", "two", "three")
    for members in groups(families).values():
        looks = [(mark(name, families).color, mark(name, families).marker) for name in members]
        assert len(set(looks)) == len(looks)


@pytest.mark.parametrize("color", [*{m.color for m in MARKS.values()}, INK, MUTED])
def test_colours_reach_the_contrast_of_graphics(color: str) -> None:
    assert contrast(color, PAPER) >= (4.5 if color in (INK, MUTED) else 3.0)


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio of two #rrggbb colours."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("value", "text"), [(1e-3, "10\u207b\u00b3"), (100.0, "10\u00b2"), (3e-5, "3\u00b710\u207b\u2075")]
)
def test_powers_of_ten_read_as_such(value: float, text: str) -> None:
    assert power_of_ten(value) == text


def test_a_page_without_slice_has_points_but_no_interval(model: ReportModel) -> None:
    bare = tuple(dataclasses.replace(c, mean=(), num_seeds=0) for c in model.lr_curves)
    figure = FIGURES["lr-loss"](dataclasses.replace(model, lr_curves=bare))
    assert figure is not None
    assert figure.caption.endswith("so there is no mean curve and no interval.")
