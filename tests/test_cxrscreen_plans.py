"""How PostgreSQL answers the worklist: by its indexes, never by reading a big table or sorting more than a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import database_on, forget_settings
from sqlalchemy import event, text
from sqlalchemy.engine import make_url

from bench import worklist, worklist_rows
from cxrscreen import counts as counts_of_jobs
from cxrscreen import db, jobs, worklist_scope
from cxrscreen.settings import Settings
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
    version = filters.model or known["active"]
    asked: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    found = []
    with db.read() as session:
        event.listen(db.get_engine(), "before_cursor_execute", keep)
        viewer = known["reader"]
        page(session, version, 0.5, filters, limit=51, viewer=viewer)
        counts(session, version, 0.5, filters, viewer=viewer)
        neighbours(session, version, 0.5, STUDIES // 2, filters, viewer=viewer)
        event.remove(db.get_engine(), "before_cursor_execute", keep)
        for statement, parameters in asked:
            told = session.connection().exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
            found += list(_walk(told[0]["Plan"] if isinstance(told, list) else json.loads(told)[0]["Plan"]))
    return found


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
    asked: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    with db.read() as session:
        event.listen(db.get_engine(), "before_cursor_execute", keep)
        assert jobs.account(session, archive["whole"]).found == STUDIES
        event.remove(db.get_engine(), "before_cursor_execute", keep)
        assert counts_of_jobs.wrong(session) == []
    assert len(asked) == 1 and "job_counts" in asked[0][0] and "entries" not in asked[0][0]
