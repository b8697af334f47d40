"""A log is read whole, once, whatever happens in between."""

from collections.abc import Callable, Iterable

import pytest

from search_spaces.errors import RetryableError, SpecError
from study import jobs


class Clock:
    """Time that passes by waiting; at each wait the next thing happens."""

    def __init__(self, *happenings: Callable[[], object]) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self._happenings = list(happenings)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)
        if self._happenings:
            self._happenings.pop(0)()


def followed(dashboard, clock, patience_s: float = 300.0) -> Iterable[str]:
    return jobs.follow(dashboard.url, "one", patience_s=patience_s, clock=clock, sleep=clock.sleep)


def test_lines_come_once_and_whole(dashboard):
    dashboard.add("one", "RUNNING")

    def write(text: str, status: str = "RUNNING"):
        def act():
            dashboard.logs["one"] = dashboard.logs.get("one", "") + text
            dashboard.jobs["one"]["status"] = status

        return act

    clock = Clock(write("a\nb"), write(""), write("c\n\n"), write("end", "SUCCEEDED"))
    assert list(followed(dashboard, clock)) == ["a", "bc", "", "end"]


@pytest.mark.parametrize(("log", "expected"), [("", []), ("\n", [""]), ("a", ["a"]), ("a\n", ["a"])])
def test_a_log_that_is_complete_is_read_at_once(dashboard, log, expected):
    dashboard.add("one", "FAILED")
    dashboard.logs["one"] = log
    assert list(followed(dashboard, Clock())) == expected


def test_an_outage_is_waited_for(dashboard):
    dashboard.add("one", "RUNNING")
    dashboard.logs["one"] = "before\n"

    def fall() -> None:
        dashboard.answer = lambda *_: (503, "away")

    def come_back() -> None:
        dashboard.answer = None
        dashboard.logs["one"] += "after\n"
        dashboard.jobs["one"]["status"] = "SUCCEEDED"

    clock = Clock(fall, *[lambda: None] * 20, come_back)
    assert list(followed(dashboard, clock)) == ["before", "after"]


def test_an_outage_that_lasts_is_told(dashboard):
    dashboard.add("one", "RUNNING")

    def fall() -> None:
        dashboard.answer = lambda *_: (503, "away")

    clock = Clock(fall)
    with pytest.raises(RetryableError, match="could not answer"):
        list(followed(dashboard, clock, patience_s=30.0))
    assert 30 <= clock.now < 35


def test_a_long_log_is_asked_for_more_rarely(dashboard):
    dashboard.add("one", "RUNNING")

    def end() -> None:
        dashboard.jobs["one"]["status"] = "SUCCEEDED"

    dashboard.logs["one"] = "x" * 999_999 + "\n"
    clock = Clock(end)
    list(followed(dashboard, clock))
    assert clock.waits == [5.0]


def test_a_job_that_is_not_there_is_told(dashboard):
    with pytest.raises(SpecError, match="Job one does not exist"):
        list(followed(dashboard, Clock()))
