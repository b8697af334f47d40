"""Several calls at once that nothing waits for when the process ends."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(call: Callable[[Item], Result], items: Sequence[Item], most: int) -> Iterator[Result]:
    """What a function gives for each item, in their order, as `map` does.

    After a call that raises, none begins, and those under way are waited for before its error is raised. The threads
    are daemons: the process may end while a call hangs, whereas it would wait for an executor's.

    Args:
        call: safe from several threads at once.
        items: its arguments; calls begin in their order.
        most: calls at once.
    """
    waiting = deque((item, Future[Result]()) for item in items)
    futures = [future for _, future in waiting]

    def work() -> None:
        while True:
            try:
                item, future = waiting.popleft()
            except IndexError:
                return
            try:
                future.set_result(call(item))
            except BaseException as error:  # noqa: BLE001 (raised where its result is awaited)
                waiting.clear()
                future.set_exception(error)

    name = threading.current_thread().name
    threads = [threading.Thread(target=work, name=name, daemon=True) for _ in range(min(most, len(futures)))]
    for thread in threads:
        thread.start()
    try:
        for future in futures:
            yield future.result()
    finally:
        waiting.clear()
        for thread in threads:
            thread.join()
