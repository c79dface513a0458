"""Comparing two versions: the figures, and that a large archive is looked at in a sample."""

from __future__ import annotations

import pytest
import seed
from dashboard_fixtures import scored
from sqlalchemy import event

from cxrscreen import compare, db, jobs, studies
from cxrscreen.settings import Settings
from cxrscreen.tables import Image, JobKind, ModelState, ModelVersion, Result


def both(pairs: list[tuple[str, float, float]]) -> tuple[ModelVersion, ModelVersion]:
    with db.write() as session:
        first, second = seed.model(session, "m1"), seed.model(session, "m2", state=ModelState.CANDIDATE, threshold=0.6)
        for name, before, after in pairs:
            study = scored(session, name, [before], first.id)
            for image, _ in studies.images(session, study.id, first.id):
                image.name = name
                session.add(Result(image_id=image.id, model_version_id=second.id, **seed.result(after)))
            session.flush()
            studies.refresh(session, [study.id], second.id)
        return first, second


def test_each_version_is_read_at_its_own_threshold(database: Settings) -> None:
    first, second = both([("a", 0.55, 0.55), ("b", 0.4, 0.7), ("c", 0.9, 0.9), ("d", 0.1, 0.1)])
    with db.read() as session:
        told = compare.versions(session, first, second)
        assert compare.versions(session, second, first)["newly_flagged"] == 1
    assert (told["studies"], told["newly_flagged"], told["no_longer_flagged"], told["same_flag"]) == (4, 1, 1, 2)
    assert [line["label"] for line in told["flips"]["newly_flagged"]] == ["b"]
    assert [line["label"] for line in told["flips"]["no_longer_flagged"]] == ["a"]
    assert told["by_subclass"][0]["studies"] + told["by_subclass"][1]["studies"] == 4
    assert not told["sampled"] and told["reviewed"]["first"]["sensitivity"]["value"] is None


def test_an_archive_without_common_studies_is_compared_to_nothing(database: Settings) -> None:
    first, second = both([])
    with db.read() as session:
        told = compare.versions(session, first, second)
    assert (told["studies"], told["mean_score_shift"], told["by_source"]) == (0, None, [])


def test_sources_are_those_of_the_jobs_or_the_first_folder(database: Settings) -> None:
    first, second = both(
        [("/in/ward a/x/1.png", 0.1, 0.2), ("/in/ward a/2.png", 0.1, 0.4), ("z.zip/3", 0.2, 0.1), ("4", 0, 0)]
    )
    with db.write() as session:
        jobs.create(session, JobKind.FOLDER, "t", first.id, sources=[{"path": "/in/ward a", "label": "/in/ward a"}])
    with db.read() as session:
        told = compare.versions(session, first, second)["by_source"]
        assert session.query(Image).count() == 4
    assert [(row["name"], row["studies"], round(row["mean"], 3)) for row in told] == [
        ("/in/ward a", 2, 0.2),
        ("single files", 1, 0.0),
        ("z.zip", 1, -0.1),
    ]


def test_many_groups_become_one_line() -> None:
    told = compare.shift_by((f"s{number:02}", 0.1) for number in range(30))
    assert len(told) == compare.SOURCES + 1 and (told[-1]["name"], told[-1]["studies"]) == ("18 others", 18)


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (8, 10, 0.4902, 0.9433), (81, 263, 0.2553, 0.3662)],
)
def test_wilsons_interval(hits: int, of: int, low: float, high: float) -> None:
    """Known values; the last is of Newcombe, Statistics in Medicine 17 (1998), table I."""
    assert compare.wilson(hits, of)["ci95"] == pytest.approx([low, high], abs=1e-4)


def test_of_many_studies_a_fixed_number_is_read(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "SAMPLE", 40)
    monkeypatch.setattr(compare, "WALK", 60)
    monkeypatch.setattr(compare, "STRETCHES", 10)
    first, second = both([(f"a{number % 7}/{number}", number / 200, (200 - number) / 200) for number in range(200)])
    read: list[int] = []

    def count(*_: object) -> None:
        read.append(1)

    event.listen(db.get_engine(), "after_cursor_execute", count)
    with db.read() as session:
        told = compare.versions(session, first, second)
    event.remove(db.get_engine(), "after_cursor_execute", count)
    assert told["sampled"] and told["studies"] == 40 and len(read) < 25
    assert abs(told["mean_score_shift"]) < 0.1, "the sample is spread over the archive, not its beginning"
    assert len(told["flips"]["newly_flagged"]) == compare.LISTED
    assert told["flips"]["newly_flagged"][0]["after"] == 1.0
