"""Model versions for programs: which there are, and the archive again with one of them."""

from __future__ import annotations

from cxrscreen import db, registry
from cxrscreen.tables import Role
from dashboard import models as pages
from dashboard.api.contract import operation
from dashboard.api.jobs import show_job
from dashboard.api.shapes import JobNow, Version, Versions


@operation("GET", "/models")
def list_models() -> Versions:
    """The registered model versions with their operating points."""
    with db.read() as session:
        versions = registry.every(session)
        limits = registry.thresholds(session, [version.id for version in versions])
        found = [(version, limits[version.id]) for version in versions]
    same = ("id", "name", "state", "phantom", "sha256", "created_at", "activated_at")
    return Versions(
        versions=[
            Version(
                **{name: getattr(version, name) for name in same},
                threshold=limit,
                classes=[str(name) for name in version.record.get("classes", ())],
                positive=version.record.get("positive"),
                preprocessing=version.record.get("preprocessing"),
            )
            for version, limit in found
        ]
    )


@operation("POST", "/models/<id:version_id>/rescreen", status=201, role=Role.ADMIN)
def rescreen(version_id: int) -> JobNow:
    """Screen with this version every image that it has not answered for."""
    return show_job(pages.queue_rescreen(version_id))
