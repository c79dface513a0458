"""One study: its pictures, why it was flagged, what people said, and the verdict form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from cxrscreen import db, entries, registry, studies, worklist
from cxrscreen.errors import UsageError
from cxrscreen.tables import Image, ModelState, ModelVersion, Result, Role, Study, Verdict
from cxrscreen.worklist_filters import Filters
from dashboard import forms, identity, shell
from dashboard.filters import isolated
from dashboard.images import original_is_there
from dashboard.security import needs
from dashboard.worklist import asked, version_for

blueprint = Blueprint("studies", __name__, url_prefix="/studies")

COMMENT_LENGTH = 4000
OTHERS_OFFERED = 20
# Above this a lossless picture takes longer to send than a reader waits.
LOSSLESS_PIXELS = 6_000_000
FACTS = {
    "view": "View",
    "laterality": "Laterality",
    "modality": "Modality",
    "body_part": "Body part",
    "kind": "File",
    "bits": "Bits",
    "photometric": "Photometric",
}


@dataclass(frozen=True)
class Pane:
    """One picture on the page: of which study, and whether its original can be shown."""

    study: Study
    image: Image
    result: Result | None
    there: bool
    kind: str


@dataclass(frozen=True)
class Why:
    """What a model version said of an image, in the order people read it."""

    classes: list[tuple[str, float]]
    subclasses: list[tuple[str, float]]


@blueprint.get("/<id:study_id>")
def show(study_id: int) -> str:
    filters = asked()
    version = shell.in_use()
    with db.read() as session:
        study = studies.get(session, study_id)
        pictures = studies.images(session, study_id, version.id if version else None)
        image, result = _chosen(pictures, forms.query_whole("image"))
        record = session.get_one(ModelVersion, version.id).record if version else {}
        before, after = _around(session, study_id, filters)
        given = studies.reviews(session, study_id)
        # What a version says in shadow is no reader's matter until somebody signed for it (law 7).
        shadow = identity.signed_in().may_administer
        answers = [
            (said, model, registry.threshold(session, model.id))
            for said, model in studies.answers(session, study_id)
            if model.state != ModelState.CANDIDATE or shadow
        ]
        following = studies.images(session, after, version.id) if after and version else []
        others = studies.others_of_patient(session, study, OTHERS_OFFERED)
        # Only a study of the same patient may stand beside this one.
        wanted = forms.query_whole("beside")
        beside = next((other for other in others if other.id == wanted), None)
        prior = _pane(beside, studies.images(session, beside.id, version.id if version else None)) if beside else None
    following_image = _chosen(following, None)[0]
    return render_template(
        "study.html",
        study=study,
        pictures=pictures,
        image=image,
        result=result,
        panes=[pane for pane in (_pane(study, pictures, image.id if image else None), prior) if pane],
        others=others,
        beside=beside.id if beside else None,
        next_pixels=_pixels_url(following_image),
        facts=_facts(image),
        why=_why(record, result) if result else None,
        positive=record.get("positive"),
        version=version,
        answers=answers,
        reviews=given,
        current=next((review for review, _ in given if review.superseded_at is None), None),
        verdicts=list(Verdict),
        filters=filters.address(),
        before=before,
        after=after,
        comment_length=COMMENT_LENGTH,
    )


@blueprint.post("/<id:study_id>/review")
@needs(Role.READER)
def review(study_id: int) -> Response:
    """Write a verdict over the one that was seen, and go on to the next case of the list it was opened from."""
    said = forms.text("verdict", most=20)
    if said not in Verdict._value2member_map_:
        raise UsageError(f"A verdict is one of {', '.join(Verdict)}.")
    comment = forms.text("comment", most=COMMENT_LENGTH, needed=False)
    seen, shown = forms.whole("seen"), forms.whole("model")
    filters = asked()
    with db.write() as session:
        study = studies.get(session, study_id)
        model = session.get(ModelVersion, shown) if shown is not None else None
        studies.review(
            session, study, identity.signed_in().row, Verdict(said), comment, model.id if model else None, seen
        )
        # Read inside the same transaction: the case just closed must not come back as the next one.
        session.flush()
        before, after = _around(session, study_id, filters)
    flash(f"{isolated(study.label)}: {said}.", "good")
    # Above an open case there may be others that were passed over; a list of read ones is walked through once.
    onward = after or (before if filters.state == "open" else None)
    if onward is None:
        flash(f"That was the last {'open ' if filters.state == 'open' else ''}study of this list.", "note")
        return redirect(url_for("worklist.index", **filters.address()))
    return redirect(url_for("studies.show", study_id=onward, **filters.address()))


def _around(session: Session, study_id: int, filters: Filters) -> tuple[int | None, int | None]:
    version = version_for(session, filters)
    if version is None:
        return None, None
    return worklist.neighbours(session, version.id, version.threshold, study_id, filters)


def _chosen(pictures: list[tuple[Image, Result | None]], wanted: int | None) -> tuple[Image | None, Result | None]:
    """The picture that is shown large: the one asked for, else the one that scored highest."""
    if not pictures:
        return None, None
    for image, result in pictures:
        if image.id == wanted:
            return image, result
    return max(pictures, key=lambda pair: (pair[1].score if pair[1] else -1.0, -pair[0].id))


def _why(record: dict[str, Any], result: Result) -> Why:
    by_class = entries.class_probabilities(record, result)
    return Why(
        classes=sorted(by_class.items(), key=lambda item: -item[1]),
        subclasses=sorted(
            ((name, float(value)) for name, value in result.probabilities.items()), key=lambda item: -item[1]
        ),
    )


def _facts(image: Image | None) -> list[tuple[str, str]]:
    if image is None:
        return []
    told = [(title, str(image.facts[key])) for key, title in FACTS.items() if image.facts.get(key) not in (None, "")]
    age = image.facts.get("age_years")
    if age is not None:
        # Ages from 90 on are one group in the facts.
        told.append(("Age", "90 or more" if age >= 90 else f"{age:.0f}" if age >= 2 else f"{age:.1f}"))
    return [*told, ("Size", f"{image.width} × {image.height}")]


def _pane(study: Study, pictures: list[tuple[Image, Result | None]], wanted: int | None = None) -> Pane | None:
    image, result = _chosen(pictures, wanted)
    if image is None:
        return None
    kind = "png" if image.width * image.height <= LOSSLESS_PIXELS else "jpg"
    return Pane(study, image, result, original_is_there(image), kind)


def _pixels_url(image: Image | None) -> str:
    """The address of the samples, where there are any to be had."""
    if image is None or not original_is_there(image):
        return ""
    return url_for("pixels.pixels", image_id=image.id)
