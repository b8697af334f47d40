"""Every figure of the registry: what it states, what it is on a page and in a file."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy import stats

from study.report import ReportModel, Snapshot, build
from study.report.estimates import CurvePoint, Estimate
from study.report.figures import FIGURES, Figure, draw_all, panel_svg, sheet_svg
from study.report.figures.diagnostics import left_out
from study.report.figures.lr_loss import usable
from study.report.figures.sequential import course
from study.report.figures.style import INK, MARKS, MUTED, PAPER, groups, mark, power_of_ten
from study.report.landscape import LrCurve
from tests.study.report import synthetic, verdict_samples


@pytest.fixture(params=list(FIGURES))
def figure(
    request: pytest.FixtureRequest, model: ReportModel, judged_model: ReportModel, many: ReportModel
) -> Figure:
    drawn = (FIGURES[request.param](one) for one in (model, judged_model, many))
    return next(found for found in drawn if found is not None)


def test_it_states_n_its_unit_and_its_interval(figure: Figure) -> None:
    assert re.search(r"n = [\d,]+", figure.caption)
    assert re.search(r"nats?\b|unit|ranks", figure.caption) or figure.name in ("divergence", "survival")
    assert re.search(r"t-interval|t interval|Wilson|No interval|percentile|max-t", figure.caption)
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
    assert {name for name, found in drawn.items() if found is not None} == {
        "tuned",
        "lr-loss",
        "training",
        "tuning",
        "plane",
        "divergence",
        "survival",
    }
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


@pytest.mark.parametrize("color", [*sorted({m.color for m in MARKS.values()}), INK, MUTED])
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


def test_without_claims_there_is_no_figure_of_a_claim(model: ReportModel) -> None:
    shown = {figure.name for figure in draw_all(model)}
    of_claims = {"forest", "paired", "sequential", "diagnostics", "interactions", "importance", "arrival"}
    assert not shown & of_claims
    assert {"lr-loss", "profiles", "plane", "audit", "tuning"} <= shown


def test_every_endpoint_with_differences_has_a_panel(judged_model: ReportModel) -> None:
    assert judged_model.analysis is not None
    parts = [part for claim in judged_model.analysis.claims for part in claim.parts]
    drawn = {figure.name: figure for figure in draw_all(judged_model)}
    assert len(drawn["paired"].panels) == sum(bool(part.differences) for part in parts) == 9
    assert len(drawn["sequential"].panels) == sum(part.n_unit == "seed" for part in parts) == 5
    assert len(drawn["diagnostics"].panels) == 9


def test_claims_of_every_verdict_can_be_drawn(model: ReportModel) -> None:
    judged = dataclasses.replace(model, analysis=verdict_samples.analysis())
    for name in ("forest", "paired", "sequential", "diagnostics"):
        figure = FIGURES[name](judged)
        assert figure is not None
        ET.fromstring(sheet_svg(figure))  # noqa: S314 - ours
    forest = FIGURES["forest"](judged)
    assert forest is not None
    for word in ("supported, meaningful", "refuted, reversed", "equivalent", "inconclusive", "not evaluable"):
        assert word in panel_svg(forest, 0)


def test_claims_without_an_estimate_have_no_forest(model: ReportModel) -> None:
    analysis = verdict_samples.analysis((verdict_samples.not_evaluable(),))
    assert FIGURES["forest"](dataclasses.replace(model, analysis=analysis)) is None


def test_figures_of_one_workload_come_once_for_each(many: ReportModel) -> None:
    names = [figure.name for figure in draw_all(many)]
    assert [name for name in names if name.startswith("lr-loss")] == [f"lr-loss-{i}" for i in range(1, 6)]
    assert {"plane-workloads", "time-profile", "ranks"} <= set(names)
    assert {figure.kind for figure in draw_all(many)} <= set(FIGURES)
    titles = [figure.title for figure in draw_all(many) if figure.kind == "lr-loss"]
    assert titles == [f"Loss over the learning rate: {name}" for name in many.workloads]


def test_the_usable_range_is_where_the_mean_curve_crosses_the_target() -> None:
    ys = ((-4, 0.7), (-3, 0.5), (-2, 0.4), (-1, 0.6), (0, 0.8), (1, 0.5))
    points = tuple(CurvePoint(x=float(x), y=Estimate(mean=y, num_units=1, interval=None)) for x, y in ys)
    curve = LrCurve(family="rsgd", points=(), mean=points, num_seeds=3, init_loss=0.8)
    ranges = [(math.log10(low), math.log10(high)) for low, high in usable(curve, 0.5)]
    assert ranges == [(pytest.approx(-3.0), pytest.approx(-1.5)), (pytest.approx(1.0), pytest.approx(1.0))]
    assert usable(curve, 0.3) == []


def test_leaving_one_unit_out_is_students_interval_on_the_rest() -> None:
    values = (0.1, 0.4, -0.2, 0.3, 0.25)
    for index, (mean, low, high) in enumerate(left_out(values)):
        rest = [v for i, v in enumerate(values) if i != index]
        expected = stats.ttest_1samp(rest, 0).confidence_interval(0.95)
        assert (mean, low, high) == pytest.approx((np.mean(rest), expected.low, expected.high))


def test_the_monitor_ends_with_the_tables_e_value(judged_model: ReportModel) -> None:
    assert judged_model.analysis is not None
    part = judged_model.analysis.claims[1].parts[0]
    found = course(part, 0.01)
    assert found.n == tuple(range(2, 13))
    assert found.mean[-1] == pytest.approx(part.estimate)
    assert 10 ** found.log10_e[-1] == pytest.approx(part.e_value)
    assert found.low[-1] < found.mean[-1] < found.high[-1]
