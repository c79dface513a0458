"""What the filters of the worklist offer: jobs, readers, versions, classes, a person's own lists; in one statement."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BigInteger, Select, String, bindparam, cast, literal, or_, select, union_all
from sqlalchemy.orm import Session

from cxrscreen import jobs, users
from cxrscreen.tables import Job, ModelVersion, Role, SavedFilter, User
from cxrscreen.worklist_filters import Filters

JOBS_OFFERED = 50  # the newest


@dataclass(frozen=True)
class Offer:
    """One that can be chosen. `told` is a version's state, or the query of a saved list."""

    id: int
    name: str
    told: str = ""
    active: bool = True


@dataclass
class Offers:
    """Jobs and versions the newest first, people and saved lists by name."""

    jobs: list[Offer] = field(default_factory=list)
    readers: list[Offer] = field(default_factory=list)
    versions: list[Offer] = field(default_factory=list)
    saved: list[Offer] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    subclasses: list[str] = field(default_factory=list)


def offers(session: Session, version_id: int, viewer: int, filters: Filters) -> Offers:
    """For the list of a version and who looks at it; what the filters name already is among them.

    Raises NotFound for a job or a reader of the filters that does not exist.
    """
    owner = int(filters.assigned) if filters.assigned.isdigit() else None
    people = [number for number in (filters.reader, owner) if number is not None]
    asked = {"version": version_id, "viewer": viewer, "job": filters.job, "people": people}
    found = Offers()
    for kind, *told in session.execute(_EVERY, asked):
        if kind == "record":
            _name_classes(found, json.loads(told[2]))
        else:
            getattr(found, kind).append(Offer(*told))
    found.jobs.sort(key=lambda job: -job.id)
    found.versions.sort(key=lambda version: -version.id)
    if filters.job is not None and all(job.id != filters.job for job in found.jobs):
        jobs.get(session, filters.job)
    for number in people:
        if all(reader.id != number for reader in found.readers):
            users.by_id(session, number)
    return found


def _name_classes(found: Offers, record: dict[str, Any]) -> None:
    found.classes = list(record.get("classes", []))
    found.subclasses = [one["name"] for one in record.get("subclasses", [])]


def _row(kind: str, number: Any, name: Any, told: Any = None, active: Any = None) -> Select[Any]:
    """A part of the union; what a kind has no word for is filled up."""
    told = literal("") if told is None else told
    active = literal(True) if active is None else active
    return select(literal(kind).label("kind"), number, name.label("name"), told, active)


def _every() -> Select[Any]:
    version, viewer, job = (bindparam(name, type_=BigInteger) for name in ("version", "viewer", "job"))
    people = bindparam("people", type_=BigInteger, expanding=True)
    newest = select(Job.id).order_by(Job.id.desc()).limit(JOBS_OFFERED)
    may_read = [role for role, rank in users.RANK.items() if rank >= users.RANK[Role.READER]]
    parts = union_all(
        _row("jobs", Job.id, Job.title).where(or_(Job.id.in_(newest), Job.id == job)),
        _row("readers", User.id, User.name, active=User.active).where(
            or_(User.role.in_(may_read), User.id.in_(people))
        ),
        _row("versions", ModelVersion.id, ModelVersion.name, cast(ModelVersion.state, String)),
        _row("record", ModelVersion.id, literal(""), cast(ModelVersion.record, String)).where(
            ModelVersion.id == version
        ),
        _row("saved", SavedFilter.id, SavedFilter.name, SavedFilter.query).where(SavedFilter.user_id == viewer),
    ).subquery()
    return select(parts).order_by(parts.c.name)


_EVERY = _every()  # a statement that stands is not put together, nor looked through, for every page
