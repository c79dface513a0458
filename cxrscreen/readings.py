"""What a reader hands in and what comes of it: a verdict that stands, one of two blind readings, or an adjudication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from cxrscreen import audit, blind, studies
from cxrscreen.errors import Conflict, NotFound
from cxrscreen.tables import Reading, Review, Study, StudyResult, User, Verdict, Way, now


@dataclass(frozen=True)
class Given:
    """A filled-in form. `seen` is the review that the reader saw; `adjudicates`: two readings were laid before him."""

    verdict: Verdict
    comment: str = ""
    findings: Sequence[str] = ()
    seconds: float | None = None  # that the page was looked at
    model_version_id: int | None = None  # that was shown
    seen: int | None = None
    adjudicates: bool = False


@dataclass(frozen=True)
class Act:
    """What was written, so that it can be told and taken back."""

    kind: str  # "review" or "reading"
    id: int
    study: Study
    verdict: Verdict
    waits: bool = False  # for a second reading, or for a decision


@dataclass(frozen=True)
class Standing:
    """Where a study stands for one person."""

    adjudicates: bool  # the two readings are laid before this person
    mine: Reading | None  # of a study that is not settled yet; who has given one may give no more
    readings: list[tuple[Reading, str | None]] = field(default_factory=list)  # with names once it is settled


@dataclass(frozen=True)
class Past:
    """All that people ever said of a study, with their names; what was taken back stands in it, too."""

    reviews: list[tuple[Review, str]]  # the newest first
    readings: list[tuple[Reading, str]]  # in their order

    @property
    def current(self) -> Review | None:
        return next((review for review, _ in self.reviews if review.superseded_at is None), None)

    def standing(self, study: Study, user: User) -> Standing:
        """What this person may do and see; the readings of others only where they can no longer sway him."""
        found = [(reading, name) for reading, name in self.readings if reading.withdrawn_at is None]
        if self.current is not None:
            return Standing(False, None, [*found])
        mine = next((reading for reading, _ in found if reading.user_id == user.id), None)
        if mine is not None:
            return Standing(False, mine)
        if study.second_reader_id is not None:
            # Whose readings they are is not told before the decision: rank must not decide.
            return Standing(True, None, [(reading, None) for reading, _ in found])
        return Standing(False, None)

    def taken_back(self, user: User) -> Review | Reading | None:
        """What this person took back last, to begin the form with, unless he gave something since."""
        rows: list[Review | Reading] = [review for review, _ in self.reviews]
        rows += [reading for reading, _ in self.readings]
        last = max((row for row in rows if row.user_id == user.id), key=lambda row: row.created_at, default=None)
        return last if last is not None and last.withdrawn_at is not None else None


def give(session: Session, study: Study, user: User, given: Given) -> Act:
    """Write what a reader says. Raises Conflict, and writes nothing, where the page that was seen is out of date."""
    current = studies.current_review(session, study.id, lock=True)
    session.refresh(study)  # what others wrote before we had the lock
    if (current.id if current else None) != given.seen:
        raise Conflict("Somebody else gave a verdict on this study while you read it. Look at it again first.")
    hidden = current is None and _is_drawn(session, study.id, given.model_version_id)
    if current is not None:
        return _settle(session, study, user, given, Way.SINGLE, hidden)
    readers = (study.first_reader_id, study.second_reader_id)
    if user.id in readers:
        raise Conflict("You have given your reading of this study. It is not shown to whoever reads it next.")
    if study.second_reader_id is not None:
        if not given.adjudicates:
            raise Conflict("Two readers differ on this study by now. Look at it again to decide between them.")
        return _settle(session, study, user, given, Way.ADJUDICATED, hidden)
    if given.adjudicates:
        raise Conflict("One of the two readings was taken back, so there is nothing to decide. Look at it again.")
    if study.first_reader_id is not None:
        return _second(session, study, user, given, hidden)
    if blind.wants_two(study.key):
        study.first_reader_id = user.id
        return _note(session, study, user, given, hidden)
    return _settle(session, study, user, given, Way.SINGLE, hidden)


def undo(session: Session, user: User, kind: str, number: int) -> Study:
    """Take back what this person gave. The row stays, marked; what stood before stands again.

    Raises Conflict, and changes nothing, where others built on it meanwhile.
    """
    row = _row(session, kind, number)
    if row is None or row.user_id != user.id:
        raise NotFound("There is no such verdict of yours to take back.")
    current = studies.current_review(session, row.study_id, lock=True)
    session.refresh(row)
    study = studies.get(session, row.study_id)
    session.refresh(study)
    if row.withdrawn_at is not None:
        raise Conflict("This verdict was taken back already.")
    if isinstance(row, Review):
        if row.superseded_at is not None:
            raise Conflict("Another verdict was given on this study since. Nothing was taken back.")
        row.superseded_at = now()
        if row.replaces_id is not None:
            session.get_one(Review, row.replaces_id).superseded_at = None
        if row.way is Way.AGREED:
            _withdraw_second(session, study)
    elif current is not None or (study.second_reader_id not in (None, user.id)):
        raise Conflict("Somebody else has read this study since. Nothing was taken back.")
    elif study.second_reader_id == user.id:
        study.second_reader_id = None
    else:
        study.first_reader_id = None
    row.withdrawn_at = now()
    studies.copy(session, study)
    audit.record(session, user, "study.undo", f"study {study.id}", **{kind: row.id})
    return study


def past(session: Session, study_id: int) -> Past:
    """What people said of a study, in two statements."""
    rows = session.execute(
        select(Reading, User.name)
        .join(User, User.id == Reading.user_id)
        .where(Reading.study_id == study_id)
        .order_by(Reading.id)
    )
    return Past(studies.reviews(session, study_id), [(reading, name) for reading, name in rows])


def standing(session: Session, study: Study, user: User) -> Standing:
    """`Past.standing` for whoever asks nothing more of it."""
    return past(session, study.id).standing(study, user)


def is_hidden(session: Session, study_id: int, model_version_id: int | None, where: Standing) -> bool:
    """Whether the model's answer is kept from this person until he has said what he sees."""
    if where.mine is not None:
        return False
    asked = select(StudyResult.id).where(
        StudyResult.study_id == study_id, StudyResult.model_version_id == model_version_id, blind.hidden()
    )
    return session.scalar(asked) is not None


