"""How many entries of a job stand in each state, how many were refused for which reason: kept by the database itself.

Triggers write the table in the transaction that changes an entry or a rejection, whoever changes it and by which
statement, so that the sums are exact in every snapshot and a look at a job of millions reads a few rows.

On PostgreSQL each connection adds to rows of its own (`part` is the number of its server process): nobody waits for
anybody, and no two transactions lock the same rows in different orders. SQLite has one writer, and one part.
"""

# ruff: noqa: S608  every word of these statements is ours

from __future__ import annotations

from sqlalchemy import DDL, BigInteger, ForeignKey, Integer, String, event
from sqlalchemy.orm import Mapped, mapped_column

from cxrscreen.tables.base import Base, Key
from cxrscreen.tables.work import Entry, Rejection

# What is counted: the table, and the column whose words are told apart.
COUNTED = {Entry.__tablename__: "status", Rejection.__tablename__: "reason"}
KEY = "job_id, kind, word, part"


class JobCount(Base):
    """One share of a number: `n` summed over the parts is how many rows of `kind` have the word."""

    __tablename__ = "job_counts"

    job_id: Mapped[int] = mapped_column(Key, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)  # "entries" or "rejections"
    word: Mapped[str] = mapped_column(String(40), primary_key=True)  # a status or a reason
    part: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)


def sqlite_triggers(table: str, column: str) -> list[str]:
    def add(row: str, step: int) -> str:
        return (
            f"INSERT INTO job_counts ({KEY}, n) VALUES ({row}.job_id, '{table}', {row}.{column}, 0, {step}) "
            f"ON CONFLICT ({KEY}) DO UPDATE SET n = n + excluded.n;"
        )

    changed = f"OLD.{column} IS NOT NEW.{column} OR OLD.job_id IS NOT NEW.job_id"
    return [
        f"CREATE TRIGGER count_{table}_insert AFTER INSERT ON {table} BEGIN {add('NEW', 1)} END",
        f"CREATE TRIGGER count_{table}_update AFTER UPDATE OF {column}, job_id ON {table} WHEN {changed} "
        f"BEGIN {add('OLD', -1)} {add('NEW', 1)} END",
        # A row that goes with its job finds the job's counts gone.
        f"CREATE TRIGGER count_{table}_delete AFTER DELETE ON {table} BEGIN UPDATE job_counts SET n = n - 1 "
        f"WHERE job_id = OLD.job_id AND kind = '{table}' AND word = OLD.{column} AND part = 0; END",
    ]


def postgresql_triggers(table: str, column: str) -> list[str]:
    """One function and three triggers that fire once a statement, whatever number of rows it changed."""

    def add(source: str) -> str:
        return (
            f"INSERT INTO job_counts ({KEY}, n) SELECT job_id, '{table}', {column}, pg_backend_pid(), sum(step) "
            f"FROM ({source}) AS steps WHERE EXISTS (SELECT 1 FROM jobs WHERE jobs.id = job_id) "
            f"GROUP BY job_id, {column} HAVING sum(step) <> 0 "
            f"ON CONFLICT ({KEY}) DO UPDATE SET n = job_counts.n + excluded.n;"
        )

    came = f"SELECT job_id, {column}, 1 AS step FROM fresh"
    went = f"SELECT job_id, {column}, -1 AS step FROM gone"
    function = (
        f"CREATE FUNCTION count_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'INSERT' THEN {add(came)} "
        f"ELSIF TG_OP = 'UPDATE' THEN {add(f'{came} UNION ALL {went}')} "
        f"ELSE {add(went)} END IF; RETURN NULL; END $$"
    )
    seen = {
        "insert": "NEW TABLE AS fresh",
        "update": "OLD TABLE AS gone NEW TABLE AS fresh",
        "delete": "OLD TABLE AS gone",
    }
    return [
        function,
        *(
            f"CREATE TRIGGER count_{table}_{what} AFTER {what.upper()} ON {table} REFERENCING {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION count_{table}()"
            for what, tables in seen.items()
        ),
    ]


for _table, _column in COUNTED.items():
    for _dialect, _made in (("sqlite", sqlite_triggers), ("postgresql", postgresql_triggers)):
        for _statement in _made(_table, _column):
            _ddl: DDL = DDL(_statement)  # type: ignore[no-untyped-call]
            event.listen(Base.metadata.tables[_table], "after_create", _ddl.execute_if(dialect=_dialect))
