"""Uploads that resume: the tus protocol, version 1.0.0 (https://tus.io/protocols/resumable-upload).

An upload without a group becomes a job with its last byte, so any tus client will do. Uploads that carry the same
`group` in their metadata wait for `POST /uploads/groups/<group>` (dashboard/groups.py) and become one job.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import shutil

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import NotFound as NoAddress
from werkzeug.http import http_date

from cxrscreen import audit, db, registry, resumable
from cxrscreen.errors import Conflict, UsageError
from cxrscreen.settings import get_settings
from dashboard import identity, uploads
from dashboard.errors import DiskFull
from dashboard.receiving import pour
from dashboard.tus_headers import (
    CHECKSUMS,
    Mangled,
    NoRoom,
    NotBytes,
    OtherVersion,
    TooLarge,
    checksum,
    count,
    metadata,
)

blueprint = Blueprint("tus", __name__)

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,checksum,expiration"
BYTES = "application/offset+octet-stream"
LONGEST_NAME = 4000
LONGEST_GROUP = 64
LONGEST_DATE = 18


@blueprint.before_request
def check_version() -> None:
    if request.method != "OPTIONS" and request.endpoint in PROTOCOL and request.headers.get("Tus-Resumable") != VERSION:
        raise OtherVersion(f"This server speaks version {VERSION} of the tus protocol.")


@blueprint.after_request
def name_version(response: Response) -> Response:
    response.headers["Tus-Resumable"] = VERSION
    if response.status_code == 412:
        response.headers["Tus-Version"] = VERSION
    return response


@blueprint.route("/uploads/tus", methods=["OPTIONS"])
@blueprint.route("/uploads/tus/<token>", methods=["OPTIONS"])
def options(token: str = "") -> Response:
    told = {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(uploads.most_bytes()),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
    }
    return Response(status=204, headers=told)


@blueprint.post("/uploads/tus")
def create() -> Response:
    """Begin an upload, with its first bytes where they came along."""
    size = count("Upload-Length")
    if size > uploads.most_bytes():
        raise TooLarge("The upload is larger than this server takes. An administrator sets its limit.")
    told = metadata()
    name = (told.get("filename") or told.get("name") or "unnamed").replace("\0", "")[:LONGEST_NAME]
    group, modified = told.get("group", "")[:LONGEST_GROUP], told.get("modified", "")
    if size == 0 and not group:
        raise UsageError("The file is empty: it has no bytes.")
    with db.read() as session:
        registry.need_active(session)
    if _free_bytes() < size:
        raise DiskFull
    owner = identity.signed_in().row.id
    # Python counts digits before it reads a number of thousands of them.
    date = int(modified) if modified.isdecimal() and len(modified) <= LONGEST_DATE else 0
    made = resumable.create(owner, name, size, group, date)
    location = url_for("tus.show", token=made.id)
    headers = {"Location": location}
    if request.mimetype == BYTES:
        with resumable.writing(made) as upload:
            headers |= _append(upload)
    return Response(status=201, headers={**headers, "Upload-Expires": http_date(made.expires)})


@blueprint.route("/uploads/tus/<token>", methods=["HEAD"])
def show(token: str) -> Response:
    upload = _mine(token)
    headers = {
        "Upload-Offset": str(upload.offset),
        "Upload-Length": str(upload.size),
        "Upload-Expires": http_date(upload.expires),
        "Cache-Control": "no-store",
    }
    # A kill between the last byte and the job: whoever asks again gets it.
    if upload.whole and not upload.group:
        headers["Cxrscreen-Job"] = _job_alone(upload)
    return Response(status=200, headers=headers)


@blueprint.patch("/uploads/tus/<token>")
def append(token: str) -> Response:
    found = _mine(token)
    if request.mimetype != BYTES:
        raise NotBytes(f"The body of this request has the type {BYTES}.")
    offset = count("Upload-Offset")
    with resumable.writing(found) as upload:
        if offset != upload.offset:
            raise Conflict(f"This upload stands at {upload.offset}, not at {offset}; ask for its offset first.")
        headers = _append(upload)
    if upload.whole and not upload.group:
        headers["Cxrscreen-Job"] = _job_alone(upload)
    return Response(status=204, headers={**headers, "Upload-Expires": http_date(upload.expires)})


@blueprint.delete("/uploads/tus/<token>")
def terminate(token: str) -> Response:
    me = identity.signed_in()
    found = resumable.find_anyones(token) if me.may_administer else _mine(token)
    with resumable.writing(found) as upload:
        resumable.drop(upload)
    if found.user_id != me.row.id:
        with db.write() as session:
            audit.record(session, me.row, "upload.terminate", f"user {found.user_id}", name=found.name)
    return Response(status=204)


@blueprint.post("/uploads/tus/<token>")
def overridden(token: str) -> Response:
    """For networks that let only GET and POST through, the protocol names the method in a header."""
    wanted = {"PATCH": append, "DELETE": terminate, "HEAD": show}.get(request.headers.get("X-HTTP-Method-Override", ""))
    if wanted is None:
        raise NoAddress
    return wanted(token)


PROTOCOL = {"tus.create", "tus.show", "tus.append", "tus.terminate", "tus.overridden"}


def _mine(token: str) -> resumable.Upload:
    return resumable.find(identity.signed_in().row.id, token)


def _append(upload: resumable.Upload) -> dict[str, str]:
    """Write the body behind what is there. What came before a cut is kept, unless a checksum was promised."""
    room = upload.size - upload.offset
    if (request.content_length or 0) > room:
        raise TooLarge(f"Only {room} bytes of this upload are missing.")
    if room == 0:  # asked again, because the answer was lost; the store may have the file by now
        resumable.seal(upload)
        return {"Upload-Offset": str(upload.size)}
    promised = checksum()
    digest = hashlib.new(promised[0], usedforsecurity=False) if promised else None
    if promised:
        resumable.doubt(upload)
    with upload.part.open("ab") as file:
        try:
            complete = pour(file, room, digest)
            file.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoRoom("The server's disk is full. What has come is kept: resume once there is room.") from None
            raise
        finally:
            os.fsync(file.fileno())
    if promised and digest is not None:
        right = complete and hmac.compare_digest(digest.digest(), promised[1])
        if not right:
            os.truncate(upload.part, upload.offset)
        resumable.trust(upload)
        if complete and not right:
            raise Mangled("These bytes are not those that the checksum is of; send them again.")
    if not complete:
        raise UsageError("The line was cut, or more came than was announced; ask for the offset and go on.")
    if upload.whole:
        resumable.seal(upload)
    return {"Upload-Offset": str(upload.offset)}


def _job_alone(upload: resumable.Upload) -> str:
    """The address of the job of an upload without a group, made now if it is not yet."""
    with resumable.beginning(upload.user_id, upload.id):
        job_id = uploads.job_of(upload.user_id, upload.id)
        if job_id is None:
            job_id = uploads.begin([uploads.taken(upload)], upload.id)
        resumable.mark_begun(resumable.seal(resumable.find(upload.user_id, upload.id)))
    uploads.wake(job_id)
    return url_for("jobs.show", job_id=job_id)


def _free_bytes() -> int:
    folder = get_settings().upload_dir
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(folder).free
