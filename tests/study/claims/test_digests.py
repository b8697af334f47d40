"""What counts as a change of a claims file, and of which claim."""

from copy import deepcopy
from typing import Any

import pytest

from study.claims import parse_claims
from study.claims.digests import claim_digests, digest, file_digest
from study.claims.file import read_claims
from tests.study.claims.claims_files import EXAMPLE, write


@pytest.fixture
def written(tmp_path):
    return read_claims(write(tmp_path, EXAMPLE))


def claims(written: Any) -> dict[str, str]:
    return claim_digests(written, parse_claims(written, source="x"))


def changed(before: Any, after: Any) -> set[str]:
    old, new = claims(before), claims(after)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def test_it_is_the_sha256_of_canonical_json():
    r"""The expected value comes from sha256sum, given {"a":[1,2.5],"b":"\u00e9"}."""
    expected = "60d4fe7d84d09285a774fa6c850ed0e739e0153890529471751ae4df4e1df886"
    assert digest({"b": "é", "a": [1.0, 2.5]}) == expected


def test_comments_order_and_ways_of_writing_do_not_count(tmp_path, written):
    lines = EXAMPLE.splitlines()
    shuffled = "\n".join([lines[0], *lines[1:5], "# a comment", *lines[5:]])
    shuffled = shuffled.replace("alpha: 0.05", "alpha: 5e-2").replace("margin: 0.0,", "margin: 0,")
    shuffled = shuffled.replace("alpha: 5e-2\n", "").replace("workloads: [", "alpha: 5e-2\nworkloads: [", 1)
    again = read_claims(write(tmp_path, shuffled))
    assert list(again) != list(written)
    assert file_digest(again) == file_digest(written)
    assert claims(again) == claims(written)


def test_the_records_do_not_count(written):
    unlocked = {key: value for key, value in written.items() if key != "registered"}
    assert file_digest(unlocked) == file_digest(written)
    assert claims(unlocked) == claims(written)


def with_(written: Any, path: tuple[Any, ...], value: Any) -> Any:
    after = deepcopy(written)
    inner = after
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return after


ALL = {"C1", "C2", "C3", "C4", "C5"}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("claims", 1, "title"), "other", {"C2"}),
        (("claims", 0, "all_of", 1, "margin"), 0.03, {"C1"}),
        (("claims", 0, "compare", "a"), "adamw", None),
        (("alpha",), 0.01, ALL),
        (("design", "confirmation", "spending"), "pocock", ALL),
        (("workloads",), ["moe-cls"], ALL),
        (("families", "adamw", "defaults", "lr"), 1e-3, ALL),
        (("families", "sgd"), {"space": "sgd@1"}, set()),
        (("design", "pilot", "sd"), {"lr_width": 0.2}, set()),
        (("study",), "other", set()),
    ],
)
def test_a_change_counts_for_the_claims_whose_verdict_may_depend_on_it(written, path, value, expected):
    if expected is None:
        written = with_(written, ("families", "sgd"), {})
        path, value, expected = ("claims", 0, "compare"), {"a": "sgd", "b": "adamw"}, ALL
    after = with_(written, path, value)
    assert changed(written, after) == expected
    assert file_digest(after) != file_digest(written)


def test_a_claim_that_is_added_changes_no_other(written):
    after = with_(written, ("claims",), [*written["claims"], {**written["claims"][2], "id": "C6"}])
    assert changed(written, after) == {"C6"}


def test_a_target_family_counts_for_the_claim_that_refers_to_it(written):
    base = with_(written, ("families", "sgd"), {"space": "sgd@1"})
    base = with_(base, ("claims", 0, "all_of", 0, "tau", "ref"), "sgd.confirmed")
    assert changed(base, with_(base, ("families", "sgd", "defaults"), {"lr": 0.1})) == {"C1"}
