"""Features: what the network saw, kept for the next head

Revision: 0006, follows 0005
"""

import sqlalchemy as sa
from alembic import op

from cxrscreen.tables.base import Key

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "features",
        sa.Column("space", sa.String(length=16), nullable=False),
        sa.Column("image_id", Key, nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_features_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("space", "image_id", name=op.f("pk_features")),
    )
    op.create_index(op.f("ix_features_image_id"), "features", ["image_id"])
    if op.get_bind().dialect.name == "postgresql":
        # 16-bit floats hardly shrink; trying to would take longer than writing them.
        op.execute("ALTER TABLE features ALTER COLUMN numbers SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("features")
