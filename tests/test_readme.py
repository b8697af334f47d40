"""What the README says can be done."""

import re
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from study.cli import cli
from study.spec import load_spec
from tests.tiny import tiny_llama

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_it_names_exists():
    named = set(re.findall(r"trialwright (\w+) ", README)) - {"is"}
    assert {"init", "plan", "launch", "status", "compare"} <= named
    assert named <= set(cli.commands)


def test_every_make_target_it_names_exists():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]))
def test_every_local_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_its_example_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    base = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path / "base"))
    names = {"base": base}
    exec(code, names)  # noqa: S102 (our own README)
    assert names["optimizer"].param_groups[0]["lr"] == 1e-3


def test_the_quickstart_is_a_study():
    spec = load_spec(ROOT / "examples" / "quickstart.yaml")
    assert spec.families == ("sgd", "rsgd", "grsgd", "adamw", "radamw", "gradamw")
    assert spec.phases.search
    assert spec.phases.sensitivity
    assert spec.phases.confirmation
