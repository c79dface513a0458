"""A trial: a file that a worker may have died with is decoded by a process of its own, which may die of it.

Only that process's deaths condemn a file. Who else is killed, and how often, tells nothing of the files it had in hand.
`python -m worker.trial DESCRIPTOR` is that process: it gets a file's bytes and answers with its frames, one file after
the other, until the other end of the connection is closed.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Lock

from cxrscreen.imaging import Prepared, Reason, Rejected, prepare
from cxrscreen.settings import get_settings
from worker import stop

# Alone with it, so one death would do; but whoever kills at random may hit this process too.
DEATHS = 3
# For one file. The largest that are read at all, of 256 megapixels, take seconds.
SECONDS = 300


def read(data: bytes, name: str) -> list[Prepared]:
    """The frames of a file. Raises Rejected, whatever a decoder stumbles over: one file must not end the others."""
    settings = get_settings()
    deadly = settings.deadly_sha256
    if deadly and hashlib.sha256(data).hexdigest() == deadly:
        stop.die()
    try:
        return list(prepare(data, name, settings.min_age))
    except Rejected:
        raise
    except Exception as error:
        raise Rejected(Reason.DAMAGED, f"{type(error).__name__}: {error}") from error


class Trial:
    """Reads one file at a time, whoever asks, in a process that is started when the first one is wanted."""

    def __init__(self) -> None:
        self._turn = Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._link: Connection | None = None

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, data: bytes, name: str) -> list[Prepared]:
        """As `read` above; raises Rejected too where the file ends each process that reads it."""
        with self._turn:
            for _ in range(DEATHS):
                link = self._link or self._start()
                try:
                    link.send((data, name))
                    told: list[Prepared] | Rejected = link.recv()
                except (EOFError, OSError):
                    self._end()
                    continue
                if isinstance(told, Rejected):
                    raise told
                return told
        raise Rejected(Reason.QUARANTINED, f"{DEATHS} processes ended while they read it and nothing else.")

    def _start(self) -> Connection:
        """Raises OSError where no process can be had: then the file is not to blame."""
        link, theirs = Pipe()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        try:
            link.recv()
        except EOFError as error:
            link.close()
            raise OSError("The process that reads suspects alone does not start.") from error
        self._link = link
        return link

    def _end(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


def main() -> None:
    # Where memory runs out because of this file, this is the process to end.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with Connection(int(sys.argv[1])) as link, suppress(EOFError, ConnectionError):  # until nobody asks any more
        link.send("ready")
        while True:
            data, name = link.recv()
            signal.alarm(SECONDS)  # ends the process, whatever it is at
            told: list[Prepared] | Rejected
            try:
                told = read(data, name)
            except Rejected as refused:
                told = refused
            signal.alarm(0)
            link.send(told)


if __name__ == "__main__":
    main()
