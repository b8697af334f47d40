import json
import time
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from search_spaces.errors import SpecError
from study.service.bodies import MOST_LEVELS, MOST_NODES, read_sent
from study.service.problems import Problem, members_of
from tests.study.service.support import spec

BILLION = "\n".join(
    [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['lol'] * 9)}]" for n in range(9)]
)
JSON, YAML = "application/json", "application/yaml"


def sent(text: str) -> bytes:
    return json.dumps({"spec": text}).encode()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (BILLION, "anchor"),
        ("a: &a b\nc: *a", "anchor"),
        ("a: *b", "anchor"),
        ("<<: *b", "anchor"),
        ("[" * 5000, "deep"),
        ("{a: " * 5000, "deep"),
        ("- " * 5000 + "x", "deep"),
        ("a: [" + "1," * (2 * MOST_NODES + 1) + "1]", "values"),
        ("a: " + "x" * 200_001, "characters"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: !!binary x", "tag"),
        ("a: \x07", "YAML"),
        ('a: "\\ud800"', "control"),
        ('a: "\\0"', "control"),
        ("a: 1\na: 2", "twice"),
        ("a: [1", "YAML"),
        ("a: " + "9" * 5000, "digits"),
        ("a: .inf", ".inf|finite|inf"),
        ("a: 1e999", "finite"),
        ("? [a]\n: b", "one word"),
        ("", "empty"),
        ("- a", "mapping"),
        ("---\na: 1\n---\nb: 2", "YAML"),
        ("%YAML 9.9\n---\na: 1", "YAML"),
    ],
)
@pytest.mark.parametrize("way", ["yaml", "json"])
def test_malformed_yaml_is_one_sentence_and_quick(http: TestClient, body: str, says: str, way: str):
    began = time.monotonic()
    content, kind = (body.encode(), YAML) if way == "yaml" else (sent(body), JSON)
    answer = http.post("/api/v1/plan", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert any(word in detail for word in says.split("|")), detail
    assert len(detail) < 600
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'"spec"',
        b"{}",
        b'{"spec": null}',
        b'{"spec": 1}',
        b'{"spec": []}',
        b'{"spec": {}}',
        b'{"spec": {}, "extra": 1}',
        b'{"spec": {"a": NaN}}',
        b'{"spec": {"a": 1e999}}',
        b'{"spec": {"seed": ' + b"9" * 5000 + b"}}",
        b'{"spec": {"name": "\\ud800"}}',
        b'{"spec": {"\\ud800": 1}}',
        b'{"spec": {"name": "a\\u0000b"}}',
        b'{"spec": {"name": "x"}, "claims": 3}',
        b'{"spec": ' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}",
        b'{"spec": {"families": [' + b"1," * 30_000 + b"1]}}",
        "{'spec': 'ü'}".encode("latin-1"),
        b"\xff\xfe{\x00}\x00",
    ],
)
def test_malformed_json_is_one_sentence(http: TestClient, body: bytes):
    answer = http.post("/api/v1/plan", content=body, headers={"Content-Type": JSON})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize("kind", ["text/plain", "", "application/xml", "multipart/form-data", "json"])
def test_other_content_is_refused_by_its_type(http: TestClient, kind: str):
    answer = http.post("/api/v1/plan", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "application/json" in answer.headers["accept"]


def test_a_study_as_deep_and_as_large_as_may_be_is_read():
    deep: Any = 1
    for _ in range(MOST_LEVELS - 2):
        deep = {"a": deep}
    assert read_sent(JSON, json.dumps({"spec": deep}).encode()).spec == deep
    with pytest.raises(SpecError, match="deep"):
        read_sent(JSON, json.dumps({"spec": {"a": {"a": deep}}}).encode())


def test_learning_rates_and_answers_are_read_as_study_files_are():
    text = "lr: 1e-4\nanswer: no\ntime: 12:30\n"
    assert read_sent(YAML, text.encode()).spec == {"lr": 1e-4, "answer": "no", "time": "12:30"}
    assert read_sent("text/yaml", yaml.safe_dump(spec()).encode()).spec == spec()


def test_an_unknown_kind_is_a_problem():
    with pytest.raises(Problem) as caught:
        read_sent("image/png", b"")
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("sentence", "members"),
    [
        (
            "study: training.steps is 0, but must be 1 or more: raise it.",
            ("study: training.steps is 0", "must be 1 or more", "raise it"),
        ),
        ("Something happened.", None),
    ],
)
def test_a_sentence_of_the_error_tree_has_three_parts(sentence: str, members: tuple[str, ...] | None):
    wanted = {} if members is None else dict(zip(("value", "rule", "way_out"), members, strict=True))
    assert members_of(sentence) == wanted
