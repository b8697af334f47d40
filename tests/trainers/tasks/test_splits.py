import random
import re

import pytest

from search_spaces.errors import SpecError
from trainers.tasks import Row, majority_frac, make_splits
from trainers.workload import Task

OPTIONS = (" no", " yes")


def task(**fields: int) -> Task:
    sizes = {"train_rows": 20, "select_rows": 5, "report_rows": 10} | fields
    return Task.model_validate({"name": "rows", **sizes})


def rows(num: int, *, held_out: bool = False, word: str = "text") -> list[Row]:
    return [
        Row(prompt=f"{word} {number}", options=OPTIONS, answer=number % 2, held_out=held_out)
        for number in range(num)
    ]


def test_splits_have_their_sizes_and_share_no_prompt():
    splits = make_splits(rows(40), task())
    prompts = [row.prompt for split in (splits.train, splits.select, splits.report) for row in split]
    assert (len(splits.train), len(splits.select), len(splits.report)) == (20, 5, 10)
    assert len(set(prompts)) == 35


def test_the_order_of_the_rows_does_not_matter():
    shuffled = rows(40)
    random.Random(0).shuffle(shuffled)
    assert make_splits(shuffled, task()) == make_splits(rows(40), task())


def test_the_report_split_stays_when_training_grows():
    assert make_splits(rows(40), task()).report == make_splits(rows(40), task(train_rows=25)).report


def test_the_digest_of_a_split_depends_on_its_rows_alone():
    few, more = make_splits(rows(40), task()).digests, make_splits(rows(40), task(train_rows=25)).digests
    assert few.keys() == {"train", "select", "report"}
    assert len(set(few.values())) == 3
    assert (few["select"], few["report"]) == (more["select"], more["report"])
    assert few["train"] != more["train"]
    assert few == make_splits(rows(40)[::-1], task()).digests


def test_another_split_seed_divides_otherwise():
    first, second = make_splits(rows(40), task()), make_splits(rows(40), task(split_seed=1))
    assert set(first.report) != set(second.report)
    assert first.digest != second.digest


def test_a_repeated_prompt_counts_once():
    repeated = rows(35) + [
        Row(prompt=f"  TEXT   {number} ", options=OPTIONS, answer=number % 2) for number in range(35)
    ]
    splits = make_splits(repeated, task())
    kept = [
        re.sub(r"\s+", " ", row.prompt.casefold().strip())
        for row in (*splits.train, *splits.select, *splits.report)
    ]
    assert len(set(kept)) == 35


def test_a_prompt_with_two_answers_is_left_out():
    contradictory = [Row(prompt="text 0", options=OPTIONS, answer=1)]
    splits = make_splits(rows(36) + contradictory, task())
    assert "text 0" not in {row.prompt for row in (*splits.train, *splits.select, *splits.report)}


def test_a_data_set_s_own_test_rows_are_for_the_report_alone():
    both = rows(30) + rows(12, held_out=True, word="test") + rows(1, held_out=True)  # text 0 is in both
    splits = make_splits(both, task())
    assert all(row.held_out for row in splits.report)
    assert not any(row.held_out for row in (*splits.train, *splits.select))
    assert "text 0" not in {row.prompt for row in (*splits.train, *splits.select)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            rows(34),
            "has 34 distinct rows where task.train_rows, select_rows and report_rows ask for 35: lower",
        ),
        (
            rows(30) + rows(9, held_out=True, word="test"),
            "has 9 distinct rows where task.report_rows ask for 10",
        ),
        (
            rows(24) + rows(10, held_out=True, word="test"),
            "has 24 distinct .*train_rows and select_rows ask for 25",
        ),
    ],
)
def test_too_few_rows_are_counted(given: list[Row], message: str):
    with pytest.raises(SpecError, match=message):
        make_splits(given, task())


def test_labels_are_known_when_every_row_has_the_same():
    assert make_splits(rows(40), task()).labels == OPTIONS
    mixed = [*rows(39), Row(prompt="other", options=(" a", " b"), answer=0)]
    assert make_splits(mixed, task(train_rows=25)).labels is None


def test_the_majority_is_what_guessing_gives():
    counted = make_splits(rows(40), task())
    assert sum(counted.label_counts["train"].values()) == 20
    three_to_one = [Row(prompt=str(number), options=OPTIONS, answer=int(number == 0)) for number in range(4)]
    assert majority_frac(three_to_one) == 0.75
