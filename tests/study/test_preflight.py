"""What is found wrong before anything is started, and what a study's manifest says of its claims."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import SpecError
from study.claims.lock import lock
from study.home import Home, open_home
from study.ledger import Ledger
from study.preflight import preflight, with_claims
from study.records import Phase
from study.runner import _keep_registration, launch
from study.spec import StudySpec, parse_spec
from tests.study.claim_files import claim, study_with
from tests.study.test_plan import tiny_spec
from tests.tiny import tiny_bert

TUNED = claim("C1", "tuned_loss", {"a": "gradamw", "b": "sgd"}, underpowered="accepted")


class Quiet:
    """A view that shows nothing."""

    def say(self, sentence: str) -> None:
        pass

    def show(self, progress: Any) -> Any:
        return nullcontext(progress)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home")


@pytest.fixture
def spec(tmp_path: Path) -> StudySpec:
    written = tiny_spec(tmp_path).model_dump(mode="json")
    written["phases"] |= {"sensitivity": {"replicates": 6, "points": 2}, "confirmation": {"seeds": 6}}
    return study_with(tmp_path, TUNED, spec=written, design={"confirmation": {"seeds_max": 6}})


def checked(spec: StudySpec, home: Home, *, gives_results: bool) -> dict[str, Any]:
    return preflight(
        with_claims(spec),
        home,
        tracking_uri=home.tracking_uri,
        address=None,
        say=str,
        gives_results=gives_results,
    )


def run(spec: StudySpec, home: Home, last_phase: Phase | None) -> None:
    uri = home.tracking_uri
    launch(spec, home, tracking_uri=uri, address=None, last_phase=last_phase, view=Quiet())


@pytest.mark.parametrize("last_phase", [None, Phase.SENSITIVITY, Phase.CONFIRMATION])
def test_claims_that_are_not_locked_stop_a_launch_before_anything_is_written(spec, home, last_phase):
    with pytest.raises(
        SpecError, match=r"claims\.yaml is not locked: lock it with: trialwright claims lock "
    ):
        run(spec, home, last_phase)
    assert not home.has_ledger


def test_the_search_needs_no_locked_claims(spec, home):
    facts = checked(spec, home, gives_results=False)
    registered = facts["claims"]
    assert (registered["locked_at"], registered["commit"]) == ("", "")
    assert len(registered["sha256"]) == 64
    assert registered["written"]["claims"][0]["id"] == "C1"


def test_the_manifest_says_when_claims_were_locked(spec, home):
    lock(spec.claims, spec)
    before = checked(spec, home, gives_results=False)["claims"]
    registered = checked(spec, home, gives_results=True)["claims"]
    assert registered == before
    assert registered["locked_at"].endswith("Z")
    assert registered["sha256"] == registered["written"]["registered"]["sha256"]


def test_claims_that_were_changed_after_they_were_locked_are_refused(spec, home):
    lock(spec.claims, spec)
    path = Path(spec.claims)
    path.write_text(path.read_text().replace("sesoi: 0.05", "sesoi: 0.01"))
    with pytest.raises(SpecError, match="was changed since it was registered"):
        run(spec, home, None)
    assert not home.has_ledger


def test_a_study_without_claims_registers_nothing(tmp_path, home):
    assert checked(tiny_spec(tmp_path), home, gives_results=True)["claims"] is None


def test_locking_between_two_launches_is_kept(spec, home):
    with Ledger.open(home.ledger_url) as ledger:
        first = checked(spec, home, gives_results=False)
        record = ledger.create_study(spec.name, spec.canonical(), spec.digest, first)
        _keep_registration(ledger, record, first["claims"])
        assert ledger.events(spec.name) == []
        lock(spec.claims, spec)
        later = checked(spec, home, gives_results=True)
        _keep_registration(ledger, ledger.study(spec.name), later["claims"])
        _keep_registration(ledger, ledger.study(spec.name), later["claims"])
        (event,) = ledger.events(spec.name)
        assert event.kind == "claims_registered"
        assert event.detail["locked_at"] == later["claims"]["locked_at"]
        assert ledger.study(spec.name).manifest == {**first, "claims": later["claims"]}


def test_an_encoder_has_one_lane(tmp_path, home):
    tiny_bert(tmp_path / "encoder")
    written = tiny_spec(tmp_path).model_dump(mode="json")
    changed = {
        "base": {**written["base"], "model": f"path:{tmp_path / 'encoder'}"},
        "adapter": {**written["adapter"], "target_modules": ["query", "value"]},
    }
    for lanes in ("auto", 1, 2):
        spec = parse_spec({**written, **changed, "resources": {"lanes": lanes}}, source="study")
        if lanes == 2:
            with pytest.raises(
                SpecError, match=r"lanes is 2, but base .* is an encoder, .*: write 1 or auto"
            ):
                checked(spec, home, gives_results=True)
        else:
            checked(spec, home, gives_results=True)
