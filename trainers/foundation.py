"""Load a frozen base: `pypi:` (a packaged model), `hf:` (the hub) or `path:` (a local folder).

The base is frozen and deterministic: no parameter asks for a gradient and every dropout of its own is zero,
so that the adapter's dropout is all that is random in training. An encoder gets a classification head in
float32, which trains beside the adapter.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from search_spaces.errors import RetryableError, SpecError, TrialwrightError, cut
from trainers.model_folder import (
    MODEL_FILES,
    TOKENIZER_FILES,
    Kind,
    check_base,
    check_folder,
    check_targets,
    files_digest,
    parse_source,
)
from trainers.parts import fetch_part
from trainers.shared_weights import share_weights
from trainers.workload import Base

__all__ = ["Foundation", "check_base", "check_target_modules", "load_foundation", "locate_base"]

HEAD_SEED = 0
"""Seed of a head as it is loaded; a trial draws its own."""


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """A frozen base and its tokenizer."""

    name: str
    """As the study file writes it."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    kind: Kind
    digest: str
    """SHA-256 over the files of weights, configuration and tokenizer."""
    tokenizer_digest: str
    """SHA-256 over the tokenizer's files alone."""
    folder: Path
    """Where the files lie on this machine."""
    head_modules: tuple[str, ...]
    """Modules of an encoder that are new and must be trained; empty for a causal model."""

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return torch.device(self.model.device)

    @property
    def num_parameters(self) -> int:
        """Parameters of the base, the head included."""
        return int(self.model.num_parameters())

    @property
    def pad_id(self) -> int:
        """Token that fills a batch's shorter rows; masked everywhere."""
        return _token_id(self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)

    @property
    def eos_id(self) -> int:
        """Token that ends an answer (a causal model's only)."""
        return _token_id(self.tokenizer.eos_token_id, self.tokenizer.sep_token_id, self.pad_id)


def locate_base(base: Base, parts_dir: Path, report: Callable[[str], None] = lambda _: None) -> Path:
    """The local folder of a base, fetched first where it must be.

    Raises:
        SpecError: there is no such model.
        RetryableError: it could not be fetched.
    """
    source = parse_source(base)
    if source.scheme == "pypi":
        return fetch_part(source.address, parts_dir, report)
    if source.scheme == "path":
        return Path(source.address).expanduser()
    return _hub_folder(source.address, base.revision)


def load_foundation(
    base: Base,
    parts_dir: Path,
    device: torch.device | str = "cpu",
    *,
    num_labels: int | None = None,
    cache_dir: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Foundation:
    """Load a base, frozen, in evaluation mode.

    Args:
        base: the study's base section.
        parts_dir: where packaged models are cached.
        device: where the weights go.
        num_labels: classes of an encoder's head; a causal model has none.
        cache_dir: where a base on the CPU is kept once for all processes of the machine; None: each has its own.
        report: receives the progress of a download.

    Raises:
        SpecError: no such model, an encoder without labels, or quantisation that is not installed.
        RetryableError: the model could not be fetched.
    """
    check_base(base, parts_dir)
    folder = locate_base(base, parts_dir, report)
    kind = check_folder(folder, base.model)
    if kind == "encoder" and num_labels is None:
        raise SpecError(
            f"Base model {base.model!r} is an encoder, which needs a task with fixed options: "
            "choose such a task or a causal language model."
        )
    with _whole_files(base):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, missing = _load_model(base, folder, kind, torch.device(device), num_labels)
    model.requires_grad_(requires_grad=False)
    heads = _prepare_heads(model, missing) if kind == "encoder" else ()
    digest = files_digest(folder, (*MODEL_FILES, *TOKENIZER_FILES))
    if cache_dir is not None and base.quantization == "none":
        share_weights(model, cache_dir, base_digest=digest, private=heads)
    return Foundation(
        name=base.model,
        model=model.eval(),
        tokenizer=tokenizer,
        kind=kind,
        digest=digest,
        tokenizer_digest=files_digest(folder, TOKENIZER_FILES),
        folder=folder,
        head_modules=heads,
    )


def check_target_modules(foundation: Foundation, target_modules: tuple[str, ...]) -> None:
    """Each target must name linear layers of the loaded base.

    Raises:
        SpecError: naming the target and the layers that there are.
    """
    names = [
        name
        for name, module in foundation.model.named_modules()
        if isinstance(module, nn.Linear) and not _is_head(name, foundation.head_modules)
    ]
    check_targets(names, target_modules, foundation.name)


def _load_model(
    base: Base, folder: Path, kind: Kind, device: torch.device, num_labels: int | None
) -> tuple[PreTrainedModel, list[str]]:
    """The model and the names of the weights that its files lack."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    _silence_dropout(config)
    if kind == "encoder":
        config.num_labels = num_labels
    loader = AutoModelForCausalLM if kind == "causal" else AutoModelForSequenceClassification
    options: dict[str, Any] = {"dtype": getattr(torch, base.dtype)}
    if base.quantization == "nf4":
        options |= {"quantization_config": _nf4(base), "device_map": {"": device}}
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(HEAD_SEED)
        model, info = loader.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    if base.quantization == "none":
        model = model.to(device)
    return model, sorted(info["missing_keys"])


@contextmanager
def _whole_files(base: Base) -> Iterator[None]:
    """One sentence for damaged files, whatever transformers and tokenizers make of them.

    Raises:
        SpecError: something in the folder cannot be loaded.
    """
    try:
        yield
    except (TrialwrightError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        cause = cut(" ".join(str(error).split()) or type(error).__name__).rstrip(".")
        raise SpecError(
            f"Base model {base.model!r} cannot be loaded ({cause}): save it again by save_pretrained, or fetch it anew."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar, and no report of the head's missing weights, while a model loads."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _nf4(base: Base) -> Any:
    """Four bits with double quantisation, computing in the base's type."""
    if find_spec("bitsandbytes") is None:
        raise SpecError(
            "base.quantization nf4 needs bitsandbytes, which is not installed: "
            "install trialwright[quantized], or write quantization: none."
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, base.dtype),
    )


