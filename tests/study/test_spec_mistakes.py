"""Mistakes in study files: each is one sentence with the file, the key, the value, the rule and the way out."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import SpecError
from study.spec import StudySpec, load_spec, parse_spec
from tests.study.study_files import MINIMAL, study_file, with_change


def assert_one_sentence(path: Path, part: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    message = str(caught.value)
    assert part in message
    assert message.startswith(str(path))
    assert message.endswith((".", "?"))
    assert "\n" not in message
    assert not re.search(r"pydantic|Traceback|ctx|Input should", message)


def test_evaluations_take_no_more_than_their_share(tmp_path: Path):
    # ten evaluations of 300 rows beside 100 steps of 8 rows, which count three times: 3000 of 5400
    often = MINIMAL.replace("steps: 100", "steps: 100, eval_every: 10")
    part = (
        "evaluations on 300 rows every 10 steps would take 56 % of all token passes, above "
        "training.max_evaluation_share = 0.5: raise training.eval_every to 13 or lower task.select_rows to 240."
    )
    assert_one_sentence(study_file(tmp_path, often), part)
    for cured in (
        often.replace("eval_every: 10", "eval_every: 13"),
        often.replace("vader_movie", "vader_movie, select_rows: 240"),
        often.replace("eval_every: 10", "eval_every: 10, max_evaluation_share: 0.56"),
    ):
        assert load_spec(study_file(tmp_path, cured)).training.steps == 100
    short = MINIMAL.replace("steps: 100", "steps: 1")
    assert_one_sentence(study_file(tmp_path, short), "= 0.5: lower task.select_rows to 24.")


def test_the_warm_up_is_within_the_grace_period(tmp_path: Path):
    text = MINIMAL.replace("steps: 100", "steps: 100, warmup: 0.5") + "phases: {search: {grace_steps: 20}}\n"
    part = "phases.search.grace_steps is 20, but no trial may be stopped during the warm-up of 50 steps: raise it."
    assert_one_sentence(study_file(tmp_path, text), part)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path):
    path = tmp_path / "odd.yaml"
    path.write_bytes(b"#" * 1_000_001)
    assert_one_sentence(path, "is larger than 1,000,000 bytes, too large for a study file: check the name.")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_may_never_end_is_not_opened(tmp_path: Path, make: Callable[[Path], None]):
    make(tmp_path / "study.yaml")
    assert_one_sentence(tmp_path / "study.yaml", "cannot be read (it is no regular file): check the name")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    assert_one_sentence(
        tmp_path / "none.yaml", "does not exist: check the name, or write one by `trialwright init`."
    )
    assert_one_sentence(tmp_path, "cannot be read (Is a directory): check the name and its permissions.")
    (tmp_path / "file").touch()
    assert_one_sentence(tmp_path / "file" / "study.yaml", "cannot be read (Not a directory)")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from([*StudySpec.model_fields, "search", "sensitivity", "confirmation", "lr_slice", "window"]),
)
def test_anything_at_all_is_a_study_or_one_sentence(value: Any, key: str):
    nest: dict[str, Callable[[Any], dict[str, Any]]] = {
        "window": lambda v: {"phases": {"sensitivity": {"lr_slice": {"window": v}}}},
        "lr_slice": lambda v: {"phases": {"sensitivity": {"lr_slice": v}}},
    }
    phase = {"search", "sensitivity", "confirmation"}
    change = nest[key](value) if key in nest else {"phases": {key: value}} if key in phase else {key: value}
    assert "\n" not in refusal(with_change(**change))


def refusal(written: dict[str, Any]) -> str:
    try:
        spec = parse_spec(written, "x")
    except SpecError as error:
        return str(error)
    assert StudySpec.model_validate(spec.canonical()).digest == spec.digest
    return ""
