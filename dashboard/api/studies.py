"""Studies for programs: the worklist with the filters of its page, and one study with all that was said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from flask import url_for
from pydantic import Field
from sqlalchemy.orm import Session

from cxrscreen import db, entries, readings, studies, worklist, worklist_filters
from cxrscreen.errors import NoModel
from cxrscreen.tables import Image, ModelVersion, Result
from cxrscreen.worklist_filters import SEARCH_LENGTH, SORTS, STATES
from dashboard import hidden, identity, shell
from dashboard.api.contract import Shape, operation
from dashboard.api.shapes import MOST, PAGE, Answer, ImageAnswer, Listed, Listing, Picture, Review, Study
from dashboard.worklist import version_for


def _text(says: str = "", *, pattern: str = "", **options: Any) -> Any:
    """A filter that is a text. `pattern` is for the document alone: what does not fit is refused with a better line."""
    return Field(
        "", max_length=SEARCH_LENGTH, description=says, json_schema_extra={"pattern": pattern or ".*"}, **options
    )


NUMBER, DAY, SHARE = r"^[0-9]{0,15}$", r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$", r"^(0|1|0?[.][0-9]{1,9})?$"


class StudiesAsked(Shape):
    """The filters of the worklist, as its own address says them; each is a text."""

    state: Literal[*STATES] = Field("open", description="By verdict; open are those without one.")  # type: ignore[valid-type]
    sort: Literal[*SORTS] = "score"  # type: ignore[valid-type]
    job: str = _text("Only studies of which this job found an image.", pattern=NUMBER)
    class_: str = _text(alias="class")
    subclass: str = _text()
    reader: str = _text("The number of a person: only what this one gave a verdict on.", pattern=NUMBER)
    assigned: str = _text("`me`, `nobody` or the number of a person.", pattern=r"^(me|nobody|[0-9]{0,15})$")
    from_: str = _text("Scored on this day (UTC) or later, as 2026-11-30.", pattern=DAY, alias="from")
    to: str = _text("Scored on this day (UTC) or earlier.", pattern=DAY)
    low: str = _text("The lowest score, in the place of the threshold; 0 lists all.", pattern=SHARE)
    high: str = _text("The highest score.", pattern=SHARE)
    model: str = _text("The number of another version than the active one.", pattern=NUMBER)
    q: str = _text("Pseudonym, accession or name begin with this.")
    after: str = _text("`next` of the page before.")
    limit: int = Field(PAGE, ge=1, le=MOST)


@operation("GET", "/studies", query=StudiesAsked)
def list_studies(asked: StudiesAsked) -> Listing:
    """The worklist: what is flagged and has no verdict, unless other filters are asked for."""
    told = asked.model_dump(by_alias=True, exclude={"limit", "after"})
    filters = replace(worklist_filters.read(told), size=asked.limit)
    after = worklist.cursor(asked.after, filters)
    with db.read() as session:
        version = version_for(session, filters)
        if version is None:
            raise NoModel
        lines = worklist.page(
            session,
            version.id,
            version.threshold,
            filters,
            after=after,
            limit=asked.limit + 1,
            viewer=identity.signed_in().row.id,
        )
    shown = lines[: asked.limit]
    return Listing(
        model_version=version.id,
        threshold=version.threshold,
        studies=[_listed(line, version.threshold) for line in shown],
        next=worklist.place(shown[-1], filters) if len(lines) > asked.limit else None,
    )


@operation("GET", "/studies/<id:study_id>")
def show_study(study_id: int) -> Study:
    """One study: its images, what each model version says, and every verdict."""
    version = shell.in_use()
    used = version.id if version else None
    me = identity.signed_in()
    with db.read() as session:
        study = studies.get(session, study_id)
        past = readings.past(session, study_id)
        where = past.standing(study, me.row)
        kept_back = readings.is_hidden(session, study_id, used, where)
        record = session.get_one(ModelVersion, used).record if used else {}
        pictures = [
            _picture(record, image, result)
            for image, result in studies.images(session, study_id, None if kept_back else used)
        ]
        answers = [] if kept_back else _answers(session, study_id, me)
    same = ("id", "patient", "accession", "study_date", "created_at")
    return Study(
        **{name: getattr(study, name) for name in same},
        name=study.label,
        hidden=kept_back,
        images=pictures,
        answers=answers,
        reviews=[
            Review(
                verdict=review.verdict,
                reader=name,
                way=review.way,
                findings=list(review.findings),
                comment=review.comment,
                at=review.created_at,
                current=review.superseded_at is None,
            )
            for review, name in past.reviews
        ],
        url=url_for("studies.show", study_id=study_id),
    )


def _listed(line: worklist.Line, threshold: float) -> Listed:
    said = None if line.hidden else line.result
    return Listed(
        id=line.study.id,
        name=line.study.label,
        patient=line.study.patient,
        study_date=line.study.study_date,
        images=line.result.images,
        hidden=line.hidden,
        score=said.score if said else None,
        flagged=said.score >= threshold if said else None,
        class_=said.label if said else None,
        subclass=said.subclass if said else None,
        verdict=line.verdict,
        reader=line.reader,
        reviewed_at=line.reviewed_at,
        assigned=line.assigned,
        scored_at=line.result.updated_at,
    )


def _answers(session: Session, study_id: int, me: identity.Person) -> list[Answer]:
    return [
        Answer(
            model_version=version.id,
            model=version.name,
            score=said.score,
            threshold=limit,
            flagged=said.score >= limit,
            class_=said.label,
            subclass=said.subclass,
        )
        for said, version, limit in hidden.answers(session, study_id, me)
    ]


def _picture(record: dict[str, object], image: Image, result: Result | None) -> Picture:
    same = ("id", "frame", "sha256", "width", "height", "facts")
    return Picture(
        **{name: getattr(image, name) for name in same},
        file=image.name,
        answer=_answer(record, result) if result else None,
        thumbnail=url_for("images.thumb", image_id=image.id),
        heat_map=url_for("images.heat_map", image_id=image.id) if result and result.heat else None,
    )


def _answer(record: dict[str, object], result: Result) -> ImageAnswer:
    return ImageAnswer(
        score=result.score,
        class_=result.label,
        subclass=result.subclass,
        classes=entries.class_probabilities(record, result),
        subclasses={name: float(value) for name, value in result.probabilities.items()},
        distance=result.distance,
        preprocessing=result.preprocessing,
    )
