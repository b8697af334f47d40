"""The ledger's address in messages: never with what is secret in it."""

import pytest
from sqlalchemy import make_url

from search_spaces.errors import SpecError
from study.ledger import Ledger
from study.ledger.engine import shown


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql://ann:planted@h/x", "postgresql://ann:***@h/x"),
        (
            "postgresql://ann@h/x?password=planted&sslmode=require",
            "postgresql://ann@h/x?password=...&sslmode=require",
        ),
        ("postgresql://h/x?sslPassword=planted", "postgresql://h/x?sslPassword=..."),
    ],
)
def test_is_shown_without_secrets(address, expected):
    assert shown(make_url(address)) == expected


@pytest.mark.parametrize(
    "address",
    [
        *(
            "postgresql://ann:pl@nted:it@h/x",
            "postgresql://ann:planted@h:port/x",
            "postgresql//ann:planted@h/x",
        ),
        *("mysql://ann:planted@h/x", "postgresql://ann:planted@h/x?options=%zz&port=planted"),
    ],
)
def test_a_wrong_one_is_refused_in_one_sentence_that_repeats_no_secret(address):
    with pytest.raises(SpecError) as refused:
        Ledger.open(address)
    assert "planted" not in str(refused.value)
    assert "nted:it" not in str(refused.value)
    assert refused.value.__cause__ is None
