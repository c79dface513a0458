"""Start a program as part of the embedded stack: `python -m cxrscreen.child PIDFILE PROGRAM [ARGUMENT...]`.

Writes its process id and becomes the program, so the id stays true. On Linux the program is told to end when its parent
does, even by kill -9: no worker of a stack that is gone keeps a database open.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2); kept across exec


def main(arguments: list[str]) -> None:
    pid_file, *command = arguments
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended between the two calls
            return
    path = Path(pid_file)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(f"{os.getpid()}\n")
    fresh.replace(path)
    os.execvp(command[0], command)  # noqa: S606  the whole point


if __name__ == "__main__":
    main(sys.argv[1:])
