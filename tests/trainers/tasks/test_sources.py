"""Every source of rows: its entry in the registry, its rows, its refusals."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from search_spaces.errors import RetryableError, SpecError
from trainers import parts
from trainers.part_files import sha256_of
from trainers.tasks import (
    TASKS,
    bigbench,
    check_task,
    describe_tasks,
    find_task,
    load_splits,
    reasoning,
    vader,
)
from trainers.tasks.glue import TEMPLATES
from trainers.workload import Task

NO_PARTS = Path("/nonexistent")


def task(name: str, **fields: Any) -> Task:
    sizes = {"train_rows": 4, "select_rows": 2, "report_rows": 2}
    return Task.model_validate({"name": name, **sizes, **fields})


def test_every_task_says_what_it_is_and_whose():
    assert len(describe_tasks()) == len(TASKS)
    for name, description, licence in describe_tasks():
        assert name
        assert "\n" not in description
        assert len(licence) > 3


@pytest.mark.parametrize("name", [name for name in TASKS if "<" not in name and name != "rows"])
def test_a_name_alone_is_a_valid_task(name: str):
    check_task(task(name), NO_PARTS)
    with pytest.raises(SpecError, match=r"task.prompt '\{text\}' has no meaning for task"):
        check_task(task(name, prompt="{text}"), NO_PARTS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vader_movies", "Unknown task 'vader_movies', did you mean 'vader_movie'"),
        ("bigbench", "lacks the name of a BIG-bench task: write one such as bigbench:strategyqa"),
        ("reasoning_gym:", "lacks the name of a data set: write one such as"),
        ("reasoning_gym:sylogism", "did you mean 'reasoning_gym:syllogism'"),
        ("vader_movie:x", "Unknown task"),
    ],
)
def test_unknown_tasks_are_refused(name: str, message: str):
    with pytest.raises(SpecError, match=message):
        check_task(task(name), NO_PARTS)


def test_vader_s_label_is_the_sign_of_the_mean_rating():
    text = "1\t2.5\tSplendid.\r\n2\t-0.1\tMeh, a\ttab.\r\n3\t0.0\tNeither.\r\nbroken line\r\n"
    rows = vader.parse(text, vader.SETS["vader_movie"])
    assert [row.options[row.answer] for row in rows] == [" positive", " negative"]
    assert rows[0].prompt == "Review: Splendid.\nSentiment:"
    assert "Meh, a\ttab." in rows[1].prompt


@pytest.mark.parts
def test_the_real_sets_have_the_published_sizes(parts_cache: Path):
    def counts(name: str) -> list[int]:
        rows = find_task(name).load(task(name), parts_cache, lambda _: None)
        return [sum(row.answer == answer for row in rows) for answer in (0, 1)]

    # Hutto and Gilbert's sets hold 10,605 sentences, 3,708 snippets, 5,190 snippets and 4,200 tweets.
    assert counts("vader_movie") == [5326, 5242]
    for name, most in (("vader_amazon", 3708), ("vader_nyt", 5190), ("vader_tweets", 4200)):
        assert 0.8 * most < sum(counts(name)) <= most


DOCUMENT = {
    "task_prefix": "Judge.",
    "examples": [
        {"input": "Is water wet? ", "target_scores": {"Yes": 1, "No": 0}},
        {"input": "Is fire cold?", "target_scores": {"No": 1, "Yes": 0}},
        {"input": "Undecided?", "target_scores": {"No": 1, "Yes": 1}},
        {"input": "Free text?", "target": "anything"},
    ]
    + [
        {"input": f"Is {number} odd?", "target_scores": {"Yes": number % 2, "No": 1 - number % 2}}
        for number in range(8)
    ],
}


def test_bigbench_rows_have_one_right_option():
    rows = bigbench.parse(DOCUMENT, "wet")
    assert len(rows) == 10
    assert rows[0].prompt == "Judge.\nQ: Is water wet?\nA:"
    assert {row.options for row in rows} == {(" No", " Yes")}
    assert [row.answer for row in rows[:2]] == [1, 0]


def test_bigbench_lists_choices_where_the_task_asks_for_it():
    document = {
        "append_choices_to_input": True,
        "example_input_prefix": "",
        "example_output_prefix": "Answer:",
        "examples": DOCUMENT["examples"],
    }
    assert bigbench.parse(document, "wet")[0].prompt == "Is water wet?\nchoice: No\nchoice: Yes\nAnswer:"


def test_a_bigbench_task_without_options_is_refused():
    with pytest.raises(SpecError, match="'bigbench:free' has no rows with one right answer among options"):
        bigbench.parse({"examples": [{"input": "?", "target": "x"}]}, "free")


@pytest.fixture
def small_bigbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package with one task, as if it had been downloaded."""
    staged = tmp_path / ".bigbench-1.0.0.partial" / "download" / bigbench.PART.file
    staged.parent.mkdir(parents=True)
    content = json.dumps(DOCUMENT).encode()
    with tarfile.open(staged, "w:gz") as archive:
        info = tarfile.TarInfo(f"{bigbench.PART.member}wet/sub/task.json")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    made = replace(bigbench.PART, sha256=sha256_of(staged))
    monkeypatch.setattr(bigbench, "PART", made)
    monkeypatch.setattr(parts, "PARTS", {"bigbench": made})
    return tmp_path


