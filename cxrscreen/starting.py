"""Where a program of a role begins: what it stands on is looked at before it takes anything in hand.

`cxrscreen up` looks too, and upgrades the embedded database; but a supervisor, or another machine, starts the programs
by themselves.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from cxrscreen import db, keymark
from cxrscreen.errors import CxrscreenError

PATIENCE_SECONDS = 60.0  # a database that is started beside us answers by then; else whoever started us does so again


@contextmanager
def one_line() -> Iterator[None]:
    """An error that a person can act on ends the program with one line and a status, not with a traceback."""
    try:
        yield
    except CxrscreenError as error:
        sys.stderr.write(f"cxrscreen: {error}\n")
        sys.exit(error.exit_status)
    except DBAPIError as error:
        sys.stderr.write(f"cxrscreen: the database says: {str(error.orig).strip().splitlines()[0]}\n")
        sys.exit(1)


def look() -> None:
    """Raise UsageError where the settings, the schema or the key are not what this program can run with.

    Leaves no connection open: who calls may be about to fork.
    """
    until, said = time.monotonic() + PATIENCE_SECONDS, False
    try:
        while True:
            try:
                return keymark.need_ours()
            except DBAPIError as error:
                if not db.is_away(error) or time.monotonic() > until:
                    raise
            if not said:
                sys.stderr.write(f"cxrscreen: waiting up to {PATIENCE_SECONDS:.0f} s for the database\n")
                said = True
            time.sleep(0.5)
    finally:
        db.get_engine().dispose()
