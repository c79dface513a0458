"""Sessions that end: a session holds the mark of its user, so whoever is signed in signs in once more

Revision: 0009, follows 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("session_mark", sa.String(length=16), nullable=False, server_default=""))


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP COLUMN session_mark")
