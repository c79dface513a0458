"""Operating points: who signed, on which figures; the audit log is asked by person, deed and subject

Revision: 0007, follows 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ASKED = ("actor", "action", "subject")


def upgrade() -> None:
    op.add_column("operating_points", sa.Column("figures", sa.JSON(), nullable=False, server_default="{}"))
    for name in ASKED:
        op.create_index(f"ix_audit_events_{name}_at_id", "audit_events", [name, "at", "id"])


def downgrade() -> None:
    for name in ASKED:
        op.drop_index(f"ix_audit_events_{name}_at_id", "audit_events")
    op.execute("ALTER TABLE operating_points DROP COLUMN figures")
