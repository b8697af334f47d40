"""Robustness at inference: a trained adapter scored again while something about it is disturbed.

Nothing is trained, and everything is put back: the weights after a perturbation are those before it, to the bit.
What is random derives by SHA-256 from the trial's seed and the perturbation, never from the worker or the clock.

An evaluation of one disturbed adapter is what packs make in lanes (`trainers.pack`).
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search_spaces.designs import derived_seed
from trainers.adapter import AttachedAdapter
from trainers.moe_lora import moe_lora_layers
from trainers.moe_lora.disturbance import Disturbance, disturbed
from trainers.moe_lora.layer import AdapterSettings
from trainers.objective import Evaluation
from trainers.perturbation_kinds import Perturbation
from trainers.tasks import Example, Row, encode_rows
from trainers.workbench import Workbench


@dataclass(frozen=True, kw_only=True)
class DisturbedEvaluation:
    """One evaluation on the report split of an adapter, of its rows or of both, disturbed."""

    adapter: AttachedAdapter
    perturbation: Perturbation
    seed: int
    """The trial's."""
    disturbance: Disturbance
    """What the perturbation, or this part of it, does to the adapter."""

    @property
    def words_dropped(self) -> tuple[float, int] | None:
        """Probability of each word and seed; None where the rows are as they are."""
        if self.perturbation.kind != "words_dropped":
            return None
        return self.perturbation.amount or 0.0, derived_seed(self.seed, self.perturbation.name)


def perturbed_scores(
    adapter: AttachedAdapter, workbench: Workbench, perturbations: Sequence[Perturbation], *, seed: int
) -> dict[str, float]:
    """Scores on the report split under each perturbation, one evaluation at a time on the adapter itself.

    Args:
        adapter: trained, on the base of `workbench`; left as it was.
        workbench: base and text.
        perturbations: what to disturb, one at a time.
        seed: the trial's seed.

    Returns:
        As `perturbation_metrics`.
    """
    scores: dict[DisturbedEvaluation, Evaluation] = {}
    for one in disturbed_evaluations(adapter, perturbations, seed=seed):
        with disturbed(adapter.model, one.disturbance):
            scores[one] = adapter.evaluate(workbench, examples_of(one, workbench))
    return perturbation_metrics(scores)


def disturbed_evaluations(
    adapter: AttachedAdapter, perturbations: Sequence[Perturbation], *, seed: int
) -> list[DisturbedEvaluation]:
    """The evaluations that perturbations ask for: one of each expert where it is dropped, none of the impossible.

    Args:
        adapter: trained.
        perturbations: what to disturb, one at a time.
        seed: the trial's seed.
    """
    settings = moe_lora_layers(adapter.model)[0].moe_lora_settings["default"]
    return [
        DisturbedEvaluation(adapter=adapter, perturbation=perturbation, seed=seed, disturbance=disturbance)
        for perturbation in perturbations
        for disturbance in _disturbances(perturbation, settings, seed)
    ]


def examples_of(evaluation: DisturbedEvaluation, workbench: Workbench) -> Sequence[Example]:
    """The rows that an evaluation reads; the same for all that are alike in `words_dropped`."""
    if evaluation.words_dropped is None:
        return workbench.data.report
    rows = with_words_dropped(workbench.report_rows, *evaluation.words_dropped)
    base = workbench.foundation
    return encode_rows(rows, base.tokenizer, kind=base.kind, max_tokens=workbench.workload.task.max_tokens)


def perturbation_metrics(scores: Mapping[DisturbedEvaluation, Evaluation]) -> dict[str, float]:
    """What the evaluations of one adapter come to, each perturbation's by their mean.

    Returns:
        `perturbed.<name>.loss` in nats and `perturbed.<name>.accuracy`. A perturbation that is impossible here
        (a top-k of 0, or above the number of experts) is absent, and so is one whose loss is not finite.
    """
    by_name: dict[str, list[Evaluation]] = {}
    for one, score in scores.items():
        by_name.setdefault(one.perturbation.name, []).append(score)
    found: dict[str, float] = {}
    for name, alike in by_name.items():
        if all(math.isfinite(score.loss_nats) for score in alike):
            found[f"perturbed.{name}.loss"] = _mean([score.loss_nats for score in alike])
            found[f"perturbed.{name}.accuracy"] = _mean([score.accuracy for score in alike])
    return found


def with_words_dropped(rows: Sequence[Row], probability: float, seed: int) -> list[Row]:
    """Rows whose prompts lose each word, a run without white space, with a probability; answers are untouched.

    The white space before a word goes with it. A prompt that would lose every word keeps its last.
    """
    generator = np.random.default_rng(seed)
    return [replace(row, prompt=_thinned(row.prompt, probability, generator)) for row in rows]


def _thinned(prompt: str, probability: float, generator: np.random.Generator) -> str:
    words = re.findall(r"\s*\S+", prompt)
    stays = (generator.random(len(words)) >= probability).tolist()
    if all(stays):
        return prompt
    kept = [word for word, stay in zip(words, stays, strict=True) if stay] or words[-1:]
    return "".join(kept).lstrip()


def _disturbances(perturbation: Perturbation, settings: AdapterSettings, seed: int) -> Iterator[Disturbance]:
    """What each evaluation does to the adapter; several where experts are dropped in turn."""
    amount = perturbation.amount or 0.0
    match perturbation.kind:
        case "expert_dropped":
            for expert in range(settings.num_experts):
                yield Disturbance(dropped_expert=expert)
        case "top_k_minus_1" | "top_k_plus_1":
            top_k = settings.top_k + (1 if perturbation.kind == "top_k_plus_1" else -1)
            if 1 <= top_k <= settings.num_experts:
                yield Disturbance(top_k=top_k)
        case "router_noise":
            yield Disturbance(noise=amount, noise_stream=(seed, perturbation.name))
        case "router_temperature":
            yield Disturbance(temperature=amount)
        case "weights_bits":
            yield Disturbance(bits=int(amount))
        case "words_dropped":
            yield Disturbance()


def _mean(figures: Sequence[float]) -> float:
    return math.fsum(figures) / len(figures)
