"""Tables that leave the house: CSV as it is read, or Parquet by way of a file that is gone once it is sent."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, Any

from cxrscreen.formulas import harmless

PIECE = 1 << 15
GROUP = 10_000  # rows that are in memory at a time


def csv_lines(rows: Iterator[dict[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    """The rows with their header; `columns` is the header of a table without rows."""
    held = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(held, list(row))
            writer.writeheader()
        writer.writerow({name: harmless(value) for name, value in row.items()})
        if held.tell() > PIECE:
            yield held.getvalue()
            held.seek(0)
            held.truncate()
    yield held.getvalue() if writer else ",".join(columns) + "\r\n"


def parquet_file(rows: Iterator[dict[str, Any]], columns: dict[str, type]) -> IO[bytes]:
    """A Parquet file at its beginning, without a name; group by group, so that memory does not grow with the rows."""
    # A heavy import that only this needs.
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    file = tempfile.TemporaryFile()  # noqa: SIM115  it is closed by whoever sends it
    with pq.ParquetWriter(file, schema) as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    file.seek(0)
    return file
