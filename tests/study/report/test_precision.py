from dataclasses import replace
from pathlib import Path

from study.records import PRECISION
from study.report import Snapshot, write_report
from study.report.precision import precision_facts

EVENT = {
    "kind": PRECISION,
    "detail": {
        "mode": "medium",
        "tolerance": 1e-6,
        "figures": {
            "highest": {"error": 3.04e-7, "relative_time": 1.0},
            "medium": {"error": 4.1e-7, "relative_time": 0.714},
        },
        "torch_version": "2.13.0",
        "device_name": "x86_64 with AVX512",
        "elapsed_s": 1.5,
    },
    "recorded_at": 1795366800.0,
}
OTHER = {"kind": PRECISION, "detail": {**EVENT["detail"], "mode": "highest"}, "recorded_at": 1795366900.0}


def test_the_first_probe_holds_for_the_whole_study():
    launched = {"kind": "launched", "detail": {}, "recorded_at": 0.0}
    assert precision_facts([launched]) == ()
    assert precision_facts([launched, EVENT, OTHER]) == (
        ("mode", "medium"),
        ("largest relative error allowed", "1e-06"),
        ("highest mode", "relative error 3.0e-07, 100 % of the time of highest"),
        ("medium mode", "relative error 4.1e-07, 71 % of the time of highest"),
        ("measured on", "x86_64 with AVX512"),
        ("PyTorch", "2.13.0"),
    )


def test_the_report_tells_it_in_print_and_on_the_page(partial: Snapshot, tmp_path: Path):
    told, silent = (
        {kind: path.read_text() for kind, path in write_report(one, folder, ["html", "md"]).items()}
        for one, folder in (
            (replace(partial, events=[EVENT]), tmp_path / "told"),
            (replace(partial, events=[]), tmp_path / "silent"),
        )
    )
    for kind, text in told.items():
        assert "relative error 4.1e-07, 71 % of the time of highest" in text
        assert "Matrix products in float32" in text
        assert "Matrix products" not in silent[kind]
