"""Charts: flags night by night, scores, what reviewed cases say of a version, its subclasses, how readers agree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from flask import Blueprint, current_app, render_template
from sqlalchemy.orm import Session

from cxrscreen import curves, db, operating, registry, scores
from cxrscreen.errors import NoModel
from cxrscreen.scores import Night, Tally
from cxrscreen.tables import ModelState, ModelVersion, Verdict
from dashboard import forms, identity, plots
from dashboard.models import get_version
from dashboard.plots import Square

blueprint = Blueprint("charts", __name__, url_prefix="/charts")

BARS = 20
AGREEMENT = "agreement.index"  # the page of readers' agreement, where there is one


@blueprint.get("")
def index() -> str:
    """Of the version that people see, or of one by number."""
    wanted = forms.query_whole("model")
    with db.read() as session:
        versions = _versions(session)
        version = registry.active(session) if wanted is None else get_version(session, wanted)
        if version is None or version not in versions:
            raise NoModel("There is no model whose scores could be drawn: activate one.")
        limit = registry.threshold(session, version.id)
        told = scores.tally(session, version.id, limit)
        nights = _each(scores.nights(session, version.id, limit))
        subclasses = scores.subclasses(session, version.id, limit)
    roc = curves.roc(told)
    bins = curves.reliability(told)
    by_score = {name: scores.bars(told, said, BARS) for name, said in SHOWN.items()}
    apart = max([1, *by_score["confirmed"], *by_score["dismissed"]])
    now = operating.rates(told, limit)
    square = Square()
    return render_template(
        "charts.html",
        version=version,
        versions=versions,
        threshold=limit,
        studies=told.studies,
        nights=nights,
        night_bars=plots.bars([night.flagged for night in nights]),
        by_score=by_score,
        score_bars={
            "all": plots.bars(by_score["all"], axis="log"),
            "confirmed": plots.bars(by_score["confirmed"], top=apart, gap=0.1),
            "dismissed": plots.bars(by_score["dismissed"], top=apart, gap=0.1),
        },
        edges=[place / BARS for place in range(BARS + 1)],
        roc=roc,
        square=square,
        curve=" ".join(f"{square.x(x)},{square.y(y)}" for x, y in roc.points) if roc else "",
        listed=_listed(told) if roc else [],
        now=now,
        bins=bins,
        subclasses=subclasses,
        classes={one["name"]: one["class"] for one in version.record.get("subclasses", [])},
        below=operating.read_below(told, limit),
        agreement=AGREEMENT if AGREEMENT in current_app.view_functions else None,
    )


SHOWN: dict[str, Sequence[Verdict | None]] = {
    "all": (None, *Verdict),
    "confirmed": (Verdict.CONFIRMED,),
    "dismissed": (Verdict.DISMISSED,),
}


def _versions(session: Session) -> list[ModelVersion]:
    """What a version says in shadow is no reader's matter until somebody signed for it (law 7)."""
    shadow = identity.signed_in().may_administer
    return [one for one in registry.every(session) if shadow or one.state != ModelState.CANDIDATE]


def _each(nights: list[Night]) -> list[Night]:
    """The nights without results between the first and the last, too."""
    if not nights:
        return []
    there = {night.day: night for night in nights}
    days = (nights[0].day + timedelta(days=past) for past in range((nights[-1].day - nights[0].day).days + 1))
    return [there.get(day, Night(day, 0, 0)) for day in days]


def _listed(told: Tally) -> list[dict[str, object]]:
    """The curve's table: what each tenth of a threshold would give."""
    return [operating.rates(told, place / 10) for place in range(1, 10)]