def test_a_bigbench_task_is_read_from_the_archive(small_bigbench: Path):
    assert load_splits(task("bigbench:wet/sub"), small_bigbench).labels == (" No", " Yes")
    with pytest.raises(
        SpecError, match=r"did you mean 'bigbench:wet/sub'\? Choose one of BIG-bench's 1 JSON tasks"
    ):
        check_task(task("bigbench:wet/sup"), small_bigbench)


def test_reasoning_rows_are_the_same_everywhere():
    first = load_splits(task("reasoning_gym:syllogism"), NO_PARTS)
    assert first == load_splits(task("reasoning_gym:syllogism"), NO_PARTS)
    assert first.labels == (" No", " Yes")
    assert first != load_splits(task("reasoning_gym:syllogism", split_seed=1), NO_PARTS)


def test_many_answers_become_four_options_with_the_right_one_among_them():
    splits = load_splits(task("reasoning_gym:chain_sum", train_rows=200), NO_PARTS)
    for row in splits.train:
        expression = row.prompt.partition("problem: ")[2].partition(" =")[0]
        total = sum(int(term) for term in expression.replace("- ", "+ -").split(" + "))
        assert row.options[row.answer] == f" {total}"
        assert len(set(row.options)) == 4
    places = [row.answer for row in splits.train]
    assert all(30 < places.count(place) < 70 for place in range(4))  # 50 each, give or take three deviations


def test_reasoning_gym_is_optional(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reasoning, "find_spec", lambda _: None)
    with pytest.raises(SpecError, match=r"not installed: install trialwright\[reasoning\]"):
        check_task(task("reasoning_gym:syllogism"), NO_PARTS)


def test_answers_that_cannot_be_chosen_are_refused():
    with pytest.raises(SpecError, match="has no answers to choose from"):
        load_splits(task("reasoning_gym:propositional_logic"), NO_PARTS)


GLUE_RECORDS: dict[str, dict[str, str]] = {
    "cola": {"sentence": "s"},
    "sst2": {"sentence": "s"},
    "mrpc": {"sentence1": "s", "sentence2": "t"},
    "qqp": {"question1": "s", "question2": "t"},
    "qnli": {"question": "s", "sentence": "t"},
    "stsb": {"sentence1": "s", "sentence2": "t"},
    "wnli": {"sentence1": "s", "sentence2": "t"},
}


def glue_split(name: str, num: int, word: str, label: float | None = None) -> datasets.Dataset:
    records = [
        {key: f"{value} {word} {number}" for key, value in GLUE_RECORDS[name].items()}
        | {"idx": number, "label": number % 2 if label is None else label}
        for number in range(num)
    ]
    return datasets.Dataset.from_list(records)


@pytest.mark.parametrize("name", list(TEMPLATES))
@pytest.mark.parametrize("form", ["saved", "files", "configuration"])
def test_glue_is_read_from_a_local_folder(name: str, form: str, tmp_path: Path):
    splits = datasets.DatasetDict(
        train=glue_split(name, 8, "train"),
        validation=glue_split(name, 4, "valid"),
        test=glue_split(name, 4, "test", label=-1),
    )
    if form == "saved":
        splits.save_to_disk(tmp_path)
    else:
        folder = tmp_path / name if form == "configuration" else tmp_path
        for split, content in splits.items():
            content.to_parquet(folder / f"{split}.parquet")
    made = load_splits(task(name, path=str(tmp_path)), NO_PARTS)
    assert all("train" in row.prompt for row in (*made.train, *made.select))
    assert all("valid" in row.prompt for row in made.report)
    for row in made.train:
        number = int(row.prompt.split("train ")[1].split()[0])
        assert row.answer == number % 2
        for value in GLUE_RECORDS[name].values():
            assert f"{value} train {number}" in row.prompt
    assert made.labels == TEMPLATES[name][1]


