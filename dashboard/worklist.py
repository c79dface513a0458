"""The worklist: studies of one model version as the address asks for them, and the filters that a person saved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from cxrscreen import db, registry, saved_filters, worklist, worklist_filters, worklist_offers
from cxrscreen.errors import NotFound
from cxrscreen.tables import ModelVersion
from cxrscreen.worklist_filters import Filters
from cxrscreen.worklist_offers import Offers
from dashboard import acts, forms, identity, languages, shell
from dashboard.filters import isolated, local

blueprint = Blueprint("worklist", __name__)

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
        offers = worklist_offers.offers(session, version.id, me.id, filters)
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
        offers=offers,
        owners=_owners(offers),
        chips=_chips(filters, offers),
        paged=after is not None,
        following=worklist.place(shown[-1], filters) if len(lines) > filters.size else None,
        name_length=saved_filters.NAME_LENGTH,
        search_length=worklist_filters.SEARCH_LENGTH,
        sizes=worklist_filters.SIZES,
        me_id=me.id,
        undoable=undoable,
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
    used = shell.in_use(session)
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


def _owners(offers: Offers) -> list[tuple[str, str]]:
    return [("me", "me"), ("nobody", "nobody"), *((str(one.id), one.name) for one in offers.readers)]


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


def _chips(filters: Filters, offers: Offers) -> list[tuple[str, str]]:
    """Each filter that is on, in words, with the address of the same list without it."""
    job = next((job.name for job in offers.jobs if job.id == filters.job), "")
    reader = next((reader.name for reader in offers.readers if reader.id == filters.reader), "")
    owner = dict(_owners(offers)).get(filters.assigned, "")
    model = next((version.name for version in offers.versions if version.id == filters.model), "")
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
        "low": gettext("score from %(score)s", score=local(str(filters.low))),
        "high": gettext("score to %(score)s", score=local(str(filters.high))),
        "model": gettext("model %(name)s", name=model),
    }
    default = Filters()
    return [
        (words, url_for("worklist.index", **replace(filters, **{name: getattr(default, name)}).address()))
        for name, words in told.items()
        if getattr(filters, name) != getattr(default, name)
    ]
