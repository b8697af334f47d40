"""A study survives its journey, and nothing else does."""

import base64
import json
import zlib

import pytest
import yaml

from search_spaces.errors import SpecError
from study.bundle import (
    BUNDLE_VARIABLE,
    MAX_DOCUMENT_BYTES,
    MAX_TEXT_BYTES,
    bundle_of,
    bundled_spec,
    pack_bundle,
    unpack_bundle,
)
from study.claims import lock
from study.claims.file import read_claims
from study.home import home_at
from study.preflight import with_claims
from study.spec import load_spec
from tests.study.claim_files import claim
from tests.study.study_files import with_change

CLAIMS = {
    "claims_version": 1,
    "design": {"confirmation": {"seeds_max": 7}},
    "claims": [claim("C1", "seed_abs_dev", underpowered="accepted", title='1e-4, "yes": \u2028 🙂')],
}
PHASES = {"search": {"trials": 2}, "confirmation": {"seeds": 7}}


@pytest.fixture
def study_file(tmp_path):
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(CLAIMS, sort_keys=False))
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(with_change(claims="claims.yaml", phases=PHASES, tier=None)))
    return path


def packed(document: object) -> str:
    text = json.dumps(document).encode()
    packer = zlib.compressobj(wbits=31)
    return base64.b64encode(packer.compress(text) + packer.flush()).decode()


def test_what_is_unpacked_is_what_was_packed():
    spec, claims = with_change(), {"claims_version": 1, "alpha": 0.05, "claims": [{"id": "é"}]}
    bundle = unpack_bundle(pack_bundle(spec, claims))
    assert (bundle.name, bundle.spec, bundle.claims) == ("tiny", spec, claims)


def test_equal_studies_have_equal_bundles():
    spec = with_change()
    assert pack_bundle(spec, None) == pack_bundle(dict(reversed(spec.items())), None)
    assert (
        unpack_bundle(pack_bundle(spec, None)).digest
        != unpack_bundle(pack_bundle(spec, {"alpha": 0.1})).digest
    )


def test_a_study_arrives_as_the_one_that_was_sent(study_file, tmp_path, monkeypatch):
    lock(study_file.parent / "claims.yaml")
    home = home_at(tmp_path / "home")
    monkeypatch.setenv(BUNDLE_VARIABLE, bundle_of(study_file))
    arrived = bundled_spec(home)
    assert arrived.digest == load_spec(study_file).digest
    assert arrived.claims == str(home.study_dir("tiny") / "claims.yaml")
    assert read_claims(arrived.claims) == read_claims(study_file.parent / "claims.yaml")
    assert with_claims(arrived).matched == with_claims(load_spec(study_file)).matched


def test_claims_that_are_there_already_are_left_alone(study_file, tmp_path):
    home, text = home_at(tmp_path / "home"), bundle_of(study_file)
    bundled_spec(home, text)
    path = home.study_dir("tiny") / "claims.yaml"
    path.write_text(f"# a note\n{path.read_text()}")
    bundled_spec(home, text)
    assert path.read_text().startswith("# a note\n")


def test_a_claims_file_that_arrived_can_be_locked(study_file, tmp_path):
    spec = bundled_spec(home_at(tmp_path / "home"), bundle_of(study_file))
    assert lock(str(spec.claims)).action == "locked"


@pytest.mark.parametrize(
    ("key", "value"),
    [("base", {"model": "path:/gone/model"}), ("task", {"name": "rows", "path": "/gone.jsonl"})],
)
def test_a_path_that_is_not_on_the_cluster_is_told(tmp_path, key, value):
    options = {"prompt": "{text}:", "answer": "label", "options": ["a", "b"]} if key == "task" else {}
    text = pack_bundle(with_change(**{key: {**value, **options}}), None)
    with pytest.raises(
        SpecError, match=r"'/gone.*', which does not exist on the machine .* write that path\.$"
    ):
        bundled_spec(home_at(tmp_path), text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no base64!",
        "é",
        base64.b64encode(b"no gzip").decode(),
        packed({"name": "a", "spec": {"name": "a"}, "claims": None})[:-8],
        packed({"name": "a", "spec": {"name": "a"}, "claims": None})[:8],
        base64.b64encode(zlib.compress(b"x" * 100, wbits=31) + b"more").decode(),
        base64.b64encode(zlib.compress(b"[" * 500_000, wbits=31)).decode(),
        base64.b64encode(zlib.compress(b'{"name":NaN}', wbits=31)).decode(),
    ],
)
def test_what_is_damaged_is_refused(text):
    with pytest.raises(SpecError, match="did not arrive whole"):
        unpack_bundle(text)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"name": "a"},
        {"name": "a", "spec": {"name": "b"}, "claims": None},
        {"name": "a", "spec": [], "claims": None},
        {"name": "a", "spec": {"name": "a"}, "claims": []},
        {"name": "a", "spec": {"name": "a"}, "claims": None, "more": 1},
    ],
)
def test_what_is_no_study_is_refused(document):
    with pytest.raises(SpecError, match="no study with its claims"):
        unpack_bundle(packed(document))


def test_a_bomb_is_not_blown_up():
    text = packed({"name": "a", "spec": {"name": "a", "x": "0" * (2 * MAX_DOCUMENT_BYTES)}, "claims": None})
    assert len(text) < MAX_TEXT_BYTES
    with pytest.raises(SpecError, match="did not arrive whole"):
        unpack_bundle(text)


def test_a_bundle_too_long_for_the_environment_is_refused_on_both_sides():
    with pytest.raises(SpecError, match=r"larger|longer than"):
        unpack_bundle("A" * (MAX_TEXT_BYTES + 4))
    many = {f"option {number}": number * 7919 % 10007 for number in range(40_000)}
    with pytest.raises(SpecError, match=r"Study 'tiny' takes .* can travel: shorten"):
        pack_bundle(with_change(more=many), None)


@pytest.mark.parametrize("name", ["../../etc", "", 7, "a/b"])
def test_a_name_that_is_none_travels_nowhere(tmp_path, name):
    with pytest.raises(SpecError, match="name is"):
        pack_bundle(with_change(name=name), None)
    with pytest.raises(SpecError):
        bundled_spec(home_at(tmp_path), packed({"name": name, "spec": with_change(name=name), "claims": {}}))
    assert list(tmp_path.iterdir()) == []


def test_no_bundle_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv(BUNDLE_VARIABLE, raising=False)
    with pytest.raises(SpecError, match="No study was sent"):
        bundled_spec(home_at(tmp_path))
