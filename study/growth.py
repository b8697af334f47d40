"""The nodes that a cluster may come to have, as whoever runs it says.

Ray tells drivers of the nodes that live, and never of those that its autoscaler could add.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from search_spaces.errors import SpecError

GROWTH_VARIABLE = "TRIALWRIGHT_MAY_GROW_TO"
"""Of the driver's environment, which a job has from its cluster's head."""


class _Group(BaseModel):
    """Nodes of one kind, by Ray's names of what they have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    nodes: Annotated[int, Field(ge=1, le=100_000)]
    """As many as there may be at once."""
    CPU: Annotated[int, Field(ge=1)]
    GPU: Annotated[int, Field(ge=0)] = 0


_GROUPS = TypeAdapter(list[_Group])


def nodes_to_come() -> Sequence[Mapping[str, float]]:
    """CPUs and GPUs of every node that the cluster may have once it has grown; none where nothing is said of it.

    Raises:
        SpecError: the variable is not a list of groups.
    """
    written = os.environ.get(GROWTH_VARIABLE, "").strip()
    if not written:
        return ()
    try:
        groups = _GROUPS.validate_json(written)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SpecError(
            f"{GROWTH_VARIABLE} is {written!r} ({f'{place}: ' if place else ''}{first['msg']}): write a group of like "
            'nodes as {"nodes": 8, "CPU": 4, "GPU": 1}, and the groups as a list in brackets.'
        ) from None
    return [{"CPU": group.CPU, "GPU": group.GPU} for group in groups for _ in range(group.nodes)]
