"""Bring pictures in: upload archives, files or folders, or name a folder that the server can see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

from cxrscreen import blobs, db, jobs, orphans, queue, registry, resumable, sources
from cxrscreen.errors import UsageError
from cxrscreen.settings import get_settings
from cxrscreen.tables import Job, JobKind, Upload, now
from dashboard import forms, identity
from dashboard.errors import wants_json
from dashboard.receiving import Growing

blueprint = Blueprint("uploads", __name__)

LONGEST_NAME = 200
LONGEST_PATH = 1000


@dataclass(frozen=True)
class Taken:
    """A whole file in the upload folder. It may have gone over to the store already, in a process that was killed."""

    name: str
    size: int  # bytes
    sha256: str
    path: Path


def taken(upload: resumable.Upload) -> Taken:
    sealed = resumable.seal(upload)
    return Taken(sealed.name, sealed.size, sealed.sha256, sealed.part)


def most_bytes() -> int:
    """Of one upload."""
    return int(get_settings().max_upload_gb * 1e9)


@blueprint.get("/uploads")
def index() -> str:
    settings = get_settings()
    return render_template(
        "uploads.html",
        roots=(*settings.allowed_roots, *settings.allowed_prefixes),
        most_bytes=int(settings.max_upload_gb * 1e9),
    )


@blueprint.post("/uploads")
def receive() -> Response:
    """Take what came in one form as one job. The bytes are in the upload folder already, hashed on their way."""
    parts = [part for part in request.files.getlist("files") if part.filename]
    if not parts:
        raise UsageError("No file was chosen.")
    streams = [cast(Growing, part.stream) for part in parts]
    taken = [
        Taken(part.filename or "", stream.size, stream.sha256, stream.path)
        for part, stream in zip(parts, streams, strict=True)
    ]
    job_id = begin(taken)
    wake(job_id)
    return _begun(job_id)


def begin(files: Sequence[Taken], key: str = "") -> int:
    """One job of these files, owned by who asks; its number. `key` is what `job_of` finds it by."""
    if not files:
        raise UsageError("No file was chosen.")
    if all(file.size == 0 for file in files):
        raise UsageError("The file is empty: it has no bytes." if len(files) == 1 else "All of these files are empty.")
    labels = distinct([safe_name(file.name) for file in files])
    title = labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"
    store = blobs.store()
    with db.write() as session:
        orphans.pardon(session, (("uploads", file.sha256) for file in files), db.clock(session))
    for file in files:
        if file.path.exists() or not store.exists("uploads", file.sha256):
            store.put_file("uploads", file.path, file.sha256)
    me = identity.signed_in()
    with db.write() as session:
        rows = [Upload(user_id=me.row.id, name=file.name, size=file.size, sha256=file.sha256) for file in files]
        session.add_all(rows)
        session.flush()
        job = jobs.create(
            session,
            JobKind.UPLOAD,
            title,
            registry.need_active(session).id,
            sources=[{"upload": row.id, "label": label} for row, label in zip(rows, labels, strict=True)],
            scope={"key": key} if key else None,
            user=me.row,
        )
    return job.id


def job_of(user_id: int, key: str) -> int | None:
    """The job that `begin` made with this key, while a client may still ask for it again."""
    since = now() - timedelta(days=get_settings().upload_days + 1)
    query = select(Job).where(Job.user_id == user_id, Job.kind == JobKind.UPLOAD, Job.created_at > since)
    with db.read() as session:
        return next((job.id for job in session.scalars(query) if job.scope.get("key") == key), None)


@blueprint.post("/uploads/folder")
def folder() -> Response:
    return _begun(queue_folder(forms.text("path", most=4000)))


def queue_folder(path: str) -> int:
    """A job over a place that the server sees, and a worker woken; the job's number.

    Raises what `sources.allowed` does, and NoModel.
    """
    place = sources.allowed(path)
    label = path.rstrip("/") or "/"
    with db.write() as session:
        job = jobs.create(
            session,
            JobKind.FOLDER,
            label,
            registry.need_active(session).id,
            sources=[{"path": place, "label": label}],
            user=identity.signed_in().row,
        )
    wake(job.id)
    return job.id


def wake(job_id: int) -> None:
    """The job is committed: a worker may see to it. Asked twice, the second one finds nothing to do."""
    queue.submit(queue.INGEST, job_id)


def _begun(job_id: int) -> Response:
    url = url_for("jobs.show", job_id=job_id)
    if wants_json():
        return jsonify(job=job_id, url=url)
    return redirect(url)


def safe_name(name: str) -> str:
    """A name for people and for entries: no way up or out, no control characters, of bounded length.

    A dropped folder gives its files' names with their folders, which are kept.
    """
    parts = []
    for part in name.replace("\\", "/").split("/"):
        clean = "".join(letter for letter in part if letter.isprintable()).strip()
        if clean not in ("", ".", ".."):
            parts.append(clean if len(clean) <= LONGEST_NAME else clean[:90] + "…" + clean[-90:])
    whole = "/".join(parts) or "unnamed"
    return whole if len(whole) <= LONGEST_PATH else "…" + whole[1 - LONGEST_PATH :]


def distinct(names: list[str]) -> list[str]:
    """Each name once: the second of a kind gets a number, because an entry is known by its name."""
    taken = set(names)
    count: Counter[str] = Counter()
    made = []
    for name in names:
        count[name] += 1
        fresh = name
        while count[name] > 1 and fresh in taken:
            fresh = f"{name} ({count[name]})"
            count[name] += fresh in taken
        taken.add(fresh)
        made.append(fresh)
    return made
