"""The record of every study, in SQLite or PostgreSQL: the only door to the database."""

from study.ledger.engine import connect_to_database
from study.ledger.ledger import Ledger
from study.ledger.rows import (
    Attempt,
    Claim,
    Event,
    RunKind,
    Scope,
    StudyRecord,
    StudyStanding,
    StudyState,
    Token,
    TrackedRun,
    TrialActivity,
    TrialTally,
)

__all__ = [
    "Attempt",
    "Claim",
    "Event",
    "Ledger",
    "RunKind",
    "Scope",
    "StudyRecord",
    "StudyStanding",
    "StudyState",
    "Token",
    "TrackedRun",
    "TrialActivity",
    "TrialTally",
    "connect_to_database",
]
