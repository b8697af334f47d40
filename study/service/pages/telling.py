"""Times, names and marks as a page tells them; what the report tells alike is taken from there."""

import datetime as dt

from study.report.figures.style import MARKS, Mark, mark
from study.report.words import THIN
from study.service.pages.scales import SUPERSCRIPTS

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
LONGEST_REASON = 160


def look(family: str) -> Mark:
    """How a family is drawn, as in the report; those that it does not know, such as variants, share a spare mark."""
    return MARKS[family] if family in MARKS else mark(family, (family,))


def ago(seconds: float, now: float) -> str:
    """How long ago a Unix time was, in a unit coarse enough to stay true for a while."""
    past_s = max(0.0, now - seconds)
    if past_s < MINUTE_S:
        return "just now"
    if past_s < HOUR_S:
        return f"{past_s // MINUTE_S:.0f}{THIN}min ago"
    if past_s < DAY_S:
        return f"{past_s // HOUR_S:.0f}{THIN}h ago"
    return _utc(seconds).strftime("%Y-%m-%d")


def rough(seconds: float) -> str:
    """A span that is only judged: in minutes or hours, rounded up."""
    if seconds < MINUTE_S:
        return "a minute"
    if seconds < 2 * HOUR_S:
        return f"{-(-seconds // MINUTE_S):.0f}{THIN}min"
    return f"{seconds / HOUR_S:.0f}{THIN}h"


def clock(seconds: float) -> str:
    """A Unix time of today."""
    return _utc(seconds).strftime("%H:%M:%S UTC")


def iso(seconds: float) -> str:
    """A Unix time for machines."""
    return _utc(seconds).isoformat(timespec="seconds")


def decade(power: int) -> str:
    """A power of ten."""
    return "10" + str(power).translate(SUPERSCRIPTS)


def last_part(key: str) -> str:
    """The part of a trial's key that tells it from others of its family and phase."""
    return key.rpartition("/")[2]


def short(text: str) -> str:
    """A text that fits a cell."""
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def _utc(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
