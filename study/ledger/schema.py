"""The tables of the ledger, as its newest migration leaves them.

Every time is a Unix time in seconds. JSON columns hold text, so that floats come back to the bit.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)

SERIAL = BigInteger().with_variant(Integer, "sqlite")
"""A 64-bit row number; SQLite counts up only in a column that is declared INTEGER."""


def _serial() -> "Column[int]":
    return Column("id", SERIAL, primary_key=True)


def _belongs_to(table: str) -> "Column[int]":
    return Column(f"{table}_id", SERIAL, ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False)


study = Table(
    "study",
    metadata,
    _serial(),
    Column("uid", String(32), nullable=False, unique=True),
    Column("name", String(250), nullable=False, unique=True),
    Column("spec_digest", String(64), nullable=False),
    Column("spec", JSON(none_as_null=True), nullable=False),
    Column("manifest", JSON(none_as_null=True), nullable=False),
    Column("plan", JSON(none_as_null=True)),
    Column("state", String(20), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
)

claim = Table(
    "claim",
    metadata,
    Column("study_id", SERIAL, ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    Column("owner", String(250), nullable=False),
    Column("host", String(250), nullable=False),
    Column("machine", String(250), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started_at", Double, nullable=False),
    Column("claimed_at", Double, nullable=False),
    Column("heartbeat_at", Double, nullable=False),
)

trial = Table(
    "trial",
    metadata,
    _serial(),
    _belongs_to("study"),
    Column("key", String(250), nullable=False),
    Column("phase", String(20), nullable=False),
    Column("slice", String(100), nullable=False),
    Column("family", String(100), nullable=False),
    Column("replicate", Integer, nullable=False),
    Column("point", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("params", JSON(none_as_null=True), nullable=False),
    Column("steps", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("outcome", String(20)),
    Column("ended_at", Double),
    Column("steps_done", Integer),
    Column("reason", Text),
    Column("value", Double),
    Column("select_value", Double),
    Column("init_value", Double),
    Column("device_seconds", Double),
    Column("final_metrics", JSON(none_as_null=True)),
    UniqueConstraint("study_id", "key"),
)
Index(None, trial.c.study_id, trial.c.phase, trial.c.family)

attempt = Table(
    "attempt",
    metadata,
    _serial(),
    _belongs_to("trial"),
    Column("number", Integer, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("pack", Integer),
    Column("node", String(250)),
    UniqueConstraint("trial_id", "number"),
)

measurement = Table(
    "measurement",
    metadata,
    _serial(),
    _belongs_to("trial"),
    Column("step", Integer, nullable=False),
    Column("metrics", JSON(none_as_null=True), nullable=False),
    Column("recorded_at", Double, nullable=False),
    UniqueConstraint("trial_id", "step"),
)
Index(None, measurement.c.trial_id, measurement.c.id)

rung = Table(
    "rung",
    metadata,
    _serial(),
    _belongs_to("study"),
    _belongs_to("trial"),
    Column("family", String(100), nullable=False),
    Column("rung", Integer, nullable=False),
    Column("value", Double, nullable=False),
    Column("cutoff", Double),
    Column("num_recorded", Integer, nullable=False),
    Column("action", String(20), nullable=False),
    UniqueConstraint("trial_id", "rung"),
)
Index(None, rung.c.study_id, rung.c.family)

event = Table(
    "event",
    metadata,
    _serial(),
    _belongs_to("study"),
    Column("kind", String(100), nullable=False),
    Column("detail", JSON(none_as_null=True), nullable=False),
    Column("recorded_at", Double, nullable=False),
)
Index(None, event.c.study_id)

tracked_run = Table(
    "tracked_run",
    metadata,
    _serial(),
    _belongs_to("study"),
    Column("store", String(500), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("key", String(500), nullable=False),
    Column("run_id", String(64)),
    Column("shipped_measurement", SERIAL, nullable=False),
    Column("shipped_state", Text, nullable=False),
    UniqueConstraint("study_id", "store", "kind", "key"),
)

token = Table(
    "token",
    metadata,
    _serial(),
    Column("name", String(100), nullable=False, unique=True),
    Column("scope", String(20), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

request = Table(
    "request",
    metadata,
    _serial(),
    Column("key", String(255), nullable=False, unique=True),
    Column("digest", String(64), nullable=False),
    Column("study", String(250), nullable=False),
    Column("created_at", Double, nullable=False),
)
