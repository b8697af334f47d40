"""A trial waits for its own client while that starts, and no longer; all else is Ray Tune's."""

from types import SimpleNamespace

import pytest
from ray.tune.execution.tune_controller import TuneController

from study.packs.starting_clients import STARTS_WITHIN_S, clients_left_to_start


class Client:
    """What Ray Tune knows of a client."""


@pytest.fixture
def reused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trials that Ray Tune gave an idle client."""
    given: list[str] = []
    monkeypatch.setattr(
        TuneController,
        "_maybe_reuse_cached_actor",
        lambda _, trial: given.append(trial) or trial != "none idle",
    )
    return given


def test_a_trial_whose_client_starts_gets_no_other(reused: list[str]):
    now = 100.0
    controller = SimpleNamespace(_trial_to_actor={"waits": Client(), "waits, too": Client()})

    def reuse(trial: str) -> bool:
        return TuneController._maybe_reuse_cached_actor(controller, trial)

    with clients_left_to_start(lambda: now):
        assert reuse("new")
        assert not reuse("none idle")
        assert not reuse("waits")
        now += STARTS_WITHIN_S - 1
        assert not reuse("waits")
        assert not reuse("waits, too")
        now += 2
        assert reuse("waits")
        assert not reuse("waits, too")
        controller._trial_to_actor["waits"] = Client()
        assert not reuse("waits")
    assert reused == ["new", "none idle", "waits"]
    assert reuse("waits, too")


def test_it_ends_with_the_block_though_that_fails():
    before = TuneController._maybe_reuse_cached_actor
    with pytest.raises(ZeroDivisionError), clients_left_to_start():
        1 / 0  # noqa: B018
    assert TuneController._maybe_reuse_cached_actor is before
