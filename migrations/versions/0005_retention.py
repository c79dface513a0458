"""Retention: blobs on their way out, uploads that are gone, what a watched folder was read for

Revision: 0005, follows 0004
"""

import sqlalchemy as sa
from alembic import op

import cxrscreen.tables

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "condemned",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("found_at", cxrscreen.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("going_at", cxrscreen.tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("gone_at", cxrscreen.tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kind", "sha256", name=op.f("pk_condemned")),
    )
    op.create_index(op.f("ix_condemned_found_at"), "condemned", ["found_at"])
    op.create_table(
        "store_marks",
        sa.Column("mark", sa.String(length=32), nullable=False),
        sa.Column("made_at", cxrscreen.tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_store_marks")),
    )
    op.create_index(op.f("ix_images_derivative"), "images", ["derivative"])
    op.create_index(op.f("ix_uploads_sha256"), "uploads", ["sha256"])
    # What points at an image: a deletion must not read every entry and every study result to find none.
    op.create_index(op.f("ix_entries_image_id"), "entries", ["image_id"])
    op.create_index("ix_rejections_reason_entry_id", "rejections", ["reason", "entry_id"])  # of the quarantine
    op.create_index(op.f("ix_study_results_image_id"), "study_results", ["image_id"])
    with op.batch_alter_table("uploads") as uploads:
        uploads.add_column(sa.Column("removed_at", cxrscreen.tables.UtcDateTime(timezone=True), nullable=True))
    op.create_table(
        "watched_files",
        sa.Column("schedule_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("folder", sa.String(length=32), nullable=False),
        sa.Column("file", sa.String(length=32), nullable=False),
        sa.Column("stamp", sa.String(length=80), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["schedules.id"],
            name=op.f("fk_watched_files_schedule_id_schedules"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("schedule_id", "folder", "file", name=op.f("pk_watched_files")),
    )


def downgrade() -> None:
    op.drop_table("watched_files")
    op.drop_table("store_marks")
    with op.batch_alter_table("uploads") as uploads:
        uploads.drop_column("removed_at")
    op.drop_index(op.f("ix_study_results_image_id"), table_name="study_results")
    op.drop_index("ix_rejections_reason_entry_id", table_name="rejections")
    op.drop_index(op.f("ix_entries_image_id"), table_name="entries")
    op.drop_index(op.f("ix_uploads_sha256"), table_name="uploads")
    op.drop_index(op.f("ix_images_derivative"), table_name="images")
    op.drop_index(op.f("ix_condemned_found_at"), table_name="condemned")
    op.drop_table("condemned")
