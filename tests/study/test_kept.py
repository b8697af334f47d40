"""Where checkpoints and adapters lie, and how adapters come home from a store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from search_spaces.errors import SpecError
from study.home import Home
from study.kept import kept_files
from study.ledger import Ledger, StudyRecord
from tests.study.object_store import ObjectStore, object_store
from trainers import places
from trainers.places import StoreFolder


@pytest.fixture
def study(tmp_path: Path) -> Iterator[StudyRecord]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        yield ledger.create_study("tiny", {}, "digest", {})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with object_store(tmp_path) as started:
        for name, text in {**started.environment, "TRIALWRIGHT_STORE": started.url}.items():
            monkeypatch.setenv(name, text)
        places._filesystem.cache_clear()
        yield started
        places._filesystem.cache_clear()


def test_without_a_store_all_lies_in_the_home(tmp_path, study, monkeypatch):
    monkeypatch.delenv("TRIALWRIGHT_STORE", raising=False)
    home = Home(root=tmp_path)
    with kept_files(home, study) as kept:
        assert kept.checkpoints == home.checkpoints_dir("tiny")
        assert kept.adapters == kept.adapters_dir == home.adapters_dir("tiny")
        for key in ("search/a", "search/b"):
            (kept.checkpoints / key / "step-1").mkdir(parents=True)
        kept.drop_checkpoints("search/a")
        assert [path.name for path in (kept.checkpoints / "search").iterdir()] == ["b"]
        kept.drop_all_checkpoints()
        assert not kept.checkpoints.exists()
        assert kept.bring_adapters() == 0


def test_a_malformed_store_is_refused(tmp_path, study, monkeypatch):
    monkeypatch.setenv("TRIALWRIGHT_STORE", "/a/folder")
    with pytest.raises(SpecError, match="TRIALWRIGHT_STORE is '/a/folder', but must be of the form s3://"):
        kept_files(Home(root=tmp_path), study)


def test_in_a_store_checkpoints_are_dropped_and_adapters_come_home(tmp_path, study, store):
    home = Home(root=tmp_path / "home")
    with kept_files(home, study) as kept:
        assert isinstance(kept.checkpoints, StoreFolder)
        for key in ("search/a", "search/b"):
            (kept.checkpoints / key).write("step-1", {"state.json": b"{}"})
        kept.adapters.write(
            "confirmation/sgd/s0", {"adapter_model.safetensors": b"weights", "adapter_config.json": b"{}"}
        )
        kept.drop_checkpoints("search/a")
    assert {name.partition("/tiny-")[2].partition("/")[2] for name in store.objects()} == {
        "checkpoints/search/b/step-1/state.json",
        "adapters/confirmation/sgd/s0/adapter_model.safetensors",
        "adapters/confirmation/sgd/s0/adapter_config.json",
    }
    assert all(name.startswith(f"trialwright/studies/tiny-{study.uid[:8]}/") for name in store.objects())
    kept = kept_files(home, study)
    assert kept.bring_adapters() == 2
    assert kept.bring_adapters() == 0
    folder = home.adapters_dir("tiny") / "confirmation/sgd/s0"
    assert (folder / "adapter_model.safetensors").read_bytes() == b"weights"
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    kept.drop_all_checkpoints()
    assert store.objects("checkpoints") == {}
