"""Which pack trains which trials, on which node."""

from dataclasses import dataclass, field

from study.service.pages.reading import Reading


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A trial that trains now."""

    trial: str
    family: str
    done_frac: float
    """Share of its steps that have been measured."""


@dataclass(kw_only=True)
class Pack:
    """One copy of the base and what trains on it."""

    number: int | None
    """Absent where a trial's place was not told."""
    node: str | None = None
    lanes: int | None = None
    """Trials that it can train together; absent where it was not told."""
    state: str = "ready"
    """`ready`, `released` or `lost`."""
    reason: str = ""
    """Why it was released or lost."""
    seats: list[Seat] = field(default_factory=list)

    @property
    def num_free(self) -> int:
        """Lanes without a trial."""
        return max(0, (self.lanes or 0) - len(self.seats))


def packs(reading: Reading) -> tuple[Pack, ...]:
    """The packs of the present driver, by number; nothing where the study does not run."""
    if reading.holder is None:
        return ()
    found: dict[int | None, Pack] = {}
    for event in reading.events:
        number = event.detail.get("pack")
        if event.recorded_at < reading.holder.claimed_at or not isinstance(number, int):
            continue
        if event.kind == "pack_ready":
            found[number] = Pack(
                number=number, node=_text(event.detail.get("node")), lanes=event.detail.get("lanes")
            )
        elif event.kind in {"pack_released", "pack_lost"} and number in found:
            found[number].state = event.kind.removeprefix("pack_")
            found[number].reason = str(event.detail.get("reason", ""))
    for one in reading.trials:
        if one.running and one.record.ending is None:
            pack = found.setdefault(one.pack, Pack(number=one.pack))
            pack.node = pack.node or one.node
            planned = one.record.planned
            pack.seats.append(
                Seat(
                    trial=planned.key,
                    family=planned.family,
                    done_frac=min(1.0, reading.steps_done(one) / max(1, planned.steps)),
                )
            )
    return tuple(sorted(found.values(), key=lambda pack: (pack.number is None, pack.number or 0)))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
