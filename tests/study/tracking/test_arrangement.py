"""Arranged pages: what their tags hold. That MLflow reads them is tested in a browser."""

import base64
import json
import zlib
from typing import Any

import pytest

from study.tracking.arrangement import SHARED, VIEWS, arranged_tags, artifact_path, view_path
from study.tracking.names import (
    CONFIGURATION_METRICS,
    FAMILY_METRICS,
    PARENT_METRICS,
    TAGS,
    TRIAL_METRICS,
)

KNOWN = {*PARENT_METRICS, *FAMILY_METRICS, *CONFIGURATION_METRICS, *TRIAL_METRICS, *TAGS}
PARAMS = {"family", "lr", "num_experts", "top_k", "rank"}


def state(key: str) -> dict[str, Any]:
    saved = json.loads(arranged_tags(1.7e9)[f"{SHARED}{key}"])
    assert saved["name"] == VIEWS[key]
    assert saved["createdAt"] == saved["updatedAt"] == 1_700_000_000_000
    kind, _, packed = saved["state"].partition(";")
    assert kind == "deflate"
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


@pytest.mark.parametrize("key", VIEWS)
def test_a_page_shows_what_is_shipped_and_nothing_else(key: str):
    page = state(key)
    for column in page["selectedColumns"]:
        group, _, name = column.partition(".")
        assert group in {"metrics", "params", "tags"}
        assert name.strip("`") in (PARAMS if group == "params" else KNOWN), column
    sections = {section["uuid"] for section in page["compareRunSections"]}
    assert len({chart["uuid"] for chart in page["compareRunCharts"]}) == len(page["compareRunCharts"])
    for chart in page["compareRunCharts"]:
        assert chart["metricSectionId"] in sections
        assert chart.get("metricKey", "select_loss_nats") in KNOWN | {"select_loss_nats"}


def test_the_families_come_best_first():
    page = state("families")
    assert (page["searchFilter"], page["orderByAsc"]) == ("tags.kind = 'family'", True)
    assert page["orderByKey"] == "metrics.`tuned_report_loss_nats`"


def test_the_tags_fit_every_store():
    assert max(map(len, arranged_tags(1.7e9).values())) < 5000


def test_the_same_study_has_the_same_tags():
    assert arranged_tags(1.7e9) == arranged_tags(1.7e9)


def test_addresses_are_relative_to_where_pages_are_served():
    assert view_path("3", "trials").startswith("#/experiments/3/runs?")
    file = artifact_path("3", "r", "report/a b.html").partition("?")[0]
    assert file == "#/experiments/3/runs/r/artifacts/report/a%20b.html"
