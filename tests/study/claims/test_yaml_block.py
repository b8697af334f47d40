"""Blocks put into YAML: all else stays to the character, and what is read back is what was put in."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import SpecError
from study.claims.yaml_block import with_item, with_key
from study.spec_file import read_mapping
from tests.study.claims.claims_files import write

RECORD = {"at": "2026-11-22T16:00:00Z", "claims": {"C1": "ab", "null": "cd"}, "margins": {"C1": [0.0, 0.02]}}
BLOCK = """\
registered:
  at: "2026-11-22T16:00:00Z"
  claims:
    C1: "ab"
    "null": "cd"
  margins:
    C1: [0.0, 0.02]
"""


def test_a_key_that_is_not_there_comes_at_the_end():
    text = "# head\na: 1   # one\nb: [x,\n  y]\n# tail\n"
    assert with_key(text, "registered", RECORD) == f"{text}\n{BLOCK}"


def test_a_missing_last_newline_and_blank_lines_make_no_difference():
    assert with_key("a: 1", "registered", RECORD) == f"a: 1\n\n{BLOCK}"
    assert with_key("a: 1\n\n\n", "registered", RECORD) == f"a: 1\n\n{BLOCK}"


@pytest.mark.parametrize(
    "old", ["registered:", "registered: null", "registered: {at: x}", "registered:\n  at: x"]
)
def test_a_key_that_is_there_is_replaced_where_it_stands(old):
    text = f"a: 1\n\n{old}\n\n# about b\nb: 2\n"
    assert with_key(text, "registered", RECORD) == f"a: 1\n\n{BLOCK}\n# about b\nb: 2\n"


def test_an_indented_file_keeps_its_indent():
    text = with_key("  a: 1\n  b: 2\n", "registered", RECORD)
    assert yaml.safe_load(text) == {"a": 1, "b": 2, "registered": RECORD}


def test_line_ends_are_those_of_the_file():
    text = with_key("a: 1\r\nb: 2\r\n", "registered", RECORD)
    assert text == f"a: 1\nb: 2\n\n{BLOCK}".replace("\n", "\r\n")


def test_items_are_appended_and_earlier_ones_keep_their_comments():
    first, second = {"reason": "x", "claims": {"C1": "ab"}}, {"reason": "y: é", "claims": {}}
    one = with_item("a: 1\n", "amendments", [first])
    assert one == 'a: 1\n\namendments:\n  - reason: "x"\n    claims:\n      C1: "ab"\n'
    noted = one.replace('"ab"', '"ab"  # a note')
    two = with_item(f"{noted}b: 2\n", "amendments", [first, second])
    assert two == f'{noted}  - reason: "y: é"\n    claims: {{}}\nb: 2\n'


def test_a_list_in_brackets_is_written_anew():
    text = with_item("amendments: [{reason: x}]\nb: 2\n", "amendments", [{"reason": "x"}, {"reason": "y"}])
    assert text == 'amendments:\n  - reason: "x"\n  - reason: "y"\nb: 2\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{a: 1}\n",
            "The file cannot be written into, since it is one mapping in braces: write a key on each line.",
        ),
        ("a: 1\n...\n", "The file cannot be written into, since it ends with the marker '...': write a key"),
    ],
)
def test_a_file_that_cannot_be_written_into_is_refused(text, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        with_key(text, "registered", RECORD)


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"]), max_size=12)


@given(
    before=st.dictionaries(st.sampled_from("abcd"), TEXT | st.integers(), min_size=1),
    record=st.dictionaries(
        TEXT, TEXT | st.floats(0, 1) | st.dictionaries(TEXT, TEXT, max_size=2), min_size=1, max_size=3
    ),
    flow=st.sampled_from([False, None]),
)
def test_what_is_put_in_is_read_back(tmp_path_factory, before, record, flow):
    text = yaml.safe_dump(before, allow_unicode=True, default_flow_style=flow)
    if text.startswith("{"):
        return
    folder = tmp_path_factory.getbasetemp()
    plain = read_mapping(write(folder, text))
    assert read_mapping(write(folder, with_key(text, "registered", record))) == {
        **plain,
        "registered": record,
    }
