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
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MOST_PICTURE_BYTES = 200_000


def test_every_command_it_names_exists():
    named = set(re.findall(r"trialwright (\w+) ", README)) - {"is"}
    assert {"init", "plan", "launch", "status", "compare"} <= named
    assert named <= set(cli.commands)


def test_every_make_target_it_names_exists():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_picture_is_shown_with_words_for_it_and_is_small():
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"!\[[^\]]{10,}\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    kept = {path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()}
    assert kept - shown == set()
    assert {path.name for path in kept if path.stat().st_size > MOST_PICTURE_BYTES} == set()


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
