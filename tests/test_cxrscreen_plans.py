"""How PostgreSQL answers the worklist: by its indexes, never by reading a big table or sorting more than a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import database_on, forget_settings
from sqlalchemy import event, select, text
from sqlalchemy.engine import make_url

from bench import worklist, worklist_rows
from cxrscreen import alike, db, jobs, worklist_scope
from cxrscreen import counts as counts_of_jobs
from cxrscreen.settings import Settings
from cxrscreen.tables import Result
from cxrscreen.worklist import counts, neighbours, page
from cxrscreen.worklist_filters import Filters

STUDIES = 30_000
BIG = {"studies", "images", "results", "study_results", "entries"}
SORTED = 2_000  # rows that may be sorted: a page, or the studies of a lookup that passed the other filters


@pytest.fixture(scope="module")
def filled(postgres: str, postgres_head: str) -> Iterator[tuple[str, dict[str, int]]]:
    """The name of a database with an archive, to be copied, and the numbers of what is in it."""
    with database_on(postgres, postgres_head) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRSCREEN_DATABASE_URL", url)
        forget_settings()
        known = worklist_rows.fill(STUDIES)
        db.get_engine().dispose()
        yield str(make_url(url).database), known


@pytest.fixture
def archive(
    postgres: str,
    filled: tuple[str, dict[str, int]],
    configure: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[dict[str, int]]:
    monkeypatch.setattr(worklist_scope, "JOB_FEW", STUDIES // 10)  # the job of everything is large here too
    template, known = filled
    with database_on(postgres, template) as url:
        configure(database_url=url)
        yield known
        db.get_engine().dispose()


def troubles(known: dict[str, int], filters: Filters) -> list[str]:
    """The scans of whole tables and the long sorts in the plans of a list's queries."""
    version, viewer = filters.model or known["active"], known["reader"]
    with db.read() as session, asking() as asked:
        page(session, version, 0.5, filters, limit=51, viewer=viewer)
        counts(session, version, 0.5, filters, viewer=viewer)
        neighbours(session, version, 0.5, STUDIES // 2, filters, viewer=viewer)
    return [line for plan in plans(asked) for line in _walk(plan)]


@contextmanager
def asking() -> Iterator[list[tuple[str, Any]]]:
    """What the database is asked meanwhile: statements and their parameters."""
    asked: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(db.get_engine(), "before_cursor_execute", keep)
    yield asked
    event.remove(db.get_engine(), "before_cursor_execute", keep)


def plans(asked: list[tuple[str, Any]], how: str = "FORMAT JSON") -> list[dict[str, Any]]:
    with db.read() as session:
        ask = session.connection().exec_driver_sql
        told = [ask(f"EXPLAIN ({how}) {statement}", parameters).scalar_one() for statement, parameters in asked]
    return [one[0]["Plan"] if isinstance(one, list) else json.loads(one)[0]["Plan"] for one in told]


def _walk(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG:
        yield f"reads all of {node['Relation Name']}"
    if node["Node Type"] == "Sort" and node["Plans"][0]["Plan Rows"] > SORTED:
        yield f"sorts {node['Plans'][0]['Plan Rows']} rows"
    for below in node.get("Plans", []):
        yield from _walk(below)


def test_every_list_is_answered_by_indexes(archive: dict[str, int]) -> None:
    lists = worklist.lists(archive, STUDIES)
    assert {name: found for name, filters in lists.items() if (found := troubles(archive, filters))} == {}


@pytest.mark.parametrize(
    ("index", "filters"),
    [
        ("ix_studies_label", Filters(search="Study abc")),
        ("ix_study_results_by_queue", Filters(state="all")),
        ("ix_study_results_by_time", Filters(state="all", low=0.0, sort="newest")),
        ("ix_study_results_by_date", Filters(state="all", low=0.0, sort="study-newest")),
        ("ix_entries_job_id_image_id", Filters(job=3)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_its_index_a_list_is_in_trouble(archive: dict[str, int], index: str, filters: Filters) -> None:
    """The test above sees what it should: with one index less its list is read or sorted whole."""
    assert troubles(archive, filters) == []
    with db.write() as session:
        session.execute(text(f"DROP INDEX {index}"))
        if index == "ix_entries_job_id_image_id":
            session.execute(text("DROP INDEX ix_entries_job_id_status"))
            session.execute(text("DROP INDEX ix_entries_job_id_sha256"))
            session.execute(text("ALTER TABLE entries DROP CONSTRAINT uq_entries_job_id_name_frame"))
    assert troubles(archive, filters) != []


def test_the_account_of_a_large_job_reads_a_few_rows(archive: dict[str, int]) -> None:
    """The database keeps the counts as rows change; a look at a job reads no entry."""
    with db.read() as session, asking() as asked:
        assert jobs.account(session, archive["whole"]).found == STUDIES
    assert counts_of_jobs.wrong() == []
    assert len(asked) == 1 and "job_counts" in asked[0][0] and "entries" not in asked[0][0]


def rows_read(asked: list[tuple[str, Any]]) -> float:
    """The rows that a step of a plan at most reads, those that it throws away counted in."""
    return max(rows for plan in plans(asked, "ANALYZE, FORMAT JSON") for rows in _read(plan))


def _read(node: dict[str, Any]) -> Iterator[float]:
    yield node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    for below in node.get("Plans", []):
        yield from _read(below)


@pytest.mark.parametrize(
    ("index", "state"), [("ix_study_results_read_once", "waiting"), ("ix_study_results_read_twice", "disputed")]
)
def test_what_was_read_blind_is_found_without_a_walk(archive: dict[str, int], index: str, state: str) -> None:
    """Not past what is merely open; without its index it walks."""

    def read() -> float:
        with db.read() as session, asking() as asked:
            assert page(session, archive["active"], 0.5, Filters(state=state), viewer=archive["reader"])
        return rows_read(asked)

    assert read() <= 100
    with db.write() as session:
        session.execute(text(f"DROP INDEX {index}"))
    assert read() > 200


def test_the_nearest_confirmed_cases_are_found_without_a_walk(archive: dict[str, int]) -> None:
    """Neither past the confirmed of other subclasses nor past what nobody confirmed; without its index it walks."""

    def read(subclass: str) -> float:
        with db.read() as session:
            of = select(Result).where(Result.model_version_id == archive["active"], Result.subclass == subclass)
            result = session.scalars(of.limit(1)).one()
            with asking() as asked:
                assert alike.confirmed(session, 0, result)
        return rows_read(asked)

    assert max(read("covid-1"), read("normal-1")) <= alike.LOOKED_AT
    with db.write() as session:
        session.execute(text("DROP INDEX ix_study_results_confirmed"))
    assert read("normal-1") > 2 * alike.LOOKED_AT
