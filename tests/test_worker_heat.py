"""The heat map of an answer from features: made when it is asked for, the same as a full pass would have given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sqlalchemy import select
from test_worker_features import archive, changed, screened_again

from cxrscreen import blobs, db, registry
from cxrscreen.imaging import decode
from cxrscreen.tables import Image, JobState, Result
from models import bundle
from worker import heat, look

__all__ = ["archive"]


def maps(version: int) -> dict[int, bytes | None]:
    with db.read() as session:
        rows = session.execute(select(Result.id, Result.heat).where(Result.model_version_id == version))
        return {row.id: row.heat for row in rows}


def test_a_map_is_made_when_it_is_asked_for(archive: int, phantom_bundle: Path, tmp_path: Path) -> None:
    with db.write() as session:
        other = registry.register(session, blobs.store(), changed(phantom_bundle, tmp_path / "b", "head")).id
    assert screened_again(other) == JobState.DONE
    before = maps(other)
    assert before and set(before.values()) == {None}
    with db.read() as session:
        sickest = select(Result).where(Result.model_version_id == other).order_by(Result.score.desc()).limit(1)
        result = session.scalars(sickest).one()
        derivative = session.get_one(Image, result.image_id).derivative
    asked = result.id
    heat.run(asked)
    after = maps(other)
    made = after.pop(asked)
    assert made and len(made) == 2 + made[0] * made[1] and set(after.values()) == {None}
    whole = look.network(other).predict([decode(blobs.store().get("derivatives", derivative))])
    assert [made] == whole.heat, "the map of a full pass"
    heat.run(asked)
    heat.run(10**9)
    assert maps(other)[asked] == made


def test_a_model_without_maps_leaves_an_empty_one(archive: int, monkeypatch: pytest.MonkeyPatch) -> None:
    number = next(iter(maps(archive)))
    with db.write() as session:
        session.get_one(Result, number).heat = None
    predict = bundle.Screener.predict_inputs

    def without(screener: bundle.Screener, inputs: torch.Tensor) -> bundle.Predictions:
        return replace(predict(screener, inputs), heat=[None] * len(inputs))

    monkeypatch.setattr(bundle.Screener, "predict_inputs", without)
    heat.run(number)
    assert maps(archive)[number] == b""


def test_what_stands_in_the_way_ends_no_worker(archive: int, monkeypatch: pytest.MonkeyPatch) -> None:
    number = next(iter(maps(archive)))
    with db.write() as session:
        session.get_one(Result, number).heat = None

    def away(_version: int) -> bundle.Screener:
        raise OSError("the store is away")

    monkeypatch.setattr(look, "network", away)
    heat.run(number)
    assert maps(archive)[number] is None
