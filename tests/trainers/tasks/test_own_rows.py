import json
from pathlib import Path

import pandas as pd
import pytest

from search_spaces.errors import SpecError
from trainers.tasks import check_task, load_splits
from trainers.tasks.own_rows import load_own_rows
from trainers.workload import Task

RECORDS = [{"text": f"sentence, {number}", "label": ("bad", "good")[number % 2]} for number in range(12)]
SIZES = {"train_rows": 6, "select_rows": 2, "report_rows": 4}
NO_PARTS = Path("/nonexistent")


def task(path: Path, **fields: object) -> Task:
    given = {"name": "rows", "path": str(path), "prompt": "{text} =>", "answer": "label", **SIZES, **fields}
    return Task.model_validate(given)


def write(path: Path) -> Path:
    frame = pd.DataFrame(RECORDS)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("file", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, file: str):
    path = write(tmp_path / file)
    rows = load_own_rows(task(path))
    assert [row.prompt for row in rows] == [f"sentence, {number} =>" for number in range(12)]
    assert {row.options for row in rows} == {(" bad", " good")}
    assert [row.answer for row in rows] == [number % 2 for number in range(12)]
    check_task(task(path), NO_PARTS)
    assert len(load_splits(task(path), NO_PARTS).report) == 4


def test_options_may_be_columns(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text('question,a,b,right\n"Which, then?",one,two,two\nAnd now?,red,blue,red\n')
    rows = load_own_rows(task(path, prompt="{question}", answer="right", options=["{a}", "{b}"]))
    assert [row.options for row in rows] == [(" one", " two"), (" red", " blue")]
    assert [row.answer for row in rows] == [1, 0]


def test_braces_name_columns_and_nothing_else(tmp_path: Path):
    path = write(tmp_path / "rows.csv")
    with pytest.raises(SpecError, match=r"names column 'text\.__class__'"):
        load_own_rows(task(path, prompt="{text.__class__}"))


def test_a_written_brace_stays(tmp_path: Path):
    rows = load_own_rows(task(write(tmp_path / "rows.csv"), prompt="{{x}} {text}"))
    assert rows[0].prompt == "{x} sentence, 0"


@pytest.mark.parametrize("label", ["{", "ye{", "{text}", "{{x}}"])
def test_braces_in_an_answer_are_text(tmp_path: Path, label: str):
    (tmp_path / "rows.csv").write_text(f"text,label\na,{label}\nb,no\n")
    rows = load_own_rows(task(tmp_path / "rows.csv", options=None))
    assert [row.options[row.answer] for row in rows] == [f" {label}", " no"]


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        ("text,label\n", {}, "holds no rows: add some"),
        ("", {}, "holds no rows: add some"),
        ("text,label\na,good\nb\n", {}, "rows.csv line 3: the row does not have the 2 columns of the header"),
        ("text,label\na,b,good\n", {}, "rows.csv line 2: the row does not have the 2 columns"),
        ('text,label\n"a,good\n', {}, "rows.csv line 2: not readable as CSV"),
        ("text,label\na,good\n", {}, "has one answer only, 'good': a task needs two or more options"),
        (
            "text,label\na,good\nb,bad\n",
            {"answer": "lable"},
            "task.answer names column 'lable', .* are text, label",
        ),
        (
            "text,label\na,good\nb,bad\n",
            {"prompt": "{txt}"},
            "task.prompt names column 'txt', which rows.csv",
        ),
        ("text,label\na,good\nb,bad\n", {"prompt": "{text"}, "is no template .*write columns in braces"),
        ("text,label\na,good\nb,\n", {}, "rows.csv line 3: column 'label' is empty"),
        (
            "text,label\na,good\nb,bad\n",
            {"options": ["bad", "fine"]},
            "rows.csv line 2: the answer 'good' is none of the options bad, fine",
        ),
        (
            "text,label\na,good\nb,bad\n",
            {"options": ["bad", "good", "fine"]},
            "has no row with the answer 'fine': add some",
        ),
        (
            "text,label\na,good\nb,bad\n",
            {"options": ["bad", "good", "bad"]},
            "two of the options .* are the same",
        ),
        ("text,label\n ,good\nb,bad\n", {"prompt": "{text}"}, "rows.csv line 2: the prompt is empty"),
        (
            "text,label\n" + "".join(f"a{n},b{n}\n" for n in range(60)),
            {},
            "holds 60 different answers, too many",
        ),
        ("text,label\na,good\nb,bad\n", {}, "has 2 distinct rows where .* ask for 12: lower them"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(
    tmp_path: Path, content: str, fields: dict[str, object], message: str
):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(SpecError, match=message) as caught:
        check_task(task(path, **fields), NO_PARTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"text": "a", "label": "x"}', "{no"], "rows.jsonl line 2: not readable as JSON"),
        (['{"text": "a", "label": "x"}', "[" * 100_000], r"line 2: not readable as JSON \(nested too deep\)"),
        (['{"text": "a", "label": "x"}', "", '["a"]'], "rows.jsonl line 3: not a JSON object"),
        (
            ['{"text": "a", "label": "x"}', '{"text": "b"}'],
            "rows.jsonl line 2: lacks 'label', which the first",
        ),
    ],
)
def test_a_mistake_in_json_is_named_with_its_line(tmp_path: Path, lines: list[str], message: str):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(SpecError, match=message):
        load_own_rows(task(path))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("rows.csv", b"text,label\n\xff,good\n", "rows.csv is not in UTF-8"),
        ("rows.parquet", b"not parquet", "is not readable as Parquet"),
        ("rows.xlsx", b"", r"has the ending '.xlsx': write it as .csv, .jsonl or .parquet"),
    ],
)
def test_an_unreadable_file_is_refused(tmp_path: Path, file: str, content: bytes, message: str):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(SpecError, match=message):
        load_own_rows(task(tmp_path / file))


def test_missing_fields_and_files_are_refused(tmp_path: Path):
    with pytest.raises(SpecError, match=r"lacks task\.path: give the file"):
        load_own_rows(Task(name="rows"))
    with pytest.raises(SpecError, match=r"lacks task\.prompt"):
        load_own_rows(Task(name="rows", path="x.csv"))
    with pytest.raises(SpecError, match=r"x\.csv' is no file: check the path"):
        load_own_rows(task(tmp_path / "x.csv"))


def test_json_numbers_and_nulls_are_text(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    records = [{"text": 7, "label": 1}, {"text": None, "label": 0}]
    path.write_text("\n".join(json.dumps(record) for record in records))
    rows = load_own_rows(task(path, prompt="Number: {text}"))
    assert [(row.prompt, row.options[row.answer]) for row in rows] == [("Number: 7", " 1"), ("Number:", " 0")]
