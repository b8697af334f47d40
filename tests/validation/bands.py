"""What a cell of the validation finds: a simulated rate beside the band in which it must lie."""

from dataclasses import dataclass
from math import sqrt

FAST_SIGMAS, LONG_SIGMAS = 4.0, 3.0
"""Width of a band in binomial standard deviations, in the tests and in the long run."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of simulated studies, or another figure, with the band that it must keep."""

    cell: str
    """V1, V2, …"""
    scenario: str
    what: str
    observed: float
    low: float
    high: float
    num: int
    """Simulated studies."""
    n: int = 0
    """Units in each, where that varies."""
    note: str = ""
    """Why the band is what it is, where it is not the binomial one."""

    @property
    def passed(self) -> bool:
        """Whether the figure is in its band."""
        return self.low <= self.observed <= self.high

    def __str__(self) -> str:
        """One line."""
        n = f", n = {self.n}" if self.n else ""
        verdict = "" if self.passed else "  MISSED"
        name = f"{self.cell} {self.scenario}: {self.what}{n}"
        return f"{name}: {self.observed:.4f} in [{self.low:.4f}, {self.high:.4f}]{verdict}"


def around(nominal: float, num: int, sigmas: float) -> tuple[float, float]:
    """The band of a simulated rate whose true value is `nominal`."""
    half = sigmas * sqrt(nominal * (1 - nominal) / num)
    return max(0.0, nominal - half), min(1.0, nominal + half)


def at_most(nominal: float, num: int, sigmas: float) -> tuple[float, float]:
    """The band of a simulated rate whose true value is `nominal` or less."""
    return 0.0, around(nominal, num, sigmas)[1]


def at_least(nominal: float, num: int, sigmas: float) -> tuple[float, float]:
    """The band of a simulated rate whose true value is `nominal` or more."""
    return around(nominal, num, sigmas)[0], 1.0
