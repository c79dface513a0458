"""The nearest confirmed cases: of the same subclass and version, by what the network saw, else by score."""

from __future__ import annotations

import numpy as np
import seed
from sqlalchemy import select

from cxrscreen import alike, db, features, studies, users
from cxrscreen.features import Seen
from cxrscreen.settings import Settings
from cxrscreen.tables import Result, Role, Study, Verdict

SPACE = "a space"


def test_the_nearest_confirmed_cases_of_the_subclass(database: Settings) -> None:
    directions = {0: (1, 0), 1: (0, 1), 2: (1, 0.1), 3: (1, 0), 4: (1, 0), 5: (1, 1)}
    with db.write() as session:
        version = seed.model(session)
        version.record = {**version.record, "feature_space": SPACE}
        reader = users.add(session, "r", Role.READER)
        made = seed.images(session, len(directions))
        for number, image in enumerate(made):
            said = seed.result(0.9 - number / 100) | ({"subclass": "covid-2"} if number == 4 else {})
            session.add(Result(image_id=image.id, model_version_id=version.id, **said))
            session.flush()
            studies.refresh(session, [image.study_id], version.id)
            if number in (1, 2, 4, 5):
                study = session.get_one(Study, image.study_id)
                studies.review(session, study, reader, Verdict.CONFIRMED, "", version.id, None)
        numbers = {image.id: np.array(directions[n], "<f2").tobytes() for n, image in enumerate(made)}
        result = session.scalars(select(Result).where(Result.image_id == made[0].id)).one()
        by_score = alike.confirmed(session, made[0].study_id, result)
        # One that is not confirmed, and one of another subclass, are as like as can be and not among them.
        assert [case.image_id for case in by_score] == [made[n].id for n in (1, 2, 5)]
        assert {case.likeness for case in by_score} == {None}
        features.keep(session, [(image_id, Seen(SPACE, held)) for image_id, held in numbers.items()])
        by_features = alike.confirmed(session, made[0].study_id, result, limit=2)
        assert [case.image_id for case in by_features] == [made[2].id, made[5].id]
        assert by_features[0].likeness is not None and 0.99 < by_features[0].likeness < 1
        assert alike.confirmed(session, made[1].study_id, result, limit=1)[0].study.id == made[2].study_id
