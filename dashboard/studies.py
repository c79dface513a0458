"""One study: its pictures, why it was flagged, what people said, and the form of a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, render_template, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session

from cxrscreen import alike, db, entries, readings, studies
from cxrscreen.findings import FINDINGS, TITLES
from cxrscreen.tables import Image, ModelVersion, Reading, Result, Review, Study
from dashboard import acts, filters, forms, identity, shell, verdicts
from dashboard.hidden import answers as told_answers
from dashboard.hidden import is_hidden
from dashboard.images import original_is_there
from dashboard.worklist import around, asked

blueprint = Blueprint("studies", __name__, url_prefix="/studies")

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

    @property
    def heat(self) -> str:
        """ "made"; "waiting" for somebody to ask for it, as of answers from features; or "" where there is none."""
        if self.result is None or self.result.heat == b"":
            return ""
        return "made" if self.result.heat else "waiting"


@dataclass(frozen=True)
class Why:
    """What a model version said of an image, in the order people read it."""

    classes: list[tuple[str, float]]
    subclasses: list[tuple[str, float]]


@blueprint.get("/<id:study_id>")
def show(study_id: int) -> str:
    filters = asked()
    me = identity.signed_in()
    with db.read() as session:
        version = shell.in_use(session)
        used = version.id if version else None
        study = studies.get(session, study_id)
        past = readings.past(session, study_id)
        where = past.standing(study, me.row)
        hidden = readings.is_hidden(session, study_id, used, where)
        # Of a case that is read blind nothing is asked: not even which picture scored highest shows.
        pictures = studies.images(session, study_id, None if hidden else used)
        image, result = _chosen(pictures, forms.query_whole("image"))
        record = session.get_one(ModelVersion, version.id).record if version else {}
        before, after = around(session, study_id, filters)
        answers = [] if hidden else told_answers(session, study_id, me)
        following = studies.images(session, after, used) if after and used else []
        others = studies.others_of_patient(session, study, OTHERS_OFFERED)
        prior = _prior(session, others, used)
        begun = past.taken_back(me.row)
        undoable = acts.last(session)
        cases = alike.confirmed(session, study_id, result) if result else []
    return render_template(
        "study.html",
        study=study,
        pictures=pictures,
        image=image,
        result=result,
        hidden=hidden,
        where=where,
        begun=begun,
        undoable=undoable,
        said_so_far=_said(past, begun, me),
        panes=[pane for pane in (_pane(study, pictures, image.id if image else None), prior) if pane],
        others=others,
        beside=prior.study.id if prior else None,
        next_pixels=_pixels_url(_chosen(following, None)[0]),
        facts=_facts(image),
        why=_why(record, result) if result else None,
        positive=record.get("positive"),
        version=version,
        answers=answers,
        alike=cases,
        reviews=past.reviews,
        current=past.current,
        findings=FINDINGS,
        finding_titles=TITLES,
        filters=filters.address(),
        before=before,
        after=after,
        comment_length=verdicts.COMMENT_LENGTH,
    )


def _said(past: readings.Past, begun: Review | Reading | None, me: identity.Person) -> str:
    """Another text once this person gave or took back something: what the page holds of a draft was sent then."""
    last = max((review.id for review, _ in past.reviews if review.user_id == me.row.id), default=0)
    return f"{last} {begun.id if begun else 0}"


def _prior(session: Session, others: list[Study], used: int | None) -> Pane | None:
    """What stands beside this study: only another of the same patient may."""
    wanted = forms.query_whole("beside")
    beside = next((other for other in others if other.id == wanted), None)
    if beside is None:
        return None
    pane = _pane(beside, studies.images(session, beside.id, used))
    return replace(pane, result=None) if pane and is_hidden(session, beside) else pane


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
        told.append(
            (gettext("Age"), gettext("90 or more") if age >= 90 else filters.decimal(age, 0 if age >= 2 else 1))
        )
    return [*told, (gettext("Size"), f"{image.width} × {image.height}")]


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
