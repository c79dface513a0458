"""Thresholds are weighed by counts that agree with a plain loop, and a signature is kept; on both databases."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
import seed
from sqlalchemy import select

from cxrscreen import db, operating, registry, scores, studies
from cxrscreen.errors import Conflict, UsageError
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, ModelVersion, Result, Role, Study, StudyResult, User, Verdict, now


@pytest.fixture
def version_id(database: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """Sixty studies, some with verdicts; their scores stand on edges, beside them and at both ends."""
    chance, moment = random.Random(3), now()
    monkeypatch.setattr(scores, "now", lambda: moment)  # which nights are the last changes at midnight
    with db.write() as session:
        version, user = seed.model(session, threshold=0.37), User(name="ann", role=Role.ADMIN)
        session.add(user)
        session.flush()
        for number, image in enumerate(seed.images(session, 60)):
            score = [0.0, 1.0, 0.57, 0.29, 0.37, 0.3704, chance.random()][number % 7]
            session.add(Result(image_id=image.id, model_version_id=version.id, **seed.result(score)))
            session.flush()
            studies.refresh(session, [image.study_id], version.id)
            row = session.scalars(select(StudyResult).where(StudyResult.study_id == image.study_id)).one()
            row.updated_at = moment - timedelta(days=number, hours=number % 24)
            if number % 4:
                said = list(Verdict)[number % 3]
                studies.review(session, session.get_one(Study, image.study_id), user, said, "", version.id, None)
        return version.id


@pytest.mark.parametrize("threshold", [0.0, 0.29, 0.37, 0.3702, 0.57, 1.0])
def test_counts_are_those_of_a_plain_loop(version_id: int, threshold: float) -> None:
    with db.read() as session:
        told = operating.figures(operating.weighed(session, version_id, threshold), threshold)
        rows = session.scalars(select(StudyResult)).all()
    over = [row for row in rows if row.score >= threshold]
    recent = [row for row in rows if row.updated_at >= scores.lately()]
    assert (told["studies"], told["flagged"]) == (60, len(over))
    assert told["open"] == sum(row.verdict is None for row in over)
    for name, said, among in (("sensitivity", Verdict.CONFIRMED, over), ("specificity", Verdict.DISMISSED, None)):
        of = [row for row in rows if row.verdict == said]
        hits = [row for row in of if (row in among if among is not None else row not in over)]
        assert (told[name]["hits"], told[name]["of"]) == (len(hits), len(of)), name
    nights = {(row.updated_at - timedelta(hours=12)).date() for row in recent}
    assert told["nights"] == len(nights)
    assert told["per_night"] == pytest.approx(sum(row.score >= threshold for row in recent) / len(nights))


def test_a_night_goes_from_noon_to_noon(version_id: int) -> None:
    with db.read() as session:
        told = scores.nights(session, version_id, 0.37)
        rows = session.scalars(select(StudyResult).where(StudyResult.updated_at >= scores.lately())).all()
    for night in told:
        of = [row for row in rows if (row.updated_at - timedelta(hours=12)).date() == night.day]
        assert (night.studies, night.flagged) == (len(of), sum(row.score >= 0.37 for row in of))
    assert [night.day for night in told] == sorted(night.day for night in told)
    assert sum(night.studies for night in told) == len(rows)


def test_a_signature_is_kept_with_its_figures(version_id: int) -> None:
    with db.write() as session:
        version, user = session.get_one(ModelVersion, version_id), session.scalars(select(User)).one()
        before = operating.newest(session, version_id)
        assert before is not None
        with pytest.raises(UsageError, match="Sign for it first"):
            operating.sign(session, version, 0.57, user, "  ", before.id)
        with pytest.raises(UsageError, match="already"):
            operating.sign(session, version, 0.37, user, "read it", before.id)
        point = operating.sign(session, version, 0.57, user, " read forty ", before.id)
        with pytest.raises(Conflict):
            operating.sign(session, version, 0.6, user, "a stale page", before.id)
        assert registry.threshold(session, version_id) == 0.57
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "model.threshold")).one()
    assert (point.note, point.figures["threshold"], point.figures["studies"]) == ("read forty", 0.57, 60)
    assert event.detail == {"threshold": 0.57, "before": 0.37, "sign_off": "read forty"}
    with db.read() as session:
        assert [name for _, name in operating.history(session, version_id)] == ["ann", None]


def test_a_version_without_results_has_nothing_to_weigh(database: Settings) -> None:
    with db.write() as session:
        empty = seed.model(session).id
        told = operating.figures(operating.weighed(session, empty, 0.5), 0.5)
    assert (told["studies"], told["per_night"], told["sensitivity"]["value"]) == (0, None, None)
