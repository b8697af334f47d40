"""Multiple-choice questions: ScienceQA (without pictures), CommonsenseQA and OpenBookQA.

Lu et al., "Learn to Explain", NeurIPS 2022; Talmor et al., "CommonsenseQA", NAACL 2019; Mihaylov et al.,
"Can a Suit of Armor Conduct Electricity?", EMNLP 2018. Choices are listed under letters, and the letter is
the answer.
"""

from trainers.tasks.hub import HubSet, Record, source_of
from trainers.tasks.rows import Row, lettered


def science_row(record: Record) -> Row | None:
    """A ScienceQA record; those with a picture are left out (6,508 to train and 2,224 to test remain)."""
    if record.get("image") is not None:
        return None
    hint = str(record.get("hint") or "").strip()
    question = f"{hint}\n{record['question']}" if hint else str(record["question"])
    return _checked(lettered(question, record["choices"], int(record["answer"])))


def commonsense_row(record: Record) -> Row | None:
    """A CommonsenseQA record."""
    return _keyed(str(record["question"]), record)


def open_book_row(record: Record) -> Row | None:
    """An OpenBookQA record."""
    return _keyed(str(record["question_stem"]), record)


def _keyed(question: str, record: Record) -> Row | None:
    """A row whose right choice is named by its label; none when the label is secret."""
    key = str(record["answerKey"] or "").strip()
    if not key:
        return None
    choices = record["choices"]
    return lettered(question, choices["text"], list(choices["label"]).index(key))


def _checked(row: Row) -> Row:
    if row.answer >= len(row.options):
        raise ValueError(row.answer)
    return row


SOURCES = tuple(
    source_of(hub_set)
    for hub_set in (
        HubSet(
            name="scienceqa",
            repository="derek-thomas/ScienceQA",
            config=None,
            splits=("train", "validation"),
            held_out="test",
            convert=science_row,
            description="school science questions without pictures, 2 to 5 choices",
            licence="CC BY-NC-SA 4.0",
        ),
        HubSet(
            name="commonsense_qa",
            repository="tau/commonsense_qa",
            config=None,
            splits=("train",),
            held_out="validation",
            convert=commonsense_row,
            description="questions of common sense, 5 choices",
            licence="MIT",
        ),
        HubSet(
            name="openbookqa",
            repository="allenai/openbookqa",
            config="main",
            splits=("train", "validation"),
            held_out="test",
            convert=open_book_row,
            description="elementary science questions, 4 choices",
            licence="Apache-2.0",
        ),
    )
)
