"""What if: what another threshold would mean for the work and the cases, and signing for it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from cxrscreen import db, operating, registry, scores
from cxrscreen.errors import NoModel
from cxrscreen.scores import NIGHTS, STEPS, Tally
from cxrscreen.tables import Role, Verdict
from dashboard import filters, forms, identity, plots, shell
from dashboard.models import get_version
from dashboard.security import needs

blueprint = Blueprint("operating", __name__)

SIGN_OFF_LENGTH = 2000
BARS = 50  # of the histogram that is drawn


@blueprint.get("/whatif")
def index() -> Response:
    """Of the version that people see."""
    version = shell.in_use()
    if version is None:
        raise NoModel("There is no active model, so there is no threshold to weigh.")
    return redirect(url_for("operating.show", version_id=version.id, threshold=request.args.get("threshold")))


@blueprint.get("/models/<id:version_id>/whatif")
def show(version_id: int) -> str:
    """The threshold of the address beside the one that counts; a form where there is no JavaScript."""
    asked = forms.query_fraction("threshold")
    with db.read() as session:
        version = get_version(session, version_id)
        limit = registry.threshold(session, version_id)
        wanted = limit if asked is None else asked
        told = operating.weighed(session, version_id, limit, wanted)
        points = operating.history(session, version_id)
    return render_template(
        "whatif.html",
        version=version,
        now=operating.figures(told, limit),
        then=operating.figures(told, wanted),
        below=operating.read_below(told.all, limit),
        unsure=told.all.of(Verdict.UNSURE),
        bars=plots.bars(scores.bars(told.all, (None, *Verdict), BARS), axis="log"),
        curve=_curve(told),
        span=NIGHTS,
        steps=STEPS,
        points=points,
        seen=points[0][0].id if points else None,
        length=SIGN_OFF_LENGTH,
    )


@blueprint.post("/models/<id:version_id>/threshold")
@needs(Role.ADMIN)
def sign(version_id: int) -> Response:
    value, seen = forms.fraction("threshold"), forms.whole("seen")
    sign_off = forms.text("sign_off", most=SIGN_OFF_LENGTH, needed=False)
    with db.write() as session:
        version = get_version(session, version_id)
        operating.sign(session, version, value, identity.signed_in().row, sign_off, seen)
    flash(
        f"The threshold of {version.name} is {filters.significant(value, 6)} now; the worklist follows at once.", "good"
    )
    return redirect(url_for("operating.show", version_id=version_id))


def _curve(told: operating.Scores) -> dict[str, Any]:
    """What the slider computes with, step by step: [step, count] of all, of those not read, confirmed, dismissed, and
    of the last nights."""

    def pairs(counts: dict[int, int]) -> list[tuple[int, int]]:
        return sorted(counts.items())

    def both(tally: Tally) -> dict[int, int]:
        held: dict[int, int] = {}
        for steps in tally.counts.values():
            for step, number in steps.items():
                held[step] = held.get(step, 0) + number
        return held

    return {
        "all": pairs(both(told.all)),
        "open": pairs(told.all.counts.get(None, {})),
        "confirmed": pairs(told.all.counts.get(Verdict.CONFIRMED, {})),
        "dismissed": pairs(told.all.counts.get(Verdict.DISMISSED, {})),
        "lately": pairs(both(told.lately)),
        "nights": told.nights,
    }
