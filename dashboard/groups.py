"""Uploads of one person that become one job together, and those that no job has yet."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, url_for

from cxrscreen import resumable
from cxrscreen.errors import Conflict, CxrscreenError
from dashboard import identity, uploads
from dashboard.tus_headers import TooLarge

blueprint = Blueprint("groups", __name__)


@blueprint.get("/uploads/unfinished")
def unfinished() -> Response:
    """What this person began and no job has yet, for the page that goes on with it."""
    return jsonify(
        uploads=[
            {
                "url": url_for("tus.show", token=upload.id),
                "name": upload.name,
                "size": upload.size,
                "offset": offset,
                "modified": upload.modified,
                "group": upload.group,
                "expires": int(upload.expires),
            }
            for upload, offset in _with_offsets(resumable.unfinished(identity.signed_in().row.id))
        ]
    )


@blueprint.post("/uploads/groups/<group>")
def start(group: str) -> Response:
    """Make one job of all the uploads of a group. Asked twice, it answers with the same job."""
    me = identity.signed_in().row
    with resumable.beginning(me.id, group):
        job_id = uploads.job_of(me.id, group)
        members = [upload for upload in resumable.unfinished(me.id) if upload.group == group]
        if job_id is None:
            lacking = sum(not upload.whole for upload in members)
            if lacking:
                raise Conflict(f"{lacking} of {len(members)} files are not here in full yet.")
            if sum(upload.size for upload in members) > uploads.most_bytes():
                raise TooLarge("These files together are larger than this server takes.")
            job_id = uploads.begin([uploads.taken(upload) for upload in members], group)
        for upload in members:
            resumable.drop(upload)
    uploads.wake(job_id)
    return jsonify(job=job_id, url=url_for("jobs.show", job_id=job_id))


def _with_offsets(found: list[resumable.Upload]) -> list[tuple[resumable.Upload, int]]:
    """One that ends while the list is made is left out."""
    kept = []
    for upload in found:
        try:
            kept.append((upload, upload.offset))
        except CxrscreenError:
            continue
    return kept
