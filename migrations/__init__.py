"""Alembic revisions, run by `cxrscreen.schema`; batch mode, because SQLite cannot alter a column in place."""
