"""Pages of MLflow that are arranged beforehand: which runs, in which order, with which columns and charts.

MLflow's pages keep what their Views button saves in a tag of the experiment, `mlflow.sharedViewState.<key>`, list it
under that button, and open it at `#/experiments/<id>/runs?viewStateShareKey=<key>`. We write such tags ourselves. Their
content is no documented interface: it is what the pages of MLflow 3.17 read, and a browser test holds it; a version
that no longer knows it shows its plain list with a notice. Nothing else arranges columns or charts: a visitor who opens
the experiment without a key gets MLflow's own list, newest run first, and finds our pages under Views.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

SHARED = "mlflow.sharedViewState."
"""How the tags of arranged pages begin."""
KIND_TAG = {"mlflow.experimentKind": "custom_model_development"}
"""Says that the experiment holds training runs: pages that go by it do not open at language-model traces."""
FAMILIES, CONFIGURATIONS, TRIALS, SEEDS = "families", "configurations", "trials", "seeds"
VIEWS = {
    FAMILIES: "Families, best first",
    CONFIGURATIONS: "Configurations, best first",
    TRIALS: "Trials, best first",
    SEEDS: "Seeds of the tuned configurations",
}
"""Key → its name under Views, in the order in which the description links them."""
_OPENS_WITH_CHARTS = frozenset({CONFIGURATIONS, TRIALS, SEEDS})
_FAMILY_COLUMNS = (
    "metrics.`tuned_report_loss_nats`",
    "metrics.`tuned_report_loss_nats_low`",
    "metrics.`tuned_report_loss_nats_high`",
    "metrics.`space_diverged_frac`",
    "metrics.`lr_width_decades`",
    "tags.`verdicts`",
    "metrics.`tuned_report_accuracy`",
    "metrics.`diverged_frac`",
    "metrics.`trials_ended`",
    "metrics.`device_s`",
)
_TRAINING = "workflowType=machine_learning"
"""MLflow's pages have a face for language-model traces, their default, and one for training."""
_SPACE = ("lr", "num_experts", "top_k", "rank")


def arranged_tags(created_at: float) -> dict[str, str]:
    """Tags of the experiment: how its pages are arranged.

    Args:
        created_at: Unix time in seconds that MLflow shows beside a page's name.
    """
    pages = {
        FAMILIES: _families(),
        CONFIGURATIONS: _configurations(),
        TRIALS: _trials(),
        SEEDS: _seeds(),
    }
    saved = {f"{SHARED}{key}": _saved(VIEWS[key], state, created_at) for key, state in pages.items()}
    return KIND_TAG | saved


def view_path(experiment_id: str, key: str) -> str:
    """The address of an arranged page, relative to where MLflow's pages are served."""
    mode = "&compareRunsMode=CHART" if key in _OPENS_WITH_CHARTS else ""
    return f"#/experiments/{quote(experiment_id)}/runs?{_TRAINING}&viewStateShareKey={key}{mode}"


def artifact_path(experiment_id: str, run_id: str, file: str) -> str:
    """The address of the page that shows an artifact of a run, relative as above; whoever keeps the artifacts."""
    return run_path(experiment_id, run_id, f"/artifacts/{quote(file)}")


def run_path(experiment_id: str, run_id: str, below: str = "") -> str:
    """The address of a run's page, or of one below it, relative as above."""
    return f"#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}{below}?{_TRAINING}"


def experiment_path(experiment_id: str) -> str:
    """The address of the experiment's own list of runs, relative as above."""
    return f"#/experiments/{quote(experiment_id)}/runs?{_TRAINING}"


def _families() -> dict[str, Any]:
    charts = [
        _bars("tuned_report_loss_nats", "Tuned report loss (nats)"),
        _bars("lr_width_decades", "Usable learning rates (decades)"),
        _bars("space_diverged_frac", "Diverged over the space (fraction)"),
        _bars("device_s", "Device time (s)"),
    ]
    return _page("tags.kind = 'family'", "metrics.`tuned_report_loss_nats`", _FAMILY_COLUMNS, charts)


