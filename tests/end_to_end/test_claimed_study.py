"""A study with claims, variants and disturbed adapters through the real command, from the search to the last trial."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from study.protocol import check_equal_budgets
from study.spec import parse_spec
from study.trial_table import trial_table
from tests.end_to_end.command import STUDY, STUDY_FILE, Ended, ledger_of, make_place, run
from tests.study.claim_files import SHIFTED, claim

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
CHANGES = {
    "variants": {"grsgd_zero": {"of": "grsgd", "gate_exponent": 0}},
    "families": ["rsgd", "grsgd", "grsgd_zero"],
    "spaces": {"all": {"num_experts": [2, 4], "top_k": [1, 2], "rank": [2]}},
    "phases": {
        "search": {"trials": 2, "reduction": 2, "grace_steps": 2},
        "sensitivity": {"replicates": 7, "points": 1},
        "confirmation": {
            "seeds": 7,
            "default_seeds": 1,
            "perturbed_seeds": 1,
            "perturbations": ["expert_dropped", {"weights_bits": 4}],
        },
    },
    "claims": "claims.yaml",
}
CLAIMS = {
    "claims_version": 1,
    "design": {"sensitivity": {"replicates": 7}, "confirmation": {"seeds_max": 7}},
    "claims": [
        claim("H2", "matched_loss", SHIFTED, underpowered="accepted"),
        claim("H11", "seed_abs_dev", SHIFTED, underpowered="accepted"),
    ],
}


@dataclass(frozen=True, kw_only=True)
class Story:
    """What the commands said, one after the other, and what they left behind."""

    refused: Ended
    searched: Ended
    locked: Ended
    launched: Ended
    home: Path
    trials: pd.DataFrame


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    place = make_place(tmp_path_factory.mktemp("claimed"))
    study = {**yaml.safe_load(STUDY_FILE), **CHANGES}
    (place / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    (place / "claims.yaml").write_text(yaml.safe_dump(CLAIMS, sort_keys=False))
    refused = run(place, "launch", "study.yaml")
    assert not (place / ".trialwright" / "ledger.db").exists()
    searched = run(place, "launch", "study.yaml", "--phase", "search")
    locked = run(place, "claims", "lock", "claims.yaml", "--study", "study.yaml")
    launched = run(place, "launch", "study.yaml")
    home = place / ".trialwright"
    with ledger_of(home) as ledger:
        trials = trial_table(ledger, STUDY)
    return Story(
        refused=refused, searched=searched, locked=locked, launched=launched, home=home, trials=trials
    )


def test_only_the_search_runs_before_the_claims_are_locked(story):
    assert story.refused.code == 2
    assert story.refused.err.startswith("trialwright: ")
    assert "claims.yaml is not locked: lock it with: trialwright claims lock" in story.refused.err
    assert [story.searched.code, story.locked.code, story.launched.code] == [0, 0, 0], story.launched.err


def test_every_trial_that_the_claims_pair_has_run_on_its_partners_seed(story):
    table = story.trials
    assert set(table["outcome"]) <= {"finished", "stopped", "diverged"}
    a = table[(table["phase"] == "sensitivity") & (table["family"] == "grsgd")]
    b = table[(table["phase"] == "sensitivity") & (table["slice"] == "H2")]
    both = a.merge(b, on=["replicate", "point", "seed"], suffixes=("_a", "_b"))
    assert len(both) == len(a) == len(b) == 7
    expected = both["param.lr_a"] * both["param.top_k_a"] ** 0.5
    assert both["param.lr_b"].tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    confirmed = table[table["phase"] == "confirmation"].groupby("slice").size().to_dict()
    assert confirmed == {"": 21, "H11": 7, "default": 3, "lr_up": 3, "lr_down": 3}


def test_the_variant_trains_with_its_own_exponent(story):
    config = story.home / "studies" / STUDY / "adapters" / "confirmation" / "grsgd_zero" / "r00"
    assert '"gate_exponent": 0.0' in (config / "adapter_config.json").read_text()


def test_confirmed_adapters_were_scored_while_disturbed(story):
    table = story.trials
    columns = [name for name in table.columns if name.startswith("perturbed.")]
    assert columns == [
        f"perturbed.{name}.{figure}"
        for name in ("expert_dropped", "weights_4bit")
        for figure in ("loss", "accuracy")
    ]
    finished = (table["phase"] == "confirmation") & (table["outcome"] == "finished")
    assert table.loc[finished, columns].notna().all(axis=None)
    assert table.loc[~finished, columns].isna().all(axis=None)


def test_the_record_holds_the_locked_claims_and_equal_budgets(story):
    with ledger_of(story.home) as ledger:
        record = ledger.study(STUDY)
        events = [event.kind for event in ledger.events(STUDY)]
        check_equal_budgets(parse_spec(record.spec, "ledger"), (one.planned for one in ledger.trials(STUDY)))
    assert record.manifest["claims"]["locked_at"].endswith("Z")
    assert record.manifest["claims"]["written"]["claims"][0]["id"] == "H2"
    assert events.count("claims_registered") == 1  # when they were locked, between the two launches