def act(session: Session, kind: str, number: int) -> Act | None:
    """An act by what a page remembers of it; None where it can no longer be taken back."""
    row = _row(session, kind, number)
    if row is None or row.withdrawn_at is not None or (isinstance(row, Review) and row.superseded_at is not None):
        return None
    return Act(kind, row.id, studies.get(session, row.study_id), row.verdict)


def _row(session: Session, kind: str, number: int) -> Review | Reading | None:
    return session.get(Review, number) if kind == "review" else session.get(Reading, number)


def _settle(session: Session, study: Study, user: User, given: Given, way: Way, hidden: bool) -> Act:
    review = studies.review(
        session,
        study,
        user,
        given.verdict,
        given.comment,
        given.model_version_id,
        given.seen,
        way=way,
        findings=given.findings,
        seconds=given.seconds,
        hidden=hidden,
    )
    return Act("review", review.id, study, review.verdict)


def _second(session: Session, study: Study, user: User, given: Given, hidden: bool) -> Act:
    first = session.scalars(
        select(Reading).where(
            Reading.study_id == study.id,
            Reading.user_id == study.first_reader_id,
            Reading.withdrawn_at.is_(None),
        )
    ).one()
    study.second_reader_id = user.id
    noted = _note(session, study, user, given, hidden)
    if first.verdict != given.verdict:
        return noted
    return _settle(session, study, user, given, Way.AGREED, hidden)


def _note(session: Session, study: Study, user: User, given: Given, hidden: bool) -> Act:
    reading = Reading(
        study_id=study.id,
        user_id=user.id,
        model_version_id=given.model_version_id,
        verdict=given.verdict,
        comment=given.comment.strip(),
        findings=list(given.findings),
        seconds=given.seconds,
        blind=hidden,
    )
    session.add(reading)
    studies.copy(session, study)
    # Which verdict it was stands in the reading alone: whoever reads the trail may be the second reader.
    audit.record(session, user, "study.reading", f"study {study.id}", reading=reading.id)
    return Act("reading", reading.id, study, reading.verdict, waits=True)


def _withdraw_second(session: Session, study: Study) -> None:
    asked = select(Reading).where(
        Reading.study_id == study.id, Reading.user_id == study.second_reader_id, Reading.withdrawn_at.is_(None)
    )
    session.scalars(asked).one().withdrawn_at = now()
    study.second_reader_id = None


def _is_drawn(session: Session, study_id: int, model_version_id: int | None) -> bool:
    asked = select(StudyResult.draw).where(
        StudyResult.study_id == study_id, StudyResult.model_version_id == model_version_id
    )
    return session.scalar(asked) is not None
