"""Snapshots and reports that several tests read."""

from pathlib import Path

import pytest

from study.report import ReportModel, Snapshot, build, write_report
from tests.study.report import synthetic


@pytest.fixture(scope="session")
def whole() -> Snapshot:
    """A finished study of six families."""
    return synthetic.finished()


@pytest.fixture(scope="session")
def model(whole: Snapshot) -> ReportModel:
    """What the report of the finished study says."""
    return build(whole)


@pytest.fixture(scope="session")
def written(whole: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of the finished study, in all formats but those for print, which have a smaller one."""
    return write_report(whole, tmp_path_factory.mktemp("report"), ("html", "csv", "json", "parquet"))


@pytest.fixture(scope="session")
def page(written: dict[str, Path]) -> str:
    """The page of the finished study."""
    return written["html"].read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def judged() -> Snapshot:
    """A finished study of two families with claims, and with trials beside its design."""
    return synthetic.judged()


@pytest.fixture(scope="session")
def judged_model(judged: Snapshot) -> ReportModel:
    """What the report of the study with claims says."""
    return build(judged)


@pytest.fixture(scope="session")
def judged_written(
    judged: Snapshot, judged_model: ReportModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The page of the study with claims."""
    return write_report(judged, tmp_path_factory.mktemp("judged"), ("html",), model=judged_model)


@pytest.fixture(scope="session")
def many() -> ReportModel:
    """What the report of three families on five workloads says."""
    return build(synthetic.many_workloads())


@pytest.fixture(scope="session")
def partial() -> Snapshot:
    """A study in its search: some trials have ended, one runs, nothing is confirmed."""
    maker = synthetic.Maker(seed=1)
    for family in ("rsgd", "grsgd"):
        for point in range(4):
            maker.add("search", family, 0, point, synthetic.drawn(maker, family))
    maker.trials[-1].update(outcome=None, value=None, select_value=None, steps=20, reason=None)
    plan = {
        "trial_counts": {
            "search": {"rsgd": 32, "grsgd": 32},
            "confirmation": {"rsgd": 12, "grsgd": 12},
        }
    }
    return synthetic.snapshot(maker, state="running", families=("rsgd", "grsgd"), plan=plan)


@pytest.fixture(scope="session")
def diverged() -> Snapshot:
    """A study in which nothing ever worked."""
    maker = synthetic.Maker(seed=2)
    for family in ("sgd", "adamw"):
        for phase, slice_ in (("search", ""), ("sensitivity", ""), ("lr_slice", "lr"), ("confirmation", "")):
            for replicate in range(2):
                for point in range(2):
                    params = synthetic.tuned(family) | {"lr": 1e3 * (point + 1)}
                    if phase == "confirmation":
                        params["lr"] = 1e3
                    maker.add(phase, family, 2 * replicate + point, point, params, slice=slice_)
    return synthetic.snapshot(maker, state="finished", families=("sgd", "adamw"))


@pytest.fixture(scope="session")
def empty() -> Snapshot:
    """A study that was planned and never ran."""
    maker = synthetic.Maker()
    maker.add("search", "rsgd", 0, 0, synthetic.tuned("rsgd"))
    return synthetic.snapshot(
        maker,
        state="planned",
        families=("rsgd",),
        trials=maker.frames()["trials"].iloc[:0],
        curves=maker.frames()["curves"].iloc[:0],
        manifest={},
        events=[],
    )