def _configurations() -> dict[str, Any]:
    loss = "mean_report_loss_nats"
    charts = [_parallel((*_SPACE, "family"), (loss,)), _scatter("lr", loss)]
    columns = [f"params.`{name}`" for name in ("family", *_SPACE)]
    figures = (loss, "mean_select_loss_nats", "mean_report_accuracy", "trials_ended", "diverged_frac")
    columns += [f"metrics.`{name}`" for name in figures]
    return _page("tags.kind = 'configuration'", f"metrics.`{loss}`", columns, charts)


def _trials() -> dict[str, Any]:
    loss = "final_select_loss_nats"
    charts = [_parallel((*_SPACE, "family"), (loss,)), _scatter("lr", loss), _curves("select_loss_nats")]
    columns = [
        "tags.`outcome`",
        "tags.`phase`",
        *(f"params.`{name}`" for name in ("family", *_SPACE)),
        *(f"metrics.`{name}`" for name in (loss, "report_loss_nats", "report_accuracy")),
    ]
    return _page(f"tags.kind = 'trial' and metrics.{loss} >= 0", f"metrics.`{loss}`", columns, charts)


def _seeds() -> dict[str, Any]:
    loss = "report_loss_nats"
    charts = [_bars(loss, "Report loss (nats)", runs=100), _curves("select_loss_nats")]
    columns = [
        *(f"params.`{name}`" for name in ("family", "lr")),
        "tags.`replicate`",
        "tags.`outcome`",
        *(f"metrics.`{name}`" for name in (loss, "report_accuracy", "final_select_loss_nats")),
    ]
    return _page("tags.kind = 'trial' and tags.phase = 'confirmation'", f"metrics.`{loss}`", columns, charts)


def _page(only: str, order_by: str, columns: Sequence[str], charts: list[dict[str, Any]]) -> dict[str, Any]:
    """What a page restores: search, order, columns, and its own section of charts before the generated ones."""
    sections = [("comparison", "Comparison", True), ("generated", "Model metrics", False)]
    return {
        "searchFilter": only,
        "orderByKey": order_by,
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": {name: _width_px(name) for name in columns},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [
            {"uuid": f"trialwright-{place}", "metricSectionId": "comparison", **chart}
            for place, chart in enumerate(charts)
        ],
        "compareRunSections": [
            {"uuid": uuid, "name": name, "display": shown, "isReordered": True, "deleted": False}
            for uuid, name, shown in sections
        ],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def _width_px(column: str) -> int:
    """Room for a column's name; verdicts are longer than theirs."""
    return 320 if column == "tags.`verdicts`" else max(110, 7 * len(column.partition(".")[2]) + 10)


def _bars(metric: str, title: str, *, runs: int = 20) -> dict[str, Any]:
    return _chart("BAR", runs, metricKey=metric, displayName=title)


def _curves(metric: str) -> dict[str, Any]:
    return _chart(
        "LINE",
        10,
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="step",
        lineSmoothness=0,
        scaleType="linear",
    )


def _parallel(params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    chosen = {"selectedParams": list(params), "selectedMetrics": list(metrics)}
    return _chart("PARALLEL", 100, showAllRuns=True, **chosen)


def _scatter(param: str, metric: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": param, "type": "PARAM"}, "yaxis": {"key": metric, "type": "METRIC"}}
    return _chart("SCATTER", 100, **axes)


def _chart(kind: str, runs: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "runsCountToCompare": runs, "deleted": False, "isGenerated": False, **more}


def _saved(name: str, state: dict[str, Any], created_at: float) -> str:
    """As the pages write it: deflated, which keeps it far below the length of a tag."""
    text = json.dumps(state, separators=(",", ":"))
    packed = f"deflate;{base64.b64encode(zlib.compress(text.encode(), 9)).decode()}"
    at_ms = round(1000 * created_at)
    return json.dumps({"name": name, "createdAt": at_ms, "updatedAt": at_ms, "state": packed})
