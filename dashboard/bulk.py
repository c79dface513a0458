"""Several lines of the worklist at once: whose they are, or a verdict that needs no picture any more."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import ngettext
from werkzeug.wrappers import Response

from cxrscreen import assignments, blind, db, readings, studies, users, worklist_filters
from cxrscreen.errors import Conflict, UsageError
from cxrscreen.readings import Given
from cxrscreen.tables import Role, Study, Verdict
from dashboard import forms, identity, shell
from dashboard.languages import said
from dashboard.security import needs
from dashboard.worklist import asked

blueprint = Blueprint("bulk", __name__, url_prefix="/worklist")

MOST = max(worklist_filters.SIZES)
VERDICTS = {"dismiss": Verdict.DISMISSED, "unsure": Verdict.UNSURE}


@blueprint.post("/selected")
@needs(Role.READER)
def selected() -> Response | str:
    """Do one thing to the ticked lines, each in a transaction and with an audit event of its own.

    A verdict asks first. Lines that somebody else settled meanwhile are left as they are, and counted.
    """
    action = forms.text("action", most=20)
    chosen = _chosen()
    if not chosen:
        flash("No line is ticked: X ticks the line that has the focus.", "note")
        return _back()
    if action == "assign":
        return _assign(list(chosen))
    if action not in VERDICTS:
        raise UsageError("Lines can be assigned, dismissed or marked as unsure.")
    if not request.form.get("sure"):
        return _ask(action, chosen)
    return _judge(VERDICTS[action], chosen)


def _assign(study_ids: list[int]) -> Response:
    to = forms.text("to", most=20)
    me = identity.signed_in().row
    with db.write() as session:
        number = me.id if to == "me" else int(to) if to.isdigit() and len(to) <= 15 else None
        if number is None and to != "nobody":
            raise UsageError("Choose whose the cases are.")
        owner = users.by_id(session, number) if number is not None else None
        changed = assignments.assign(session, me, study_ids, owner)
    if owner:
        told = ngettext(
            "%(num)d case assigned to %(name)s.", "%(num)d cases assigned to %(name)s.", changed, name=owner.name
        )
    else:
        told = ngettext("%(num)d case is nobody's now.", "%(num)d cases are nobody's now.", changed)
    flash(told, "good")
    return _back()


def _ask(action: str, chosen: dict[int, int | None]) -> str:
    with db.read() as session:
        found = [(studies.get(session, number), seen) for number, seen in chosen.items()]
    return render_template("bulk.html", action=action, verdict=VERDICTS[action], found=found, filters=asked().address())


def _judge(verdict: Verdict, chosen: dict[int, int | None]) -> Response:
    me = identity.signed_in().row
    done, late, apart = 0, 0, 0
    for study_id, seen in chosen.items():
        try:
            with db.write() as session:
                study = studies.get(session, study_id)
                if _needs_a_look(study, seen):
                    apart += 1
                    continue
                version = shell.in_use()
                where = readings.standing(session, study, me)
                if readings.is_hidden(session, study_id, version.id if version else None, where):
                    apart += 1
                    continue
                given = Given(verdict, model_version_id=version.id if version else None, seen=seen)
                readings.give(session, study, me, given)
                done += 1
        except Conflict:
            late += 1
    if done:
        told = ngettext("%(num)d case %(verdict)s.", "%(num)d cases %(verdict)s.", done, verdict=said(verdict.value))
        flash(told, "good")
    if late:
        flash(
            ngettext(
                "%(num)d case left alone: somebody else read it since the list was shown.",
                "%(num)d cases left alone: somebody else read them since the list was shown.",
                late,
            ),
            "note",
        )
    if apart:
        flash(
            ngettext(
                "%(num)d case left alone: cases that are read blind are opened one by one.",
                "%(num)d cases left alone: cases that are read blind are opened one by one.",
                apart,
            ),
            "note",
        )
    return _back()


def _needs_a_look(study: Study, seen: int | None) -> bool:
    """Two readings are worth nothing when one of them was given to a list of names."""
    return seen is None and (study.first_reader_id is not None or blind.wants_two(study.key))


def _chosen() -> dict[int, int | None]:
    """The ticked studies, each with the review that its line showed."""
    ticked: dict[int, int | None] = {}
    for value in request.form.getlist("study"):
        number, _, seen = value.partition(":")
        if not all(part.isascii() and part.isdigit() and len(part) <= 15 for part in (number, seen or "0")):
            raise UsageError("That is no selection of lines.")
        ticked[int(number)] = int(seen) if seen else None
    if len(ticked) > MOST:
        raise UsageError(f"At most {MOST} lines can be ticked at once.")
    return ticked


def _back() -> Response:
    """To the very page of the list that the lines were ticked on."""
    return redirect(url_for("worklist.index", **asked().address(), after=request.args.get("after", "")[:60] or None))