def _silence_dropout(config: Any) -> None:
    """Set every dropout probability of a configuration to zero."""
    for key, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in key or key.endswith("pdrop")):
            setattr(config, key, 0.0)


def _prepare_heads(model: PreTrainedModel, missing: list[str]) -> tuple[str, ...]:
    """Names of an encoder's new modules, put in float32 behind a cast of their inputs.

    New are the modules beside the encoder itself, and any inside it (a pooler) that the files lack.
    """
    body = model.base_model_prefix
    heads = {name for name, module in model.named_children() if name != body and list(module.parameters())}
    inside = [key.rpartition(".")[0] for key in missing if key.split(".")[0] not in heads]
    heads |= {name.removeprefix(f"{body}.").split(".")[0] for name in inside if name}
    for name, module in model.named_modules():
        if name.split(".")[-1] in heads:
            module.float()
            module.register_forward_pre_hook(_cast_to_weights)
    return tuple(sorted(heads))


def _cast_to_weights(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cast floating-point inputs to the type of the module's weights."""
    dtype = next(module.parameters()).dtype
    return tuple(
        item.to(dtype) if isinstance(item, Tensor) and item.is_floating_point() else item for item in inputs
    )


def _is_head(name: str, heads: tuple[str, ...]) -> bool:
    return any(piece in heads for piece in name.split("."))


def _token_id(*candidates: int | list[int] | None) -> int:
    """The first candidate that is there."""
    for candidate in candidates:
        if isinstance(candidate, int):
            return candidate
    raise SpecError("The base's tokenizer has neither a padding nor an end token: choose another model.")


def _hub_folder(address: str, revision: str | None) -> Path:
    """A snapshot of a hub model: safetensors, JSON and tokenizer files, nothing else."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = [*MODEL_FILES, *TOKENIZER_FILES]
    try:
        return Path(snapshot_download(address, revision=revision, allow_patterns=patterns))
    except GatedRepoError as error:
        raise SpecError(
            f"Base model 'hf:{address}' is gated: accept its terms on the hub and log in by `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise SpecError(
            f"Base model 'hf:{address}' has no revision {revision!r}: check base.revision."
        ) from error
    except RepositoryNotFoundError as error:
        raise SpecError(
            f"Base model 'hf:{address}' is not on the hub, or is private: "
            "check the name or log in by `hf auth login`."
        ) from error
    except (LocalEntryNotFoundError, OSError, HfHubHTTPError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise RetryableError(
            f"Base model 'hf:{address}' is not cached here and the hub cannot be reached{offline}: "
            "check the network, or download the model elsewhere and write path:<folder>."
        ) from error
