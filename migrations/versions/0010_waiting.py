"""Indexes of few rows: cases that were read blind and wait, those where readers differ, and the confirmed

Revision: 0010, follows 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLE = "study_results"
BESIDE = ("assigned_id", "verdict", "reader_id", "label", "subclass")
# name: columns after the version, columns beside them, condition
INDEXES = {
    "read_once": (
        ("first_reader_id", "queue", "study_id"),
        ("updated_at", "study_date", "score", "draw", "second_reader_id", *BESIDE),
        "first_reader_id IS NOT NULL AND verdict IS NULL",
    ),
    "read_twice": (
        ("queue", "study_id"),
        ("updated_at", "study_date", "score", "draw", "first_reader_id", "second_reader_id", *BESIDE),
        "second_reader_id IS NOT NULL AND verdict IS NULL",
    ),
    "confirmed": (("subclass", "queue"), ("study_id", "image_id", "score"), "verdict = 'confirmed'"),
}
FORMER = {"read_twice": (("queue", "study_id"), (), "first_reader_id IS NOT NULL AND verdict IS NULL")}


def upgrade() -> None:
    op.drop_index("ix_study_results_read_twice", TABLE)
    _make(INDEXES)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(f"ix_study_results_{name}", TABLE)
    _make(FORMER)


def _make(indexes: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]]) -> None:
    for name, (columns, beside, condition) in indexes.items():
        op.create_index(
            f"ix_study_results_{name}",
            TABLE,
            ["model_version_id", *columns],
            postgresql_include=list(beside),
            postgresql_where=sa.text(condition),
            sqlite_where=sa.text(condition),
        )
