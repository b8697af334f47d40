"""The ledger's first tables."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring the schema to this revision."""
    _create_studies()
    _create_trials()
    _create_results()


def downgrade() -> None:
    """Bring the schema back to the revision before."""
    op.drop_index("ix_rung_study_id_family", "rung")
    op.drop_table("rung")
    op.drop_index("ix_measurement_trial_id_id", "measurement")
    op.drop_table("measurement")
    op.drop_table("attempt")
    op.drop_index("ix_trial_study_id_phase_family", "trial")
    op.drop_table("trial")
    op.drop_table("tracked_run")
    op.drop_index("ix_event_study_id", "event")
    op.drop_table("event")
    op.drop_table("claim")
    op.drop_table("study")


def _create_studies() -> None:
    op.create_table(
        "study",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("spec_digest", sa.String(length=64), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("manifest", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("plan", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
        sa.UniqueConstraint("name", name="uq_study_name"),
        sa.UniqueConstraint("uid", name="uq_study_uid"),
    )
    op.create_table(
        "claim",
        sa.Column("study_id", SERIAL, nullable=False),
        sa.Column("owner", sa.String(length=250), nullable=False),
        sa.Column("host", sa.String(length=250), nullable=False),
        sa.Column("machine", sa.String(length=250), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started_at", sa.Double(), nullable=False),
        sa.Column("claimed_at", sa.Double(), nullable=False),
        sa.Column("heartbeat_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_claim_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", name="pk_claim"),
    )
    op.create_table(
        "event",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("study_id", SERIAL, nullable=False),
        sa.Column("kind", sa.String(length=100), nullable=False),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_event_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
    )
    op.create_index("ix_event_study_id", "event", ["study_id"])
    op.create_table(
        "tracked_run",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("study_id", SERIAL, nullable=False),
        sa.Column("store", sa.String(length=500), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("shipped_measurement", SERIAL, nullable=False),
        sa.Column("shipped_state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name="fk_tracked_run_study_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tracked_run"),
        sa.UniqueConstraint(
            "study_id", "store", "kind", "key", name="uq_tracked_run_study_id_store_kind_key"
        ),
    )


def _create_trials() -> None:
    op.create_table(
        "trial",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("study_id", SERIAL, nullable=False),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("phase", sa.String(length=20), nullable=False),
        sa.Column("slice", sa.String(length=100), nullable=False),
        sa.Column("family", sa.String(length=100), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("point", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("params", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("steps_done", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("select_value", sa.Double(), nullable=True),
        sa.Column("init_value", sa.Double(), nullable=True),
        sa.Column("device_seconds", sa.Double(), nullable=True),
        sa.Column("final_metrics", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_trial_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_trial"),
        sa.UniqueConstraint("study_id", "key", name="uq_trial_study_id_key"),
    )
    op.create_index("ix_trial_study_id_phase_family", "trial", ["study_id", "phase", "family"])
    op.create_table(
        "attempt",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("trial_id", SERIAL, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_attempt_trial_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_attempt"),
        sa.UniqueConstraint("trial_id", "number", name="uq_attempt_trial_id_number"),
    )


def _create_results() -> None:
    op.create_table(
        "measurement",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("trial_id", SERIAL, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name="fk_measurement_trial_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_measurement"),
        sa.UniqueConstraint("trial_id", "step", name="uq_measurement_trial_id_step"),
    )
    op.create_index("ix_measurement_trial_id_id", "measurement", ["trial_id", "id"])
    op.create_table(
        "rung",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("study_id", SERIAL, nullable=False),
        sa.Column("trial_id", SERIAL, nullable=False),
        sa.Column("family", sa.String(length=100), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("cutoff", sa.Double(), nullable=True),
        sa.Column("num_recorded", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_rung_study_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_rung_trial_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_rung"),
        sa.UniqueConstraint("trial_id", "rung", name="uq_rung_trial_id_rung"),
    )
    op.create_index("ix_rung_study_id_family", "rung", ["study_id", "family"])
