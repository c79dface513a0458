"""Who looked at what: each page and picture of a study, each list and each export is one row of the audit log.

The row is written before the answer leaves: nobody sees a study without a trace, and the page waits for one insert.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flask import Flask, Response, request

from cxrscreen import audit, db
from dashboard import identity


class Watched(NamedTuple):
    """An endpoint's deed, the word before the subject's number, and the variable of the address that holds it."""

    action: str
    noun: str
    number: str = ""


WATCHED = {
    "worklist.index": Watched("worklist.view", "worklist"),
    "studies.show": Watched("study.view", "study", "study_id"),
    "images.picture": Watched("image.view", "image", "image_id"),
    "pixels.pixels": Watched("image.view", "image", "image_id"),
    "jobs.list_entries": Watched("job.entries", "job", "job_id"),
    "jobs.export": Watched("job.export", "job", "job_id"),
    "quarantine.index": Watched("quarantine.view", "quarantine"),
    "quarantine.export": Watched("quarantine.export", "quarantine"),
    "exports.reviewed": Watched("reviewed.export", "reviewed set"),
    "audit.index": Watched("audit.view", "audit log"),
    "api.list_studies": Watched("worklist.view", "worklist"),
    "api.show_study": Watched("study.view", "study", "study_id"),
    "api.list_entries": Watched("job.entries", "job", "job_id"),
}
# A picture that the browser still has is shown all the same.
SHOWN = (200, 304)
LONGEST = 200  # of what is kept of an address


def install(app: Flask) -> None:
    @app.after_request
    def keep(response: Response) -> Response:
        watched = WATCHED.get(request.endpoint or "")
        if watched and request.method == "GET" and response.status_code in SHOWN:
            _record(watched)
        return response


def _record(watched: Watched) -> None:
    person, place = identity.signed_in().row, request.view_args or {}
    asked: dict[str, Any] = {key: value[:LONGEST] for key, value in request.args.items() if value}
    if "kind" in place:
        asked["as"] = place["kind"]
    subject = f"{watched.noun} {place[watched.number]}" if watched.number else watched.noun
    seen = {subject: asked}
    beside = str(asked.get("beside", ""))
    if watched.action == "study.view" and beside.isdigit():
        seen.setdefault(f"study {beside}", {"beside": place[watched.number]})
    with db.single(writes=True) as session:
        audit.looked(session, person, watched.action, seen)
