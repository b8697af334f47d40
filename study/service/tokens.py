"""The service's tokens: 256 random bits behind `twr_`, of which the ledger keeps the SHA-256 and nothing else."""

import hashlib
import secrets

from study.ledger import Ledger, Scope

PREFIX = "twr_"
"""Tells a token of ours in a log or a repository."""
NUM_BYTES = 32


def create_token(ledger: Ledger, name: str, scope: Scope, *, expires_at: float | None = None) -> str:
    """Make a token; its secret is told here, once.

    Args:
        ledger: where it is kept.
        name: what logs call it.
        scope: what it allows.
        expires_at: Unix time in seconds; None: never.

    Raises:
        SpecError: the name is taken.
    """
    secret = PREFIX + secrets.token_urlsafe(NUM_BYTES)
    ledger.add_token(name, scope, digest(secret), expires_at=expires_at)
    return secret


def digest(secret: str) -> str:
    """SHA-256 of a secret in hex: what is kept, and what is looked for.

    Since a digest is looked for and not the secret, the time that a comparison takes tells nothing of the secret:
    who cannot choose a digest cannot approach one step by step. 256 random bits need no slow hash.
    """
    return hashlib.sha256(secret.encode()).hexdigest()
