from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tokenizers import processors
from transformers import AutoTokenizer

from search_spaces.errors import SpecError
from trainers.tasks import EncodedSplits, Row, Splits, encode_splits

OPTIONS = (" negative", " positive", " no idea")


def splits(*prompts: str, options: tuple[str, ...] = OPTIONS) -> Splits:
    rows = [Row(prompt=prompt, options=options, answer=number % 3) for number, prompt in enumerate(prompts)]
    return Splits(train=tuple(rows[:-2]), select=(rows[-2],), report=(rows[-1],), digest="d")


SAMPLE = splits(
    "Review: warm and funny\nSentiment:", "Review: dull\nSentiment:", "A zebra:", "The lazy dog is"
)


@pytest.fixture(scope="module")
def llama_tokenizer(llama_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(llama_dir)


@pytest.fixture(scope="module")
def bert_tokenizer(bert_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(bert_dir)


def encode(given: Splits, tokenizer: Any, **options: Any) -> EncodedSplits:
    return encode_splits(
        given, tokenizer, **{"kind": "causal", "max_tokens": 64, "tokenizer_digest": "t"} | options
    )


def test_prompt_and_option_decode_to_the_text(llama_tokenizer: Any):
    encoded = encode(SAMPLE, llama_tokenizer)
    assert (len(encoded.train), len(encoded.select), len(encoded.report)) == (2, 1, 1)
    for row, example in zip(SAMPLE.train, encoded.train, strict=True):
        for option, ids in zip(row.options, example.option_ids, strict=True):
            assert llama_tokenizer.decode([*example.prompt_ids, *ids]) == row.prompt + option
        assert example.answer == row.answer
    assert [len(ids) for ids in encoded.train[0].option_ids[:2]] == [1, 1]
    assert encoded.labels == OPTIONS
    assert encoded.num_cut == 0


def test_a_long_prompt_loses_its_left_end_and_never_the_answer(llama_tokenizer: Any):
    long = splits(*["word " * 100 + f"number {number}:" for number in range(4)])
    encoded = encode(long, llama_tokenizer, max_tokens=20)
    assert encoded.num_cut == 4
    for row, example in zip(long.train, encoded.train, strict=True):
        longest = max(len(ids) for ids in example.option_ids)
        assert len(example.prompt_ids) + longest + 1 == 20  # one for the end of sequence
        assert row.prompt.endswith(llama_tokenizer.decode(example.prompt_ids))
        assert llama_tokenizer.decode(example.option_ids[2]) == " no idea"


def test_a_beginning_token_survives_the_cut(llama_dir: Path):
    tokenizer = AutoTokenizer.from_pretrained(llama_dir)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", tokenizer.bos_token_id)]
    )
    encoded = encode(splits(*["word " * 100 + str(number) for number in range(4)]), tokenizer, max_tokens=20)
    for example in encoded.train:
        assert example.prompt_ids[0] == tokenizer.bos_token_id
        assert tokenizer.bos_token_id not in example.prompt_ids[1:]
        assert all(tokenizer.bos_token_id not in ids for ids in example.option_ids)


def test_answers_longer_than_the_limit_are_refused(llama_tokenizer: Any):
    wordy = splits("a", "b", "c", options=(" x" * 40, " y", " z"))
    with pytest.raises(SpecError, match=r"task.max_tokens 16 leaves no room .* raise it to \d+ or more"):
        encode(wordy, llama_tokenizer, max_tokens=16)


def test_an_option_that_melts_into_the_prompt_is_encoded_alone(llama_tokenizer: Any):
    melting = splits("Sentiment: pos", "x", "y", options=("itive", " negative", " no"))
    example = encode(melting, llama_tokenizer).train[0]
    assert llama_tokenizer.decode(example.option_ids[0]) == "itive"


def test_an_encoder_reads_the_prompt_in_its_special_tokens(bert_tokenizer: Any):
    encoded = encode(SAMPLE, bert_tokenizer, kind="encoder")
    for row, example in zip(SAMPLE.train, encoded.train, strict=True):
        assert list(example.prompt_ids) == bert_tokenizer(row.prompt)["input_ids"]
        assert example.option_ids == ()
    long = encode(
        splits(*["word " * 100 + str(number) for number in range(3)]), bert_tokenizer, kind="encoder"
    )
    ids = long.train[0].prompt_ids
    assert len(ids) == 64
    assert (ids[0], ids[-1]) == (bert_tokenizer.cls_token_id, bert_tokenizer.sep_token_id)


def test_an_encoder_refuses_options_that_vary(bert_tokenizer: Any):
    first = Row(prompt="a", options=(" x", " y"), answer=0)
    second = Row(prompt="b", options=(" x", " z"), answer=0)
    varying = Splits(train=(first,), select=(second,), report=(first,), digest="d")
    with pytest.raises(SpecError, match="An encoder needs the same options in every row"):
        encode(varying, bert_tokenizer, kind="encoder")


class Unusable:
    """A tokenizer that must not be asked."""

    def __call__(self, *_args: object, **_options: object) -> None:
        raise AssertionError


@pytest.mark.parametrize("kind", ["causal", "encoder"])
def test_a_cached_set_is_read_back_as_it_was(
    kind: str, llama_tokenizer: Any, bert_tokenizer: Any, tmp_path: Path
):
    tokenizer = llama_tokenizer if kind == "causal" else bert_tokenizer
    first = encode(SAMPLE, tokenizer, kind=kind, cache_dir=tmp_path)
    assert encode(SAMPLE, Unusable(), kind=kind, cache_dir=tmp_path) == first
    assert encode(SAMPLE, tokenizer, kind=kind) == first


def test_a_row_is_read_as_from_a_tuple(llama_tokenizer: Any):
    train = encode(SAMPLE, llama_tokenizer).train
    rows = tuple(train)
    assert len(rows) == len(train) == 2
    assert (train[-1], train[np.int64(1)], train[:1], train[::-1]) == (rows[1], rows[1], rows[:1], rows[::-1])
    assert hash(train) == hash(encode(SAMPLE, llama_tokenizer).train)
    with pytest.raises(IndexError):
        train[2]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[:100],
    "cut within a number": lambda content: content[:-1],
    "empty": lambda _: b"",
    "another token": lambda content: content[:-4] + b"\1\0\0\0",
    "another checksum": lambda content: b"\0" + content[1:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_made_anew(damage: Callable[[bytes], bytes], llama_tokenizer: Any, tmp_path: Path):
    first = encode(SAMPLE, llama_tokenizer, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    damaged = damage(path.read_bytes())
    path.unlink()  # what is mapped keeps its pages
    path.write_bytes(damaged)
    assert encode(SAMPLE, llama_tokenizer, cache_dir=tmp_path) == first
    assert encode(SAMPLE, Unusable(), cache_dir=tmp_path) == first


def test_processes_share_the_pages_of_a_cached_set(llama_tokenizer: Any, tmp_path: Path):
    train = encode(SAMPLE, llama_tokenizer, cache_dir=tmp_path).train
    (path,) = tmp_path.iterdir()
    maps = [entry for entry in psutil.Process().memory_maps() if Path(entry.path) == path]
    assert [entry.anonymous for entry in maps] == [0]  # pages of the file alone
    assert train[0] == encode(SAMPLE, llama_tokenizer).train[0]


@pytest.mark.parametrize("other", [{"max_tokens": 32}, {"tokenizer_digest": "u"}])
def test_another_setting_is_another_set(other: dict[str, Any], llama_tokenizer: Any):
    assert encode(SAMPLE, llama_tokenizer, **other).digest != encode(SAMPLE, llama_tokenizer).digest
