"""What a worker prepares once and uses for every trial: the frozen base, the encoded text, the base's own scores."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from trainers.foundation import Foundation, check_target_modules, load_foundation
from trainers.objective import Evaluation, evaluate
from trainers.tasks import EncodedSplits, Row, encode_splits, load_splits
from trainers.workload import Workload

HeldOut = Literal["select", "report"]
"""The splits that no trial trains on."""


@dataclass(kw_only=True)
class Workbench:
    """One process's copy of all that the trials of a study share."""

    workload: Workload
    foundation: Foundation
    data: EncodedSplits
    report_rows: tuple[Row, ...]
    """The report split as text, for scores on text that was disturbed."""
    base_scores: dict[HeldOut, Evaluation] = field(default_factory=dict)
    """Scores of the bare base, filled when first asked for."""

    def score_base(self, split: HeldOut) -> Evaluation:
        """Scores of the bare base, where every causal trial begins: a fresh adapter adds exactly nothing."""
        if split not in self.base_scores:
            examples = getattr(self.data, split)
            self.base_scores[split] = evaluate(
                self.foundation.model, examples, self.foundation, scoring=self.workload.task.scoring
            )
        return self.base_scores[split]


def open_workbench(
    workload: Workload, parts_dir: Path, cache_dir: Path, device: torch.device | str
) -> Workbench:
    """Load the base and the encoded text of a workload.

    Args:
        workload: what to prepare.
        parts_dir: where packaged models and texts lie, fetched beforehand.
        cache_dir: where encoded text, and the weights of a base on the CPU, are kept for all processes.
        device: where the base goes.

    Raises:
        SpecError: the base or the text is not what the workload says.
        RetryableError: a part could not be fetched.
    """
    splits = load_splits(workload.task, parts_dir)
    num_labels = len(splits.labels) if splits.labels else None
    foundation = load_foundation(workload.base, parts_dir, device, num_labels=num_labels, cache_dir=cache_dir)
    check_target_modules(foundation, workload.adapter.target_modules)
    if workload.training.gradient_checkpointing:
        foundation.model.gradient_checkpointing_enable({"use_reentrant": False})
        foundation.model.enable_input_require_grads()
    data = encode_splits(
        splits,
        foundation.tokenizer,
        kind=foundation.kind,
        max_tokens=workload.task.max_tokens,
        tokenizer_digest=foundation.tokenizer_digest,
        cache_dir=cache_dir,
    )
    return Workbench(workload=workload, foundation=foundation, data=data, report_rows=splits.report)
