"""Registers the token of a secret file under a name, so that the service may listen beyond loopback.

A name that is registered already is left alone, revoked or not: a token is replaced by `trialwright token`.
"""

# ruff: noqa: INP001 (a script of the image, run by its path)

import sys
from pathlib import Path

from study.home import open_home
from study.ledger import Ledger, Scope
from study.service.tokens import digest

name, file = sys.argv[1:]
ledger = Ledger.open(open_home(None).ledger_url)
try:
    known = name in {token.name for token in ledger.tokens()}
    if not known:
        secret = Path(file).read_text(encoding="utf-8").strip()
        ledger.add_token(name, Scope.RUN, digest(secret), expires_at=None)
    print(f"Token {name}: {'was there' if known else 'registered'}.")  # noqa: T201
finally:
    ledger.close()
