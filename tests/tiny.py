"""Tiny random models with real tokenizers, written as ordinary local model folders.

They load through `path:<folder>` (and through plain transformers) like any other model, in milliseconds.
"""

# ruff: noqa: S106 (special tokens are no passwords)

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

LINES = (
    "Review: a film of great charm, warm and funny, with a fine cast.",
    "Review: a dull and lifeless film, bad from the first minute to the last.",
    "Sentiment: positive, Sentiment: negative, Question: which one? Answer: yes, no, maybe.",
    "The quick brown fox jumps over the lazy dog and the dog does not mind at all.",
    "It is true that it is not false; one two three four five six seven eight nine ten.",
)
"""What the tokenizers are trained on; bytes (Llama) and letters (BERT) cover every other text."""

HIDDEN = 32
LAYERS = 2


def tiny_llama(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Write a random Llama (hidden 32, 2 layers, 4 heads over 2 key-value heads) and a byte-level BPE.

    ` negative` and ` positive` are single tokens, ` no idea` is several; the tokenizer adds no BOS by itself.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        min_frequency=1,
        special_tokens=["<|endoftext|>", "<|bos|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((line for _ in range(3) for line in LINES), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|endoftext|>", pad_token="<|pad|>"
    )
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(dtype)
    fast.save_pretrained(folder)
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def tiny_bert(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Write a random headless BERT (hidden 32, 2 layers, 4 heads) and a word-piece tokenizer."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
    )
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=128,
        pad_token_id=fast.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config).to(dtype)
    fast.save_pretrained(folder)
    model.save_pretrained(folder, safe_serialization=True)
    return folder
