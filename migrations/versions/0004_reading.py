"""Reading: findings, taking back, two readers and adjudication, hidden cases, assignment

Revision: 0004, follows 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
VERDICT = sa.Enum("confirmed", "dismissed", "unsure", name="verdict", native_enum=False, length=16)
WAY = sa.Enum("single", "agreed", "adjudicated", name="way", native_enum=False, length=16)
DRAW = sa.Enum("sample", "masked", name="draw", native_enum=False, length=16)
PEOPLE = ("assigned_id", "first_reader_id", "second_reader_id")
OPEN = ("score", "draw", "first_reader_id", "second_reader_id", "assigned_id")
BESIDE = ("verdict", "reader_id", "label", "subclass")
# name: columns after the version, columns beside them, condition
INDEXES = {
    "by_queue": (("queue", "study_id"), ("updated_at", *OPEN, *BESIDE), None),
    "by_time": (("updated_at", "study_id"), ("queue", *OPEN, *BESIDE), None),
    "by_date": (("study_date", "study_id"), ("queue", *OPEN, *BESIDE), None),
    "by_verdict": (("verdict", "queue", "study_id"), ("updated_at", "label", "subclass", *OPEN), None),
    "by_subclass": (("subclass", "queue", "study_id"), ("verdict", *OPEN), None),
    "by_reader": (("reader_id", "queue", "study_id"), (), "reader_id IS NOT NULL"),
    "by_assigned": (("assigned_id", "queue", "study_id"), (), "assigned_id IS NOT NULL"),
    "read_twice": (("queue", "study_id"), (), "first_reader_id IS NOT NULL AND verdict IS NULL"),
    "drawn": (("draw", "study_id"), (), "draw IS NOT NULL"),
}
FORMER = {
    "by_time": (("updated_at", "study_id"), ("score", *BESIDE), None),
    "by_date": (("study_date", "study_id"), ("score", *BESIDE), None),
    "by_verdict": (("verdict", "score", "study_id"), (), None),
    "by_subclass": (("subclass", "score", "study_id"), (), None),
    "by_reader": (("reader_id", "score", "study_id"), (), "reader_id IS NOT NULL"),
}


def upgrade() -> None:
    # Column by column, never as a new table: on SQLite a table that is dropped takes along the rows that stand on it.
    for table in ("studies", "study_results"):
        for column in PEOPLE:
            _add_reference(table, column, "users")
    op.add_column("study_results", sa.Column("queue", sa.Double(), nullable=False, server_default="0"))
    op.add_column("study_results", sa.Column("draw", DRAW, nullable=True))
    op.execute("UPDATE study_results SET queue = score")
    for column in (
        sa.Column("way", WAY, nullable=False, server_default="single"),
        sa.Column("findings", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("blind", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("withdrawn_at", MOMENT, nullable=True),
    ):
        op.add_column("reviews", column)
    _add_reference("reviews", "replaces_id", "reviews")
    op.create_table(
        "readings",
        sa.Column("id", KEY, nullable=False),
        sa.Column("study_id", KEY, nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("model_version_id", KEY, nullable=True),
        sa.Column("verdict", VERDICT, nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("withdrawn_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_readings_study_id_studies"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_readings_user_id_users")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_readings_model_version_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_readings")),
    )
    op.create_index("ix_readings_study_id", "readings", ["study_id"])
    for name in FORMER:
        op.drop_index(f"ix_study_results_{name}", "study_results")
    _make(INDEXES)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(f"ix_study_results_{name}", "study_results")
    op.drop_table("readings")
    # Former programs know no verdict that was taken back; one that gave way to another gave way all the same.
    op.execute("DELETE FROM reviews WHERE withdrawn_at IS NOT NULL")
    for column in ("replaces_id", "withdrawn_at", "blind", "seconds", "findings", "way"):
        op.execute(f"ALTER TABLE reviews DROP COLUMN {column}")
    for column in ("draw", "queue", *PEOPLE):
        op.execute(f"ALTER TABLE study_results DROP COLUMN {column}")
    for column in PEOPLE:
        op.execute(f"ALTER TABLE studies DROP COLUMN {column}")
    _make(FORMER)


def _add_reference(table: str, column: str, target: str) -> None:
    number = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(
        f"ALTER TABLE {table} ADD COLUMN {column} {number} "
        f"CONSTRAINT fk_{table}_{column}_{target} REFERENCES {target} (id)"
    )


def _make(indexes: dict[str, tuple[tuple[str, ...], tuple[str, ...], str | None]]) -> None:
    for name, (columns, beside, condition) in indexes.items():
        where = sa.text(condition) if condition else None
        op.create_index(
            f"ix_study_results_{name}",
            "study_results",
            ["model_version_id", *columns],
            postgresql_include=list(beside),
            postgresql_where=where,
            sqlite_where=where,
        )
