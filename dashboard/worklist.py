"""The worklist: studies of one model version as the address asks for them, and the filters that a person saved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from cxrscreen import db, jobs, registry, saved_filters, users, worklist, worklist_filters
from cxrscreen.errors import NotFound
from cxrscreen.tables import ModelVersion, Role
from cxrscreen.worklist_filters import Filters
from dashboard import acts, forms, identity, languages, shell
from dashboard.filters import isolated

blueprint = Blueprint("worklist", __name__)

JOBS_OFFERED = 50
# The head of a column leads to its first sort, and from there to the other.
HEADS = {
    "score": ("score", "score-up"),
    "scored": ("newest", "oldest"),
    "study": ("study-newest", "study-oldest"),
}
SORT_NAMES = {
    "score": "highest score",
    "score-up": "lowest score",
    "newest": "last scored",
    "oldest": "first scored",
    "study-newest": "newest study",
    "study-oldest": "oldest study",
}


@blueprint.get("/")
def home() -> Response:
    return redirect(url_for("worklist.index"))


@blueprint.get("/worklist")
def index() -> str:
    filters = asked()
    after = worklist.cursor(request.args.get("after", ""), filters)
    me = identity.signed_in().row
    with db.read() as session:
        version = version_for(session, filters)
        if version is None:
            return render_template("worklist.html", version=None)
        lines = worklist.page(
            session, version.id, version.threshold, filters, after=after, limit=filters.size + 1, viewer=me.id
        )
        counts = worklist.counts(session, version.id, version.threshold, filters, viewer=me.id)
        choices = _choices(session, version, filters)
        mine = saved_filters.of(session, me.id)
        undoable = acts.last(session)
    shown = lines[: filters.size]
    dated = filters.sort.startswith("study") or any(line.study.study_date for line in shown)
    return render_template(
        "worklist.html",
        version=version,
        lines=shown,
        case_at=shell.addresses("studies.show", "study_id", **filters.address()),
        thumb_at=shell.addresses("images.thumb", "image_id"),
        counts=counts,
        states=worklist.STATES,
        asked=filters,
        filters=filters.address(),
        rest=replace(filters, state="open").address(),
        heads=_heads(filters, dated),
        sorts={name: told for name, told in SORT_NAMES.items() if dated or not name.startswith("study")},
        chips=_chips(filters, choices),
        saved=mine,
        paged=after is not None,
        following=worklist.place(shown[-1], filters) if len(lines) > filters.size else None,
        name_length=saved_filters.NAME_LENGTH,
        search_length=worklist_filters.SEARCH_LENGTH,
        sizes=worklist_filters.SIZES,
        me_id=me.id,
        undoable=undoable,
        **choices,
    )


@blueprint.post("/worklist/saved")
def save() -> Response:
    """Keep the list that is looked at under a name."""
    name = forms.text("name", most=saved_filters.NAME_LENGTH)
    query = forms.text("query", most=2000, needed=False)
    with db.write() as session:
        filters = saved_filters.save(session, identity.signed_in().row, name, query)
    flash(f"This list is saved as {isolated(name)}.", "good")
    return redirect(url_for("worklist.index", **filters.address()))


@blueprint.post("/worklist/saved/<id:filter_id>/remove")
def remove(filter_id: int) -> Response:
    with db.write() as session:
        name = saved_filters.remove(session, identity.signed_in().row, filter_id)
    flash(f"The saved filter {isolated(name)} is removed.", "good")
    return redirect(url_for("worklist.index"))


def asked() -> Filters:
    """The filters of an address. Raises UsageError, a page of its own, where one is not understood."""
    return worklist_filters.read(request.args)


def version_for(session: Session, filters: Filters) -> shell.InUse | None:
    """The version whose scores are listed: the one asked for, else the active one. Raises NotFound for no such one."""
    used = shell.in_use()
    if filters.model is None or (used and used.id == filters.model):
        return used
    found = session.get(ModelVersion, filters.model)
    if found is None:
        raise NotFound(f"There is no model version {filters.model}.")
    return shell.InUse(found.id, found.name, found.phantom, registry.threshold(session, found.id))


def around(session: Session, study_id: int, filters: Filters, here: Any = None) -> tuple[int | None, int | None]:
    """The cases before and after one in the list of an address; `here` as in `worklist.neighbours`."""
    version = version_for(session, filters)
    if version is None:
        return None, None
    return worklist.neighbours(
        session, version.id, version.threshold, study_id, filters, viewer=identity.signed_in().row.id, here=here
    )


def _choices(session: Session, version: shell.InUse, filters: Filters) -> dict[str, Any]:
    """What the filters offer. Raises NotFound for a job or reader in the address that does not exist."""
    versions = registry.every(session)
    record = next(one.record for one in versions if one.id == version.id)
    offered = jobs.latest(session, JOBS_OFFERED)
    if filters.job is not None and all(job.id != filters.job for job in offered):
        offered.append(jobs.get(session, filters.job))
    readers = [user for user in users.every(session) if users.may(user, Role.READER)]
    for named in (filters.reader, int(filters.assigned) if filters.assigned.isdigit() else None):
        if named is not None and all(reader.id != named for reader in readers):
            readers.append(users.by_id(session, named))
    return {
        "jobs": offered,
        "readers": readers,
        "owners": [("me", "me"), ("nobody", "nobody"), *((str(one.id), one.name) for one in readers)],
        "versions": versions,
        "classes": record.get("classes", []),
        "subclasses": [one["name"] for one in record.get("subclasses", [])],
    }


def _heads(filters: Filters, dated: bool) -> dict[str, dict[str, str]]:
    """For each column that sorts: where its head leads, and what stands there now, in the words of aria-sort."""
    heads = {}
    for column, (falling, rising) in HEADS.items():
        if column == "study" and not dated:
            continue
        now = {falling: "descending", rising: "ascending"}.get(filters.sort, "none")
        turned = replace(filters, sort=rising if filters.sort == falling else falling)
        heads[column] = {"now": now, "url": url_for("worklist.index", **turned.address())}
    return heads


def _chips(filters: Filters, choices: dict[str, Any]) -> list[tuple[str, str]]:
    """Each filter that is on, in words, with the address of the same list without it."""
    job = next((job.title for job in choices["jobs"] if job.id == filters.job), "")
    reader = next((reader.name for reader in choices["readers"] if reader.id == filters.reader), "")
    owner = dict(choices["owners"]).get(filters.assigned, "")
    model = next((version.name for version in choices["versions"] if version.id == filters.model), "")
    told = {
        "search": gettext("begins with %(text)s", text=filters.search),
        "job": gettext("job %(id)s: %(title)s", id=filters.job, title=job[:40]),
        "label": gettext("class %(name)s", name=filters.label),
        "subclass": gettext("subclass %(name)s", name=filters.subclass),
        "reader": gettext("read by %(name)s", name=reader),
        "assigned": gettext("mine")
        if filters.assigned == "me"
        else gettext("assigned to %(name)s", name=languages.said(owner)),
        "since": gettext("scored from %(day)s", day=filters.since),
        "until": gettext("scored to %(day)s", day=filters.until),
        "low": gettext("score from %(score)s", score=filters.low),
        "high": gettext("score to %(score)s", score=filters.high),
        "model": gettext("model %(name)s", name=model),
    }
    default = Filters()
    return [
        (words, url_for("worklist.index", **replace(filters, **{name: getattr(default, name)}).address()))
        for name, words in told.items()
        if getattr(filters, name) != getattr(default, name)
    ]
