"""Where checkpoints and adapters lie, and how adapters come home from a store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from search_spaces.errors import SpecError
from study.home import Home
from study.kept import kept_files, note_store, remove_files
from study.ledger import Ledger, StudyRecord
from trainers.places import StoreAwayError, StoreFolder


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture
def study(ledger: Ledger) -> StudyRecord:
    return ledger.create_study("tiny", {}, "digest", {})


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


def test_in_a_store_checkpoints_are_dropped_and_adapters_come_home(tmp_path, study, s3):
    home = Home(root=tmp_path / "home")
    with kept_files(home, study) as kept:
        assert isinstance(kept.checkpoints, StoreFolder)
        for key in ("search/a", "search/b"):
            (kept.checkpoints / key).write("step-1", {"state.json": b"{}"})
        kept.adapters.write(
            "confirmation/sgd/s0", {"adapter_model.safetensors": b"weights", "adapter_config.json": b"{}"}
        )
        kept.drop_checkpoints("search/a")
    assert {name.partition("/tiny-")[2].partition("/")[2] for name in s3.objects()} == {
        "checkpoints/search/b/step-1/state.json",
        "adapters/confirmation/sgd/s0/adapter_model.safetensors",
        "adapters/confirmation/sgd/s0/adapter_config.json",
    }
    assert all(name.startswith(f"trialwright/studies/tiny-{study.uid[:8]}/") for name in s3.objects())
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
    assert s3.objects("checkpoints") == {}


def put_adapter(folder, key: str, *, is_whole: bool = True) -> None:
    files = {"adapter_model.safetensors": key.encode(), "adapter_config.json": b"{}"}
    folder.write(key, files if is_whole else dict(list(files.items())[:1]))


def test_one_adapter_is_brought_alone_and_only_if_it_is_whole(tmp_path, study, s3):
    kept = kept_files(Home(root=tmp_path / "home"), study)
    for key in ("confirmation/sgd/s1", "confirmation/sgd/s10"):
        put_adapter(kept.adapters, key)
    put_adapter(kept.adapters, "confirmation/sgd/s2", is_whole=False)
    for key in ("confirmation/sgd/s1", "confirmation/sgd/s2", "confirmation/sgd/s3"):
        kept.bring_adapter(key)
    found = [path.parent.name for path in kept.adapters_dir.rglob("*") if path.is_file()]
    assert found == ["s1", "s1"]
    with s3.away():
        kept.bring_adapter("confirmation/sgd/s1")  # the home has it: nobody is asked
        with pytest.raises(StoreAwayError):
            kept.bring_adapter("confirmation/sgd/s10")


def test_a_study_is_removed_from_every_store_that_it_used_and_its_namesakes_stay(
    tmp_path, ledger, study, s3, monkeypatch
):
    """Names in the store are `<name>-<random>`: the second study's begins with all of the first one's."""
    home = Home(root=tmp_path / "home")
    second = ledger.create_study(f"tiny-{study.uid[:8]}", {}, "digest", {})
    third = ledger.create_study("tin", {}, "digest", {})
    for one in (study, second, third):
        put_adapter(kept_files(home, one).adapters, "confirmation/sgd/s0")
        put_adapter(kept_files(home, one).checkpoints, "confirmation/sgd/s0")
        note_store(home, ledger, one.name)
        note_store(home, ledger, one.name)
    monkeypatch.setenv("TRIALWRIGHT_STORE", f"{s3.url}/elsewhere")
    put_adapter(kept_files(home, study).adapters, "confirmation/sgd/s1")
    note_store(home, ledger, "tiny")
    assert len(s3.objects(f"studies/tiny-{study.uid[:8]}/")) == 6
    monkeypatch.delenv("TRIALWRIGHT_STORE")  # whoever deletes need not have it
    (home.study_dir("tiny") / "report").mkdir(parents=True)
    for _ in range(2):
        remove_files(home, ledger, study)
    assert s3.objects(f"studies/tiny-{study.uid[:8]}/") == {}
    assert not home.study_dir("tiny").exists()
    assert len(s3.objects(f"studies/{second.name}-{second.uid[:8]}/")) == 4
    assert len(s3.objects(f"studies/tin-{third.uid[:8]}/")) == 4
    assert len(s3.objects()) == 8
