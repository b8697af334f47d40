"""GLUE's sets: CoLA, SST-2, MRPC, QQP, QNLI, STS-B and WNLI.

Wang et al., "GLUE", ICLR 2019. The public validation split is held out for the report, since the test
labels are secret. STS-B, a score from 0 to 5, is rounded to a whole number.
"""

from collections.abc import Callable, Mapping
from functools import partial

from trainers.tasks.hub import HubSet, Record, source_of
from trainers.tasks.rows import Row

NO_YES = (" no", " yes")
YES_NO = (" yes", " no")
SENTIMENTS = (" negative", " positive")
SCORES = (" 0", " 1", " 2", " 3", " 4", " 5")

TEMPLATES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "cola": (
        "Sentence: {sentence}\nIs the sentence grammatical? Answer:",
        NO_YES,
        "is a sentence grammatical",
    ),
    "sst2": ("Review: {sentence}\nSentiment:", SENTIMENTS, "sentiment of film reviews"),
    "mrpc": (
        "Sentence 1: {sentence1}\nSentence 2: {sentence2}\nDo they mean the same? Answer:",
        NO_YES,
        "are two sentences of news paraphrases",
    ),
    "qqp": (
        "Question 1: {question1}\nQuestion 2: {question2}\nDo they ask the same? Answer:",
        NO_YES,
        "do two questions ask the same",
    ),
    "qnli": (
        "Question: {question}\nSentence: {sentence}\nDoes the sentence answer the question? Answer:",
        YES_NO,
        "does a sentence answer a question",
    ),
    "stsb": (
        "Sentence 1: {sentence1}\nSentence 2: {sentence2}\nSimilarity from 0 to 5:",
        SCORES,
        "how similar are two sentences, 0 to 5",
    ),
    "wnli": (
        "Text: {sentence1}\nStatement: {sentence2}\nDoes the statement follow from the text? Answer:",
        NO_YES,
        "does a statement with a resolved pronoun follow",
    ),
}
"""Prompt, options in the order of the set's own labels, and description."""


def _convert(template: str, options: tuple[str, ...], record: Record) -> Row | None:
    label = round(float(record["label"]))  # STS-B's are scores, the others' are indices
    if label < 0:  # a secret label
        return None
    texts = {
        key: " ".join(str(value).split()) for key, value in record.items() if key not in {"label", "idx"}
    }
    if label >= len(options):
        raise ValueError(label)
    return Row(prompt=template.format_map(texts), options=options, answer=label)


def _converter(name: str) -> Callable[[Record], Row | None]:
    template, options, _ = TEMPLATES[name]
    return partial(_convert, template, options)


SOURCES = tuple(
    source_of(
        HubSet(
            name=name,
            repository="nyu-mll/glue",
            config=name,
            splits=("train",),
            held_out="validation",
            convert=_converter(name),
            description=f"GLUE: {description}",
            licence="GLUE, each set its own licence",
        )
    )
    for name, (_, _, description) in TEMPLATES.items()
)
