"""Learning-rate schedules as pure functions of the step, so that a resumed trial needs no scheduler state."""

import math

from trainers.workload import Training


def lr_multiplier(training: Training, step: int, num_steps: int) -> float:
    """Fraction of the peak learning rate at an optimizer step.

    The linear decay reaches `final_lr_frac` one step after the last, as in transformers'
    `get_linear_schedule_with_warmup`, so that the last step still moves.

    Args:
        training: gives `schedule`, `warmup` and `final_lr_frac`.
        step: number of optimizer steps already done, from 0.
        num_steps: optimizer steps of the whole trial.
    """
    num_warmup = round(training.warmup * num_steps)
    if step < num_warmup:
        return step / num_warmup
    if training.schedule == "constant":
        return 1.0
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    left = 1.0 - progress if training.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return training.final_lr_frac + (1.0 - training.final_lr_frac) * left
