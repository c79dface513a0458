"""Nights: cron schedules with windows and scopes, what came of each night, sign-offs, drift and its alerts

Revision: 0003, follows 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
POLICY = sa.Enum("active", "candidate", "version", name="modelpolicy", native_enum=False, length=16)
NIGHT = sa.Enum("open", "paused", "done", "failed", "missed", name="nightstate", native_enum=False, length=16)
BAND = sa.Enum("gathering", "steady", "watch", "alert", name="band", native_enum=False, length=16)
# `at` is HH:MM: "22:05" is the cron expression "5 22 * * *".
CRON = "CAST(CAST(substr(at, 4, 2) AS INTEGER) AS VARCHAR) || ' ' || CAST(CAST(substr(at, 1, 2) AS INTEGER) AS VARCHAR) || ' * * *'"


def upgrade() -> None:
    # Column by column, never as a new table: on SQLite a table that is dropped takes along the rows that stand on it.
    for column in (
        sa.Column("cron", sa.String(length=100), nullable=False, server_default=""),
        sa.Column("window_from", sa.String(length=5), nullable=True),
        sa.Column("window_until", sa.String(length=5), nullable=True),
        sa.Column("scope", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("policy", POLICY, nullable=False, server_default="active"),
        sa.Column("rate", sa.Integer(), nullable=True),
        sa.Column("armed_at", MOMENT, nullable=False, server_default="1970-01-01 00:00:00"),
    ):
        op.add_column("schedules", column)
    number = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(
        f"ALTER TABLE schedules ADD COLUMN model_version_id {number} "
        "CONSTRAINT fk_schedules_model_version_id_model_versions REFERENCES model_versions (id)"
    )
    op.execute(f"UPDATE schedules SET armed_at = created_at, cron = {CRON}")  # noqa: S608  our own words
    # A night was named by its date; now it is named to the minute.
    op.execute(
        'UPDATE jobs SET "window" = "window" || \'T\' || (SELECT at FROM schedules WHERE id = schedule_id) '
        'WHERE schedule_id IS NOT NULL AND length("window") = 10'
    )
    op.execute("ALTER TABLE schedules DROP COLUMN at")
    op.add_column("jobs", sa.Column("rate", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("held_until", MOMENT, nullable=True))
    op.drop_index("ix_results_model_version_id", "results")
    op.create_index("ix_results_model_version_id_id", "results", ["model_version_id", "id"])
    _tables()
    op.execute(
        'INSERT INTO nights (schedule_id, "window", begins_at, state, job_id, reason, opened_at) '
        "SELECT schedule_id, \"window\", created_at, CASE WHEN state IN ('done', 'failed', 'cancelled') "
        "THEN CASE WHEN state = 'failed' THEN 'failed' ELSE 'done' END ELSE 'open' END, id, coalesce(error, ''), "
        'created_at FROM jobs WHERE schedule_id IS NOT NULL AND "window" IS NOT NULL'
    )
    op.execute(
        "INSERT INTO activations (model_version_id, actor, sign_off, rolled_back, at) "
        "SELECT id, 'before sign-offs were kept', '', false, activated_at FROM model_versions "
        "WHERE activated_at IS NOT NULL ORDER BY activated_at"
    )


def _tables() -> None:
    op.create_table(
        "nights",
        sa.Column("id", KEY, nullable=False),
        sa.Column("schedule_id", KEY, nullable=False),
        sa.Column("window", sa.String(length=32), nullable=False),
        sa.Column("begins_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=True),
        sa.Column("state", NIGHT, nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["schedule_id"], ["schedules.id"], name=op.f("fk_nights_schedule_id_schedules"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_nights_job_id_jobs"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nights")),
        sa.UniqueConstraint("schedule_id", "window", name=op.f("uq_nights_schedule_id_window")),
    )
    op.create_index("ix_nights_job_id", "nights", ["job_id"])
    op.create_table(
        "activations",
        sa.Column("id", KEY, nullable=False),
        sa.Column("model_version_id", KEY, nullable=False),
        sa.Column("before_id", KEY, nullable=True),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("sign_off", sa.Text(), nullable=False),
        sa.Column("rolled_back", sa.Boolean(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_activations_model_version_id_model_versions")
        ),
        sa.ForeignKeyConstraint(
            ["before_id"], ["model_versions.id"], name=op.f("fk_activations_before_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activations")),
    )
    op.create_index("ix_activations_model_version_id", "activations", ["model_version_id"])
    op.create_table(
        "drifts",
        sa.Column("id", KEY, nullable=False),
        sa.Column("model_version_id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("last_result_id", sa.BigInteger(), nullable=False),
        sa.Column("results", sa.Integer(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("band", BAND, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_drifts_model_version_id_model_versions")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_drifts_job_id_jobs"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drifts")),
    )
    op.create_index("ix_drifts_model_version_id", "drifts", ["model_version_id"])
    op.create_table(
        "alerts",
        sa.Column("id", KEY, nullable=False),
        sa.Column("drift_id", KEY, nullable=True),
        sa.Column("model_version_id", KEY, nullable=True),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=True),
        sa.Column("seen_by", sa.String(length=100), nullable=True),
        sa.ForeignKeyConstraint(
            ["drift_id"], ["drifts.id"], name=op.f("fk_alerts_drift_id_drifts"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_alerts_model_version_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index("ix_alerts_drift_id", "alerts", ["drift_id"])


def downgrade() -> None:
    for table in ("alerts", "drifts", "activations", "nights"):
        op.drop_table(table)
    op.drop_index("ix_results_model_version_id_id", "results")
    op.create_index("ix_results_model_version_id", "results", ["model_version_id"])
    for column in ("held_until", "rate"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
    # Only the hour survives; two nights of one date keep their longer names.
    op.execute(
        'UPDATE jobs SET "window" = substr("window", 1, 10) WHERE schedule_id IS NOT NULL AND NOT EXISTS '
        "(SELECT 1 FROM jobs other WHERE other.schedule_id = jobs.schedule_id AND other.id <> jobs.id "
        'AND substr(other."window", 1, 10) = substr(jobs."window", 1, 10))'
    )
    op.add_column("schedules", sa.Column("at", sa.String(length=5), nullable=False, server_default="22:00"))
    hours = [
        (number, cron.split())
        for number, cron in op.get_bind().execute(sa.text("SELECT id, cron FROM schedules")).fetchall()
    ]
    for number, (minute, hour, *_) in hours:
        if minute.isdigit() and hour.isdigit():
            op.get_bind().execute(
                sa.text("UPDATE schedules SET at = :at WHERE id = :id"),
                {"at": f"{int(hour):02}:{int(minute):02}", "id": number},
            )
    for column in ("armed_at", "rate", "model_version_id", "policy", "scope", "window_until", "window_from", "cron"):
        op.execute(f"ALTER TABLE schedules DROP COLUMN {column}")
