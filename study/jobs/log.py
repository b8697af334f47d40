"""A job's log, line by line as it is written.

The whole log is fetched again and again, the rarer the longer it is. A driver writes a line every twenty seconds, so
that a day's log is well under a megabyte; and a question that stands alone survives whatever happens between two of
them: a laptop that sleeps, a dashboard that is restarted, a proxy that ends what takes long.
"""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from search_spaces.errors import RetryableError
from study.jobs import submission
from study.jobs.address import dashboard_url
from study.jobs.dashboard import NoAnswerError, ask

PATIENCE_S = 300.0
"""How long a cluster may be away before following ends."""
_PAUSE_S = (1.0, 15.0)
_CHARS_PER_SECOND = 200_000

Answer = TypeVar("Answer")


def follow(
    address: str,
    job_id: str,
    *,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """The lines of a job's log from the first to the last, without their ends; waits for those to come.

    Args:
        address: of the cluster's dashboard, or `ray://…`.
        job_id: the job.
        patience_s: seconds for which the cluster may be away at a time.
        clock: gives seconds.
        sleep: waits for seconds.

    Raises:
        SpecError: there is no such job.
        RetryableError: the cluster was away for longer.
    """
    url, seen = dashboard_url(address), 0

    def patiently(question: Callable[[], Answer]) -> Answer:
        give_up_at = clock() + patience_s
        while True:
            try:
                return question()
            except NoAnswerError as error:
                if clock() > give_up_at:
                    raise RetryableError(str(error)) from None
                sleep(_PAUSE_S[0])

    while True:
        # Whether it is over is asked first: then the log that is read afterwards is whole.
        is_over = patiently(lambda: submission.state(address, job_id).is_over)
        log = patiently(lambda: str(ask(url, "GET", f"/api/jobs/{job_id}/logs")["logs"]))
        end = len(log) if is_over else log.rfind("\n") + 1
        if end > seen:
            yield from log[seen:end].removesuffix("\n").split("\n")
            seen = end
        if is_over:
            return
        sleep(min(_PAUSE_S[1], max(_PAUSE_S[0], len(log) / _CHARS_PER_SECOND)))
