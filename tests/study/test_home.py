"""Where a home is and how the ledger's address, which may hold a password, reaches it."""

import pytest

from search_spaces.errors import SpecError
from study.home import home_at
from study.job_environment import SHOWN_ADDRESS


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("TRIALWRIGHT_LEDGER", "TRIALWRIGHT_LEDGER_FILE", "TRIALWRIGHT_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_ledger_is_in_the_home_unless_something_else_is_named(tmp_path, monkeypatch):
    home = home_at(tmp_path)
    assert home.ledger_url == f"sqlite:///{tmp_path}/ledger.db"
    (tmp_path / "url").write_text("postgresql://someone:s3cret@db/trialwright\n")
    monkeypatch.setenv("TRIALWRIGHT_LEDGER_FILE", str(tmp_path / "url"))
    assert home.ledger_url == "postgresql://someone:s3cret@db/trialwright"
    assert home.has_ledger
    monkeypatch.setenv("TRIALWRIGHT_LEDGER", "postgresql://db/other")
    assert home.ledger_url == "postgresql://db/other"


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"postgresql://u:s3cret@a/b\npostgresql://u:s3cret@c/d", b"\xff"]
)
def test_a_file_that_holds_no_address_is_told_without_its_content(tmp_path, monkeypatch, content):
    (tmp_path / "url").write_bytes(content)
    monkeypatch.setenv("TRIALWRIGHT_LEDGER_FILE", str(tmp_path / "url"))
    with pytest.raises(SpecError, match=r"The file '.*url' of TRIALWRIGHT_LEDGER_FILE .*: correct") as told:
        _ = home_at(tmp_path).ledger_url
    assert "s3cret" not in str(told.value)


def test_a_file_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIALWRIGHT_LEDGER_FILE", str(tmp_path / "gone"))
    with pytest.raises(SpecError, match=r"cannot be read \(No such file or directory\)"):
        _ = home_at(tmp_path).has_ledger


def test_a_job_has_no_home_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv(SHOWN_ADDRESS, "http://head:8265")
    for folder in (None, "relative"):
        with pytest.raises(
            SpecError, match=r"The cluster does not say where it keeps studies: .*TRIALWRIGHT_HOME"
        ):
            home_at(folder)
    monkeypatch.setenv("TRIALWRIGHT_HOME", str(tmp_path))
    assert home_at(None).root == tmp_path


def test_a_home_of_a_user_who_is_not_known_is_told():
    with pytest.raises(
        SpecError, match=r"The home '~nobody-at-all/x' begins with a user .*: write the folder in full"
    ):
        home_at("~nobody-at-all/x")
