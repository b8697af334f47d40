"""Checkpoints in a real S3-compatible store: whole or absent, damaged ones passed over, an absent store waited for."""

import threading
from collections.abc import Iterator

import pytest
import torch

from search_spaces.errors import RetryableError, SpecError
from tests.study.object_store import ObjectStore, object_store
from trainers import places
from trainers.checkpoint import STATE_FILE, TENSORS_FILE, Checkpoint, load_newest, save_checkpoint
from trainers.places import LocalPlace, StoreAwayError, StoreFolder, folder_at, parse_store, place_at
from trainers.store_settings import adopt_settings, own_settings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("store")) as started:
        yield started


@pytest.fixture
def store(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    for name, text in server.environment.items():
        monkeypatch.setenv(name, text)
    places._filesystem.cache_clear()
    yield server
    places._filesystem.cache_clear()
    for name in server.objects():
        server.delete(name)


@pytest.fixture
def folder(store: ObjectStore) -> StoreFolder:
    return parse_store(store.url) / "checkpoints" / "search/sgd/p000"


def made(step: int) -> Checkpoint:
    tensors = {"weights/a": torch.full((64, 33), float(step)), "moments/0/exp_avg": torch.arange(7.0)}
    return Checkpoint(step=step, tensors=tensors, state={"digest": "d", "reports": [step]})


def same(found: Checkpoint | None, expected: Checkpoint) -> bool:
    return (
        found is not None
        and (found.step, found.state) == (expected.step, expected.state)
        and all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.tensors.items())
    )


def name_of(store: ObjectStore, step: int, file: str) -> str:
    (name,) = [one for one in store.objects(f"step-{step:08d}") if one.endswith(file)]
    return name


def test_a_checkpoint_comes_back_and_the_newest_two_are_kept(store, folder):
    assert load_newest(folder) is None
    for step in (1, 2, 9, 10):
        assert save_checkpoint(folder, made(step)) == folder / f"step-{step:08d}"
    assert same(load_newest(folder), made(10))
    root = "trialwright/checkpoints/search/sgd/p000"
    assert set(store.objects()) == {
        f"{root}/step-{step:08d}/{file}" for step in (9, 10) for file in (TENSORS_FILE, STATE_FILE)
    }


def test_the_state_is_written_last_so_that_a_checkpoint_is_complete_or_absent(store, folder, monkeypatch):
    save_checkpoint(folder, made(1))
    real = StoreFolder._put

    def dies_at_the_state(self: StoreFolder, name: str, content: bytes) -> None:
        if name.endswith(STATE_FILE):
            raise KeyboardInterrupt
        real(self, name, content)

    monkeypatch.setattr(StoreFolder, "_put", dies_at_the_state)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, made(2))
    assert [one.rpartition("/")[2] for one in store.objects("step-00000002")] == [TENSORS_FILE]
    assert same(load_newest(folder), made(1))


@pytest.mark.parametrize("file", [TENSORS_FILE, STATE_FILE])
@pytest.mark.parametrize("num_bytes", [0, 10, 200])
def test_an_object_that_was_cut_short_falls_back_to_the_one_before(store, folder, file, num_bytes):
    save_checkpoint(folder, made(1))
    save_checkpoint(folder, made(2))
    store.cut(name_of(store, 2, file), num_bytes)
    assert same(load_newest(folder), made(1))


@pytest.mark.parametrize("file", [TENSORS_FILE, STATE_FILE])
def test_a_missing_object_falls_back_to_the_one_before(store, folder, file):
    save_checkpoint(folder, made(1))
    save_checkpoint(folder, made(2))
    store.delete(name_of(store, 2, file))
    assert same(load_newest(folder), made(1))
    save_checkpoint(folder, made(2))
    assert same(load_newest(folder), made(2))


def test_a_store_that_is_away_for_a_while_is_waited_for(store, folder):
    save_checkpoint(folder, made(1))
    with store.away():
        writer = threading.Thread(target=save_checkpoint, args=(folder, made(2)))
        reader: list[Checkpoint | None] = []
        reading = threading.Thread(target=lambda: reader.append(load_newest(folder)))
        writer.start()
        reading.start()
        writer.join(1.0)
        assert writer.is_alive()
        assert reading.is_alive()
    writer.join(30)
    reading.join(30)
    assert reader[0] is not None  # a store that is away has not lost its checkpoints
    assert same(load_newest(folder), made(2))


def test_a_store_that_stays_away_can_be_tried_again_later(store, folder, monkeypatch):
    save_checkpoint(folder, made(1))
    monkeypatch.setattr(places, "PATIENCE_S", 1.0)
    with store.away():
        for ask in (lambda: save_checkpoint(folder, made(2)), lambda: load_newest(folder)):
            with pytest.raises(
                StoreAwayError, match=r"'s3://bucket-\w+/.*' could not be .* for 1 s \(.*\): bring"
            ) as caught:
                ask()
            assert isinstance(caught.value, RetryableError)
            assert "s3cret" not in str(caught.value)
        folder.remove()  # what is left over only takes room
    assert same(load_newest(folder), made(1))
    folder.remove()
    assert load_newest(folder) is None


def test_a_store_is_checked_before_anything_is_started(store, monkeypatch):
    parse_store(store.url).check()
    assert store.objects() == {}
    with pytest.raises(
        SpecError, match=r"'s3://no-such-bucket/x' cannot be used .*: check TRIALWRIGHT_STORE"
    ):
        parse_store("s3://no-such-bucket/x").check()
    with store.away(), pytest.raises(SpecError, match="cannot be used"):
        parse_store(store.url).check()
    places._filesystem.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SpecError, match="cannot be used"):
        parse_store(store.url).check()


def test_urls():
    assert parse_store("s3://bucket").path == "bucket"
    assert str(parse_store("s3://bucket/a//b/") / "c") == "s3://bucket/a/b/c"
    for wrong in ("bucket", "http://bucket/x", "s3://", "s3:///x", "s3://bucket/x?versionId=1"):
        with pytest.raises(SpecError, match="must be of the form s3://bucket/prefix"):
            parse_store(wrong)
    with pytest.raises(SpecError, match=r"is no URL: write it as s3://bucket/prefix\."):
        parse_store("s3://[bucket")
    with pytest.raises(SpecError, match="holds credentials") as caught:
        parse_store("s3://key:hidden@bucket/x")
    assert "hidden" not in str(caught.value)


def test_a_path_is_a_folder_here_and_a_url_one_there(tmp_path):
    assert place_at(folder_at(str(tmp_path))) == LocalPlace(tmp_path)
    assert place_at(folder_at("s3://bucket/x")) == StoreFolder("bucket/x")


TOLD = {
    "AWS_ACCESS_KEY_ID": "driver",
    "AWS_SECRET_ACCESS_KEY": "of the driver",
    "AWS_ENDPOINT_URL": "http://store:9000",
    "AWS_REGION": "here",
}


def test_a_node_without_credentials_takes_the_drivers():
    assert own_settings(TOLD | {"HOME": "/root", "AWS_SESSION_TOKEN": ""}) == TOLD
    mine: dict[str, str] = {"HOME": "/root"}
    adopt_settings(TOLD, mine)
    assert mine == TOLD | {"HOME": "/root"}


@pytest.mark.parametrize("own", ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_a_nodes_own_credentials_come_first_and_are_never_mixed(own):
    mine = {own: "the node's", "AWS_REGION": "there"}
    adopt_settings(TOLD, mine)
    assert mine == {own: "the node's", "AWS_REGION": "there", "AWS_ENDPOINT_URL": "http://store:9000"}
