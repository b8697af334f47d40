"""A variant trains as the family, or the workload, that has its settings."""

from dataclasses import replace

import pytest

from tests.trainers.test_trial import figures, run, setup, workload
from trainers.trial import Trial, TrialSetup
from trainers.workbench import Workbench, open_workbench
from trainers.workload import Variant


def trained(folder, trial: TrialSetup, shared: Workbench) -> list[dict[str, object]]:
    return figures(run(Trial(replace(trial, checkpoint_dir=folder / "checkpoints"), shared)))


@pytest.mark.parametrize(
    ("variant", "twin"),
    [
        (Variant(of="rsgd", gate_exponent=0.5), "grsgd"),
        (Variant(of="gradamw", gate_exponent=1.0), "radamw"),
    ],
)
def test_an_exponent_of_its_own_makes_it_the_family_that_has_it(tmp_path, variant, twin):
    shared = open_workbench(workload(tmp_path), tmp_path, tmp_path / "cache", "cpu")
    mine = replace(setup(tmp_path, family=variant.of), variant=variant)
    assert trained(tmp_path / "a", mine, shared) == trained(
        tmp_path / "b", setup(tmp_path, family=twin), shared
    )


@pytest.mark.parametrize(
    ("settings", "section"),
    [
        ({"input_gradient": "faithful"}, "adapter"),
        ({"simultaneous": False, "bias_correction": False}, "training"),
    ],
)
def test_a_setting_of_its_own_is_as_if_the_workload_had_it(tmp_path, settings, section):
    plain = workload(tmp_path)
    changed = plain.model_copy(update={section: getattr(plain, section).model_copy(update=settings)})
    benches = [open_workbench(one, tmp_path, tmp_path / "cache", "cpu") for one in (plain, changed)]
    family = setup(tmp_path, family="gradamw")
    variant = replace(family, variant=Variant(of="gradamw", **settings))
    mine = trained(tmp_path / "variant", variant, benches[0])
    assert mine == trained(tmp_path / "workload", family, benches[1])
    assert mine != trained(tmp_path / "family", family, benches[0])


def test_a_checkpoint_of_the_family_is_not_continued_by_its_variant(tmp_path):
    shared = open_workbench(workload(tmp_path), tmp_path, tmp_path / "cache", "cpu")
    run(Trial(setup(tmp_path, family="grsgd"), shared))
    variant = Variant(of="grsgd", gate_exponent=0.0)
    other = Trial(replace(setup(tmp_path, family="grsgd"), variant=variant), shared)
    assert other.reports == []
    other.close()
