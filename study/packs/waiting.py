"""Why no pack has started yet, in a sentence: what each takes, what the cluster has free, and who holds the rest."""

from collections.abc import Mapping, Sequence

import ray

from study.cluster import Packs

MOST_NAMES = 5
"""Actors that are named."""


def why_no_pack(packs: Packs, own: Sequence[str]) -> str:
    """As Ray tells it at this moment.

    Args:
        packs: what each takes.
        own: Ray's names of this launch's packs.
    """
    named = ray.util.list_named_actors(all_namespaces=True)
    return waiting_sentence(
        packs,
        total=ray.cluster_resources(),
        free=ray.available_resources(),
        holders=sorted({one["name"] for one in named} - set(own)),
    )


def waiting_sentence(
    packs: Packs, *, total: Mapping[str, float], free: Mapping[str, float], holders: Sequence[str]
) -> str:
    """What a launch waits for.

    Args:
        packs: what each takes.
        total: CPUs and GPUs of the cluster, by Ray's names.
        free: those that nothing holds.
        holders: names of other actors.
    """
    takes = [(packs.cpus, "CPU"), (packs.gpus, "GPU")]
    asked = " and ".join(f"{number} {kind}s" for number, kind in takes)
    left = " and ".join(f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s" for _, kind in takes)
    told = f"No pack has started yet: each takes {asked}, and the cluster has {left} free"
    if all(free.get(kind, 0) >= number for number, kind in takes):
        return (
            f"{told}: wait until Ray has started a process, or a node with so much free by itself has joined."
        )
    others = ", ".join(holders[:MOST_NAMES]) + (", …" if len(holders) > MOST_NAMES else "")
    held = f" (there are the actors {others})" if holders else ""
    return f"{told}{held}: end what holds the rest, or wait until there is room, or the cluster grows."
