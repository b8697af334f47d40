"""Convert GGUF weights to an ordinary model folder: `python -m trainers.gguf <file.gguf> <folder>`.

Transformers reads GGUF (dequantised to float32) in some 20 seconds; the bfloat16 safetensors that this writes
load in one. It runs as a program of its own, so that the memory it needs is given back.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def convert(weights: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file as safetensors and JSON.

    Args:
        weights: the GGUF file.
        folder: an existing, empty folder.
    """
    model = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    # Transformers refuses to save a model that it believes to be quantised; these weights no longer are.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
