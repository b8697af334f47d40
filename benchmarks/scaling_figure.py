"""Draw docs/images/scaling.svg from benchmarks/results/scaling.json."""

import json
from pathlib import Path

import matplotlib as mpl
from frame import RESULTS_DIR
from matplotlib.figure import Figure

FIGURE_PATH = RESULTS_DIR.parent.parent / "docs" / "images" / "scaling.svg"
COLOURS = ("#0072b2", "#d55e00")


def draw(table: list[dict[str, float]], path: Path) -> None:
    """Makespan and utilisation by number of GPUs, one line a study.

    Args:
        table: rows of the scaling benchmark.
        path: an SVG file.
    """
    mpl.rcParams.update({"svg.hashsalt": "trialwright", "svg.fonttype": "none", "font.size": 9})
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    time, use = figure.subplots(1, 2)
    for scale, colour in zip(sorted({row["scale"] for row in table}), COLOURS, strict=False):
        rows = [row for row in table if row["scale"] == scale]
        gpus, hours = [row["gpus"] for row in rows], [row["makespan_h"] for row in rows]
        label = f"{rows[0]['trials']:,.0f} trials"
        time.plot(gpus, hours, "o-", color=colour, markersize=3, label=label)
        time.plot(gpus, [hours[0] / number for number in gpus], ":", color=colour, linewidth=1)
        use.plot(
            gpus, [100 * row["busy_frac"] for row in rows], "o-", color=colour, markersize=3, label=label
        )
    time.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="hours", title="Makespan (dotted: ideal)")
    use.set(xscale="log", ylim=(0, 102), xlabel="GPUs", ylabel="% of the time", title="GPUs at work")
    use.legend(frameon=False)
    for axes in (time, use):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    document = json.loads((RESULTS_DIR / "scaling.json").read_text(encoding="utf-8"))
    draw(document["table"], FIGURE_PATH)
