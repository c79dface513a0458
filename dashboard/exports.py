"""The reviewed set as CSV or Parquet, for those who may read; each export is in the audit log."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response, request, stream_with_context
from werkzeug.wsgi import wrap_file

from cxrscreen import db, reviewed
from cxrscreen.tables import Role, now
from dashboard import sheets
from dashboard.security import needs

blueprint = Blueprint("exports", __name__)


@blueprint.get("/reviewed.<any(csv,parquet):kind>", endpoint="reviewed")
@needs(Role.READER)
def export(kind: str) -> Response:
    """One row a study with a verdict that stands; memory does not grow with them."""
    name = f"cxrscreen-reviewed-{now():%Y%m%d-%H%M}.{kind}"
    if kind == "csv":
        return Response(
            stream_with_context(_lines()),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
    with db.read() as session:
        file = sheets.parquet_file(reviewed.rows(session), reviewed.COLUMNS)
    return Response(
        wrap_file(request.environ, file),
        content_type="application/vnd.apache.parquet",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
        direct_passthrough=True,
    )


def _lines() -> Iterator[str]:
    with db.read() as session:
        yield from sheets.csv_lines(reviewed.rows(session), list(reviewed.COLUMNS))
