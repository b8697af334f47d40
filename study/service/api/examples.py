"""Examples of what the API answers, for its OpenAPI document."""

from typing import Any

SUMMARY: dict[str, Any] = {
    "study": "reviews-smollm2",
    "state": "finished",
    "created_at": 1795900000.0,
    "changed_at": 1795990000.0,
    "families": ["rsgd", "grsgd"],
    "num_trials": 412,
    "num_ended": 412,
}
TRIAL: dict[str, Any] = {
    "trial": "search/rsgd/r00/p12",
    "phase": "search",
    "slice": "",
    "family": "rsgd",
    "replicate": 0,
    "point": 12,
    "seed": 4611686018427387904,
    "params": {"lr": 0.013, "num_experts": 8, "top_k": 4, "rank": 4},
    "steps": 200,
    "attempts": 1,
    "running": False,
    "pack": 1,
    "node": "10.0.3.7",
    "started_at": 1795900211.4,
    "ended_at": 1795900388.9,
    "outcome": "finished",
    "steps_done": 200,
    "reason": "",
    "value": 0.412,
    "select_value": 0.397,
    "init_value": 0.701,
    "device_seconds": 44.3,
    "metrics": {"report_accuracy": 0.81, "select_accuracy": 0.82},
}
MEASUREMENT: dict[str, Any] = {
    "trial": "search/rsgd/r00/p12",
    "step": 50,
    "metrics": {"select_loss_nats": 0.53, "select_accuracy": 0.74},
    "recorded_at": 1795900262.0,
}
RUNG: dict[str, Any] = {
    "family": "rsgd",
    "trial": "search/rsgd/r00/p12",
    "rung": 50,
    "value": 0.53,
    "cutoff": 0.55,
    "num_recorded": 9,
    "action": "continue",
}
EVENT: dict[str, Any] = {
    "kind": "pack_ready",
    "detail": {"pack": 1, "node": "10.0.3.7", "lanes": 4},
    "recorded_at": 1795900205.2,
}
CLAIMS: dict[str, Any] = {
    "study": "reviews-smollm2",
    "registered": {"sha256": "9b1c…", "at": "2026-11-20T09:12:44+00:00", "commit": "4f0e…"},
    "claims": {
        "claims_version": 1,
        "study": "reviews-smollm2",
        "claims": [
            {
                "id": "C1",
                "title": "grsgd tolerates a wider range of learning rates than rsgd",
                "compare": {"a": "grsgd", "b": "rsgd"},
                "metric": "lr_width",
                "direction": "greater",
                "sesoi": 0.3,
                "unit": "decades",
            }
        ],
    },
}
PART: dict[str, Any] = {
    "metric": "lr_width",
    "title": "width of the range of learning rates",
    "unit": "decades",
    "direction": "greater",
    "factor": "",
    "workload": "sst2/smollm2-135m",
    "a": "grsgd",
    "b": "rsgd",
    "verdict": "supported",
    "grade": "meaningful",
    "reason": "the interval lies above the margin of 0.1 decades.",
    "extra": None,
    "estimate": 0.42,
    "ci_low": 0.21,
    "ci_high": 0.63,
    "level": 0.95,
    "ci_kind": "t over replicates",
    "p_t": 0.004,
    "p_signflip": 0.0078,
    "p_adjusted": 0.0078,
    "effect_size": 1.6,
    "win_probability": 1.0,
    "win_low": 0.68,
    "win_high": 1.0,
    "e_value": 21.4,
    "n": 8,
    "n_planned": 8,
    "n_unit": "replicate",
    "look": None,
    "fragile": False,
    "half_sesoi_n": 6,
    "thresholds": {"null": 0.0, "margin": 0.1, "sesoi": 0.3, "equivalence": None},
    "units": ["r00", "r01"],
    "differences": [0.38, 0.51],
    "a_values": [1.92, 2.04],
    "b_values": [1.54, 1.53],
    "notes": [],
}
VERDICTS: dict[str, Any] = {
    "study": "reviews-smollm2",
    "state": "finished",
    "verdicts": [
        {
            "id": "C1",
            "title": "grsgd tolerates a wider range of learning rates than rsgd",
            "role": "primary",
            "a": "grsgd",
            "b": "rsgd",
            "at": "",
            "workloads": "each",
            "verdict": "supported",
            "grade": "meaningful",
            "extra": None,
            "reason": "lr_width on sst2/smollm2-135m: the interval lies above the margin of 0.1 decades.",
            "p": 0.0078,
            "p_adjusted": 0.0078,
            "alpha": 0.05,
            "amended": "",
            "parts": [PART],
        }
    ],
    "stability": [
        {"claim": "C1", "choice": "medians", "verdict": "supported", "changed": False, "detail": ""}
    ],
}
REPORT: dict[str, Any] = {
    "format": "trialwright-report",
    "version": 2,
    "name": "reviews-smollm2",
    "state": "finished",
    "claims": VERDICTS["verdicts"],
    "trials": {"search": {"rsgd": {"finished": 11, "stopped": 21}}},
    "provenance": {
        "registered": CLAIMS["registered"],
        "amendments": [],
        "alpha": 0.05,
        "workloads": ["sst2/smollm2-135m"],
        "design": {"seeds_max": 30, "looks": [10, 20, 30], "spending": "obf", "replicates": 8},
        "num_duplicates": 0,
        "analysis": {},
        "manifest": {},
    },
    "stability": VERDICTS["stability"],
    "notes": [],
    "tuned": [{"family": "rsgd", "mean": 0.412}],
    "budget": {"search": {"rsgd": {"steps": 3950, "device_seconds": 880.1}}},
    "forecast": None,
}
REPORTS: dict[str, Any] = {
    "study": "reviews-smollm2",
    "reports": {
        name: f"/api/v1/studies/reviews-smollm2/reports/{name}"
        for name in ("html", "pdf", "md", "json", "csv", "tex", "parquet")
    },
}
STOPPED: dict[str, Any] = {
    "study": "reviews-smollm2",
    "told": "Study reviews-smollm2 stops at its workers' next reports (process 4711 on head).",
}
RESUMED: dict[str, Any] = {
    "study": "reviews-smollm2",
    "told": "A driver of study reviews-smollm2 is being started on http://ray-head:8265.",
}


def page(item: dict[str, Any]) -> dict[str, Any]:
    """A page with one item, and others after it."""
    return {"items": [item], "next": "MXx0cmlhbHN8fHw"}


def shown(example: dict[str, Any]) -> dict[str, Any]:
    """The part of an operation's response that holds an example of its JSON."""
    return {"content": {"application/json": {"example": example}}}
