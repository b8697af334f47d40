"""What Ray Tune sees of a trial: a thin client of the pack that trains it. It loads no torch."""

from typing import Any

import ray
from ray import tune

from search_spaces.errors import RetryableError

CLIENT_BYTES = 200 * 2**20
"""Memory of a client's process, nearly all of it Ray's own modules."""
ANSWER_S = 30.0
"""How long a client waits for an answer. Calls to a pack that Ray cannot place again would wait for ever."""


class PackClient(tune.Trainable):
    """A Tune trainable whose every step fetches what is new of a trial.

    It takes its lane at the first step and not at its set-up, since Ray Tune may set a trial up in two processes and
    then use one of them. Lanes are given back by the driver, which hears of every end, a killed client's too.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:  # noqa: ARG003
        """What Ray sets aside for a client: no CPU, since packs have those."""
        return tune.PlacementGroupFactory([{"CPU": 0, "memory": CLIENT_BYTES}])

    def setup(self, config: dict[str, Any]) -> None:
        """Take up a trial.

        Args:
            config: the name of its `pack`, the `instance` that was ready, its `ticket` there, and the `trial` as
                `PackActor.seat` takes it.
        """
        self._is_seated = False
        self._take(config)

    def step(self) -> dict[str, Any]:
        """Report what is new: everything so far after a restoration, else one more evaluation."""
        if not self._is_seated:
            self._is_seated = True
            self._answer(self._pack.seat.remote(self._ticket, self._trial, self._instance))
        news: dict[str, Any] = {}
        while not news:
            news = self._answer(self._pack.next.remote(self._ticket, self._num_sent))
        self._num_sent += len(news["reports"])
        return news

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in the same process."""
        self._take(new_config)
        return True

    def _answer(self, asked: Any) -> Any:
        """What a pack says, which answers every call within seconds whatever it trains."""
        try:
            return ray.get(asked, timeout=ANSWER_S)
        except ray.exceptions.GetTimeoutError:
            raise RetryableError(f"The pack has not answered for {ANSWER_S:g} s.") from None

    def _take(self, config: dict[str, Any]) -> None:
        self._pack = ray.get_actor(config["pack"])
        self._instance: str = config["instance"]
        self._ticket: str = config["ticket"]
        self._trial: dict[str, Any] = config["trial"]
        self._num_sent = 0
        self._is_seated = False
