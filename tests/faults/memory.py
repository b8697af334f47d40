"""Planted lack of memory in the pack that trains: some joint passes do not fit for now, or one trial never does.

A pass fails once it is done, when gradients, stacks and routing figures of it lie everywhere: the worst moment.
"""

import json
import os
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

MEMORY = "TRIALWRIGHT_FAULTS_MEMORY"
"""Variable with a file that holds how many further passes of several lanes do not fit; absent: all of them fit."""
DOOMED = "TRIALWRIGHT_FAULTS_DOOMED"
"""Variable with the trial whose steps do not fit, as `Doomed.to_text` writes it."""


@dataclass(frozen=True, kw_only=True)
class Doomed:
    """A trial that does not fit, however few rows a pass has, unless a rung stops it before."""

    key: str
    step: int
    """Optimizer steps that still fit."""
    trains: bool
    """Whether its steps do not fit from then on, or its evaluations."""

    @classmethod
    def of_study(cls, seed: int, num_trials: int, num_steps: int) -> "Doomed":
        """One of the search's trials, the same for the same study."""
        rng = random.Random(f"doomed {seed}")
        family, point = rng.choice(("adamw", "sgd")), rng.randrange(num_trials)
        key, step = f"search/{family}/p{point:03d}", rng.randrange(num_steps)
        return cls(key=key, step=step, trains=rng.random() < 0.5)

    def to_text(self) -> str:
        """For a driver's environment."""
        return json.dumps(asdict(self))


def plant() -> None:
    """Have the packs of this process heed both variables."""
    from trainers.adapter import AttachedAdapter
    from trainers.joint_model import JointModel
    from trainers.trial import Trial

    doomed = Doomed(**json.loads(os.environ[DOOMED])) if DOOMED in os.environ else None
    trials: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
    real_init = Trial.__init__

    def init(trial: Any, *arguments: Any) -> None:
        real_init(trial, *arguments)
        trials[trial.adapter] = trial

    def is_too_large(adapter: Any, *, trains: bool) -> bool:
        trial = trials[adapter]
        return (
            doomed is not None
            and (trial._setup.key, trains) == (doomed.key, doomed.trains)
            and trial._step >= doomed.step
        )

    Trial.__init__ = init
    for kind, name, trains in (
        (JointModel, "gradients", True),
        (JointModel, "evaluate", False),
        (AttachedAdapter, "evaluate_with_routing", False),
    ):
        setattr(kind, name, _scarce(getattr(kind, name), partial(is_too_large, trains=trains)))


def _scarce(passes: Callable[..., Any], is_too_large: Callable[[Any], bool]) -> Callable[..., Any]:
    """Passes of one adapter, or of several that are the first argument, some of which do not fit."""

    @wraps(passes)
    def tried(self: Any, first: Any, *others: Any) -> Any:
        adapters = first if isinstance(first, list) else [self]
        done = passes(self, first, *others)
        if any(map(is_too_large, adapters)) or (len(adapters) > 1 and _is_short()):
            raise torch.OutOfMemoryError("planted")
        return done

    return tried


def _is_short() -> bool:
    """Whether this pass is one of those that do not fit."""
    path = Path(os.environ.get(MEMORY, ""))
    num_left = int(path.read_text("ascii")) if path.is_file() else 0
    if num_left:
        path.write_text(str(num_left - 1), "ascii")
    return num_left > 0
