"""The worklist at a million studies: its copies of the verdict, its indexes, saved filters

Revision: 0002, follows 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
VERDICT = sa.Enum("confirmed", "dismissed", "unsure", name="verdict", native_enum=False, length=16)
BESIDE = ["verdict", "reader_id", "label", "subclass"]
SORTS = {"score": "updated_at", "time": "score", "date": "score"}
COLUMNS = {"score": "score", "time": "updated_at", "date": "study_date"}
VACUUMED = ("study_results", "entries")


def upgrade() -> None:
    with op.batch_alter_table("study_results") as table:
        table.add_column(sa.Column("verdict", VERDICT, nullable=True))
        table.add_column(sa.Column("reader_id", KEY, nullable=True))
        table.add_column(sa.Column("study_date", sa.String(length=8), nullable=False, server_default=""))
        table.create_foreign_key(op.f("fk_study_results_reader_id_users"), "users", ["reader_id"], ["id"])
        table.drop_index("ix_study_results_model_version_id_score")
    op.execute(
        "UPDATE study_results SET study_date = (SELECT study_date FROM studies WHERE id = study_id) WHERE EXISTS "
        "(SELECT 1 FROM studies WHERE id = study_id AND study_date IS NOT NULL)"
    )
    current = "FROM reviews r WHERE r.study_id = study_results.study_id AND r.superseded_at IS NULL"
    op.execute(
        f"UPDATE study_results SET verdict = (SELECT max(r.verdict) {current}), "  # noqa: S608  our own words
        f"reader_id = (SELECT max(r.user_id) {current}) WHERE EXISTS (SELECT 1 {current})"
    )
    for name, beside in SORTS.items():
        op.create_index(
            f"ix_study_results_by_{name}",
            "study_results",
            ["model_version_id", COLUMNS[name], "study_id"],
            postgresql_include=[beside, *BESIDE],
        )
    for name in ("verdict", "subclass"):
        op.create_index(f"ix_study_results_by_{name}", "study_results", ["model_version_id", name, "score", "study_id"])
    read = sa.text("reader_id IS NOT NULL")
    op.create_index(
        "ix_study_results_by_reader",
        "study_results",
        ["model_version_id", "reader_id", "score", "study_id"],
        postgresql_where=read,
        sqlite_where=read,
    )
    current = sa.text("superseded_at IS NULL")
    op.create_index("ix_reviews_current", "reviews", ["study_id"], postgresql_where=current, sqlite_where=current)
    op.drop_index("ix_images_study_id", "images")
    op.create_index("ix_images_study_id_id", "images", ["study_id", "id"])
    op.drop_index("ix_studies_patient", "studies")
    for name in ("patient", "accession", "label"):
        prefixes = {"postgresql_ops": {name: "text_pattern_ops"}, "postgresql_include": ["id"]}
        op.create_index(f"ix_studies_{name}", "studies", [name], **prefixes)
    if op.get_bind().dialect.name == "postgresql":
        # An index answers alone only for pages that a vacuum has seen; by default it waits for a fifth of the table.
        for table in VACUUMED:
            op.execute(
                f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02, "
                "autovacuum_vacuum_insert_scale_factor = 0.02)"
            )
    op.create_table(
        "saved_filters",
        sa.Column("id", KEY, nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_saved_filters_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_filters")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_saved_filters_user_id_name")),
    )


def downgrade() -> None:
    op.drop_table("saved_filters")
    if op.get_bind().dialect.name == "postgresql":
        for table in VACUUMED:
            op.execute(
                f"ALTER TABLE {table} RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor)"
            )
    for name in ("patient", "accession", "label"):
        op.drop_index(f"ix_studies_{name}", "studies")
    op.create_index("ix_studies_patient", "studies", ["patient"])
    op.drop_index("ix_images_study_id_id", "images")
    op.create_index("ix_images_study_id", "images", ["study_id"])
    op.drop_index("ix_reviews_current", "reviews")
    for name in ("score", "time", "date", "verdict", "subclass", "reader"):
        op.drop_index(f"ix_study_results_by_{name}", "study_results")
    with op.batch_alter_table("study_results") as table:
        table.drop_constraint(op.f("fk_study_results_reader_id_users"), type_="foreignkey")
        table.drop_column("study_date")
        table.drop_column("reader_id")
        table.drop_column("verdict")
        table.create_index("ix_study_results_model_version_id_score", ["model_version_id", "score"])