def test_a_similarity_is_rounded(tmp_path: Path):
    splits = datasets.DatasetDict(
        train=glue_split("stsb", 8, "train", label=3.6), validation=glue_split("stsb", 4, "valid", label=0.4)
    )
    splits.save_to_disk(tmp_path)
    made = load_splits(task("stsb", path=str(tmp_path)), NO_PARTS)
    assert {row.options[row.answer] for row in made.train} == {" 4"}
    assert {row.options[row.answer] for row in made.report} == {" 0"}


def test_science_questions_with_pictures_are_left_out(tmp_path: Path):
    def record(number: int, image: object) -> dict[str, object]:
        return {
            "image": image,
            "question": f"Question {number}?",
            "hint": "A hint." if number == 0 else "",
            "choices": ["red", "green", "blue"],
            "answer": number % 3,
        }

    picture = {"bytes": b"\x89PNG", "path": None}
    features = datasets.Features(
        image=datasets.Image(),
        question=datasets.Value("string"),
        hint=datasets.Value("string"),
        choices=datasets.List(datasets.Value("string")),
        answer=datasets.Value("int8"),
    )
    plain = [record(number, None) for number in range(8)]
    train = datasets.Dataset.from_list([*plain, record(99, picture)], features=features)
    test = datasets.Dataset.from_list([record(number, None) for number in range(20, 24)], features=features)
    datasets.DatasetDict(train=train, test=test).save_to_disk(tmp_path)
    rows = find_task("scienceqa").load(task("scienceqa", path=str(tmp_path)), NO_PARTS, lambda _: None)
    assert len(rows) == 12
    assert rows[0].prompt == "Question: A hint.\nQuestion 0?\nA. red\nB. green\nC. blue\nAnswer:"
    assert rows[4].options == (" A", " B", " C")
    assert [row.answer for row in rows[:4]] == [0, 1, 2, 0]
    assert sum(row.held_out for row in rows) == 4


@pytest.mark.parametrize(
    ("name", "question"), [("commonsense_qa", "question"), ("openbookqa", "question_stem")]
)
def test_questions_with_labelled_choices(name: str, question: str, tmp_path: Path):
    def split(num: int, word: str, key: str = "B") -> list[dict[str, object]]:
        choices = {"label": ["A", "B"], "text": ["bread", "stone"]}
        return [{question: f"{word} {n}?", "choices": choices, "answerKey": key} for n in range(num)]

    held_out = "validation" if name == "commonsense_qa" else "test"
    for file, records in (("train", split(8, "Eat")), (held_out, split(4, "Throw"))):
        (tmp_path / f"{file}.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    made = load_splits(task(name, path=str(tmp_path)), NO_PARTS)
    assert {row.options[row.answer] for row in (*made.train, *made.report)} == {" B"}
    assert all(row.prompt.startswith("Question: Throw") for row in made.report)


def test_a_local_data_set_with_other_columns_is_refused(tmp_path: Path):
    (tmp_path / "train.jsonl").write_text('{"words": "a", "label": 1}\n')
    with pytest.raises(
        SpecError, match=r"'cola' cannot read a record with the columns words, label .* nyu-mll/glue"
    ):
        load_splits(task("cola", path=str(tmp_path)), NO_PARTS)


def test_a_local_data_set_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(SpecError, match="is no folder with a data set in it: name the local copy"):
        check_task(task("cola", path=str(tmp_path / "none")), NO_PARTS)
    (tmp_path / "readme.md").write_text("nothing")
    with pytest.raises(SpecError, match="is no readable data set"):
        load_splits(task("cola", path=str(tmp_path)), NO_PARTS)


def test_a_hub_out_of_reach_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True, raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(RetryableError, match="the hub cannot be reached: check the network, or download it"):
        load_splits(task("cola"), NO_PARTS)
