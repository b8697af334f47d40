"""Numbers as a reader wants them: rounded to what their interval allows, with their unit."""

import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from study.report.estimates import Estimate

THIN, MINUS, TIMES = "\u202f", "\u2212", "\u00d7"
SUPERSCRIPTS = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


def decimals(estimates: Iterable[Estimate | None], *, least: int = 2, most: int = 5) -> int:
    """Decimals that give the narrowest interval of a column two significant digits."""
    halves = [
        (e.interval.high - e.interval.low) / 2
        for e in estimates
        if e is not None and e.interval is not None and e.interval.high > e.interval.low
    ]
    if not halves:
        return 4 if least <= 4 <= most else most  # noqa: PLR2004 - four decimals of a nat without a spread
    return max(least, min(most, 1 - math.floor(math.log10(min(halves)))))


def number(value: float | None, places: int = 4) -> str:
    """A number with fixed decimals and a real minus sign; a dash where it is absent."""
    if value is None or not math.isfinite(value):
        return "\u2013"
    return f"{value:.{places}f}".replace("-", MINUS)


def interval(estimate: Estimate | None, places: int) -> str:
    """`[low, high]`, or a dash where there is none."""
    if estimate is None or estimate.interval is None:
        return "\u2013"
    return f"[{number(estimate.interval.low, places)}, {number(estimate.interval.high, places)}]"


def percent(value: float | None, places: int = 1) -> str:
    """A fraction in percent."""
    return "\u2013" if value is None else f"{100 * value:.{places}f}{THIN}%"


def percent_interval(estimate: Estimate | None, places: int = 1) -> str:
    """An interval of a fraction, in percent without the sign."""
    if estimate is None or estimate.interval is None:
        return "\u2013"
    return f"[{100 * estimate.interval.low:.{places}f}, {100 * estimate.interval.high:.{places}f}]"


def param(value: Any) -> str:
    """A hyperparameter: integers plain, small and large numbers with a power of ten."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or value == 0:
        return f"{int(value):,}"
    exponent = math.floor(math.log10(abs(value)))
    if -3 < exponent < 4:  # noqa: PLR2004 - readable without a power
        return f"{value:.3g}".replace("-", MINUS)
    factor = f"{value / 10**exponent:.2f}".rstrip("0").rstrip(".").replace("-", MINUS)
    power = "10" + str(exponent).translate(SUPERSCRIPTS)
    return power if factor == "1" else f"{factor}{THIN}{TIMES}{THIN}{power}"


def dimension(declared: Any) -> str:
    """A dimension of a space in words, from the form that a study file has."""
    if declared is None:
        return "not declared"
    if isinstance(declared, Mapping):
        for key, word in (("log", "log-uniform"), ("linear", "uniform"), ("int", "integers")):
            if key in declared:
                low, high = declared[key]
                return f"{word} {param(low)} to {param(high)}"
        if "choices" in declared:
            limit = declared.get("at_most")
            return (
                "{"
                + ", ".join(param(v) for v in declared["choices"])
                + "}"
                + (f" \u2264 {limit}" if limit else "")
            )
        return json.dumps(dict(declared), sort_keys=True)
    if isinstance(declared, list | tuple):
        return "{" + ", ".join(param(v) for v in declared) + "}"
    return f"fixed at {param(declared)}"


def duration(seconds: float) -> str:
    """A span of time in its largest sensible unit."""
    minute, hour = 60, 3600
    if seconds < 2 * minute:
        return f"{seconds:.1f}{THIN}s"
    if seconds < 2 * hour:
        return f"{seconds / minute:.1f}{THIN}min"
    return f"{seconds / hour:.1f}{THIN}h"


def moment(value: Any) -> str:
    """A time in UTC from Unix seconds; anything else as it is written."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return dt.datetime.fromtimestamp(value, tz=dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return str(value)


def fact(name: str, value: Any) -> str:
    """A named figure of the manifest; a name that ends in `_bytes` tells the unit."""
    if name.endswith("_bytes") and isinstance(value, int | float):
        return f"{value / 1e9:,.1f}{THIN}GB"
    return compact(value)


def label(name: str) -> str:
    """A name of the manifest as a reader's word."""
    return name.removesuffix("_bytes").replace("_", " ")


def has_digests(values: Mapping[str, Any]) -> bool:
    """Whether a value is too long to share its line with another."""
    return any(len(str(value)) > 32 for value in values.values())  # noqa: PLR2004 - half a SHA-256


def compact(value: Any) -> str:
    """Any small piece of data on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {compact(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(compact(item) for item in value)
    return str(value)
