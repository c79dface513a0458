"""Drift: what is measured after a night, what it is held against, and when it is an alert."""

from __future__ import annotations

import random

import pytest
import seed
from sqlalchemy import select

from cxrscreen import db, drift
from cxrscreen.settings import Settings
from cxrscreen.tables import Alert, Band, Result


def answer(version_id: int, scores: list[float], prefix: str) -> None:
    with db.write() as session:
        for image, score in zip(seed.images(session, len(scores), prefix), scores, strict=True):
            said = {**seed.result(score), "distance": 1 + score}
            session.add(Result(image_id=image.id, model_version_id=version_id, **said))


def alerts() -> list[str]:
    with db.read() as session:
        return list(session.scalars(select(Alert.said)))


def test_psi_is_its_formula() -> None:
    assert drift.psi([10, 20, 30], [10, 20, 30]) == 0
    assert drift.psi([500, 500], [900, 100]) == pytest.approx(0.4 * 2.19722, abs=5e-3)  # 0.4 ln 1.8 + 0.4 ln 5
    assert drift.psi([10, 0], [0, 10]) < 20, "an empty bin is no infinity"


def test_nights_are_measured_from_where_the_last_one_ended(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "REFERENCE", 200)
    with db.write() as session:
        version, other = seed.model(session).id, seed.model(session, "m2").id
    assert drift.measure(version, None) is None, "nothing was answered"
    chance = random.Random(5)
    answer(version, [chance.betavariate(1, 4) for _ in range(230)], "first")
    answer(other, [0.9] * 60, "of another version")
    first = drift.measure(version, None)
    assert first and (first.results, first.band) == (30, Band.GATHERING)
    assert first.reference == "the first 200 results of m1"
    assert drift.measure(version, None) is None, "nothing is new"
    answer(version, [chance.betavariate(1, 4) for _ in range(150)], "steady")
    steady = drift.measure(version, None)
    assert steady and (steady.results, steady.band) == (150, Band.STEADY)
    assert sum(steady.figures["scores"]["now"]) == 150 and sum(steady.figures["scores"]["reference"]) == 200
    assert len(steady.figures["scores"]["bins"]) == len(steady.figures["distances"]["bins"]) == 10
    assert alerts() == []
    answer(version, [chance.betavariate(4, 1) for _ in range(150)], "moved")
    moved = drift.measure(version, None)
    assert moved and (moved.results, moved.band) == (150, Band.ALERT)
    assert all(told["psi"] > told["limit"] for told in moved.figures.values())
    [said] = alerts()
    assert said.startswith("m1: scores (PSI") and said.endswith("the first 200 results of m1.")


def test_small_nights_of_one_population_raise_no_alarm() -> None:
    """Of a thousand nights of sixty results, by chance alone: the usual band cries in most, ours in hardly any."""
    chance = random.Random(3)

    def night(count: int) -> list[drift.Row]:
        return [drift.Row(0, chance.betavariate(1, 3), "a", None) for _ in range(count)]

    first, usual, ours = night(300), 0, 0
    for _ in range(1000):
        told = drift.compared(first, night(60))["scores"]
        usual += told["psi"] > drift.WATCH
        ours += told["psi"] > told["limit"]
    assert usual > 300 and ours < 10


def test_without_distances_the_rest_is_measured() -> None:
    rows = [drift.Row(number, number / 100, f"s{number % 3}", None) for number in range(100)]
    assert set(drift.compared(rows, rows)) == {"scores", "subclasses"}
    assert drift.compared(rows, [])["scores"]["psi"] == 0
    edge = drift.compared(rows, [drift.Row(1, 1.0, "new", 2.0)])
    assert edge["scores"]["now"][-1] == 1 and "new" in edge["subclasses"]["bins"]
