"""How Alembic reaches the database: on the connection that `cxrscreen.schema` hands over."""

from typing import Any, Literal

from alembic import context

from cxrscreen.tables import Base, UtcDateTime


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Revisions stand on their own: today's types by their SQL, not by a class that may change tomorrow."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render_item,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
