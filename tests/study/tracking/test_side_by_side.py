"""Calls side by side: in order, few at once, and nothing begun after one that failed."""

import subprocess
import sys
import threading
import time

import pytest

from study.tracking.side_by_side import side_by_side

HANGS = """
import threading, time
from study.tracking.side_by_side import side_by_side
calls = lambda: list(side_by_side(lambda _: time.sleep(600), [1, 2], 2))
threading.Thread(target=calls, daemon=True).start()
time.sleep(0.2)
"""


def test_results_come_in_the_order_of_the_items():
    assert list(side_by_side(lambda wait: time.sleep(wait) or wait, [0.05, 0.0, 0.02], 3)) == [
        0.05,
        0.0,
        0.02,
    ]
    assert list(side_by_side(abs, [], 3)) == []


@pytest.mark.parametrize("most", [1, 3])
def test_so_many_are_under_way_at_once(most: int):
    lock, now, seen = threading.Lock(), 0, []

    def call(_: int) -> None:
        nonlocal now
        with lock:
            now += 1
            seen.append(now)
        time.sleep(0.02)
        with lock:
            now -= 1

    list(side_by_side(call, range(12), most))
    assert len(seen) == 12
    assert max(seen) == most


def test_none_begins_after_one_that_failed_and_those_under_way_end_first():
    begun, ended = [], []

    def call(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise KeyError("planted")
        time.sleep(0.2)
        ended.append(number)
        return number

    results = side_by_side(call, range(100), 3)
    with pytest.raises(KeyError, match="planted"):
        list(results)
    assert sorted(begun) == [0, 1, 2]
    assert sorted(ended) == [0, 1]


def test_the_process_ends_while_calls_hang():
    subprocess.run([sys.executable, "-c", HANGS], check=True, timeout=300)
