"""Counts kept by triggers, and whose turn it is: what a look at a job of millions and a fair claim read

Revision: 0008, follows 0007
"""

# ruff: noqa: S608  every word of these statements is ours

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
COUNTED = {"entries": "status", "rejections": "reason"}
ROW = "job_id, kind, word, part"
INDEXES = {
    "ix_jobs_finished_at": ("jobs", ["finished_at"]),
    "ix_batches_job_id_state_id": ("batches", ["job_id", "state", "id"]),
    "ix_batches_job_id_claimed_at": ("batches", ["job_id", "claimed_at"]),
    "ix_batches_job_id_finished_at": ("batches", ["job_id", "finished_at"]),
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("claimed_at", MOMENT, nullable=True))
    op.add_column("batches", sa.Column("claimed_at", MOMENT, nullable=True))
    op.drop_index("ix_batches_job_id", "batches")
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    op.create_table(
        "job_counts",
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("word", sa.String(length=40), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_counts_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "kind", "word", "part", name=op.f("pk_job_counts")),
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table, column in COUNTED.items():
        # First the triggers: on PostgreSQL they lock the table, so that nothing is written before the sums are.
        for statement in sqlite_triggers(table, column) if sqlite else postgresql_triggers(table, column):
            op.execute(sa.text(statement.replace(":", "\\:")))
        op.execute(
            f"INSERT INTO job_counts ({ROW}, n) SELECT job_id, '{table}', {column}, 0, count(*) "
            f"FROM {table} GROUP BY job_id, {column}"
        )


def downgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table in COUNTED:
        for what in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER count_{table}_{what}" + ("" if sqlite else f" ON {table}"))
        if not sqlite:
            op.execute(f"DROP FUNCTION count_{table}()")
    op.drop_table("job_counts")
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table)
    op.create_index("ix_batches_job_id", "batches", ["job_id"])
    for table in ("batches", "jobs"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN claimed_at")


def sqlite_triggers(table: str, column: str) -> list[str]:
    def add(row: str, step: int) -> str:
        return (
            f"INSERT INTO job_counts ({ROW}, n) VALUES ({row}.job_id, '{table}', {row}.{column}, 0, {step}) "
            f"ON CONFLICT ({ROW}) DO UPDATE SET n = n + excluded.n;"
        )

    changed = f"OLD.{column} IS NOT NEW.{column} OR OLD.job_id IS NOT NEW.job_id"
    return [
        f"CREATE TRIGGER count_{table}_insert AFTER INSERT ON {table} BEGIN {add('NEW', 1)} END",
        f"CREATE TRIGGER count_{table}_update AFTER UPDATE OF {column}, job_id ON {table} WHEN {changed} "
        f"BEGIN {add('OLD', -1)} {add('NEW', 1)} END",
        # A row that goes with its job finds the job's counts gone.
        f"CREATE TRIGGER count_{table}_delete AFTER DELETE ON {table} BEGIN UPDATE job_counts SET n = n - 1 "
        f"WHERE job_id = OLD.job_id AND kind = '{table}' AND word = OLD.{column} AND part = 0; END",
    ]


def postgresql_triggers(table: str, column: str) -> list[str]:
    """One function and three triggers that fire once a statement, whatever number of rows it changed."""

    def add(source: str) -> str:
        return (
            f"INSERT INTO job_counts ({ROW}, n) SELECT job_id, '{table}', {column}, pg_backend_pid(), sum(step) "
            f"FROM ({source}) AS steps WHERE EXISTS (SELECT 1 FROM jobs WHERE jobs.id = job_id) "
            f"GROUP BY job_id, {column} HAVING sum(step) <> 0 "
            f"ON CONFLICT ({ROW}) DO UPDATE SET n = job_counts.n + excluded.n;"
        )

    came = f"SELECT job_id, {column}, 1 AS step FROM fresh"
    went = f"SELECT job_id, {column}, -1 AS step FROM gone"
    function = (
        f"CREATE FUNCTION count_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'INSERT' THEN {add(came)} "
        f"ELSIF TG_OP = 'UPDATE' THEN {add(f'{came} UNION ALL {went}')} "
        f"ELSE {add(went)} END IF; RETURN NULL; END $$"
    )
    seen = {
        "insert": "NEW TABLE AS fresh",
        "update": "OLD TABLE AS gone NEW TABLE AS fresh",
        "delete": "OLD TABLE AS gone",
    }
    return [
        function,
        *(
            f"CREATE TRIGGER count_{table}_{what} AFTER {what.upper()} ON {table} REFERENCING {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION count_{table}()"
            for what, tables in seen.items()
        ),
    ]
