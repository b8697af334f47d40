"""Trials that claims pair at transformed hyperparameters, as a spec keeps them."""

from collections.abc import Mapping
from typing import Literal

from search_spaces import Param
from trainers.workload import Section

Limits = tuple[float | None, float | None]
"""Least and largest value, both included; None: no limit."""


class Matched(Section):
    """Trials of family b at hyperparameters that follow from family a's, laid out for one claim."""

    claim: str
    """Id of the claim, which names the slice of these trials."""
    phase: Literal["sensitivity", "confirmation"]
    """Whose trials of a are paired: the space design's, or the tuned configuration's."""
    a: str
    b: str
    at: dict[str, str]
    """From each hyperparameter of b that differs to its formula."""
    where: tuple[dict[str, Limits], ...] = ()
    """Points of a that are paired: those within all limits of any entry; empty: every point."""

    def covers(self, params: Mapping[str, Param]) -> bool:
        """Whether a point of family a has its pair."""
        return not self.where or any(
            all(_within(params.get(role), limits) for role, limits in entry.items()) for entry in self.where
        )


def _within(value: Param | None, limits: Limits) -> bool:
    if value is None or isinstance(value, str):
        return False
    low, high = limits
    return (low is None or value >= low) and (high is None or value <= high)
