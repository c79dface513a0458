"""The two ways an ingest or a batch ends before its end."""

from __future__ import annotations

import os
import signal


class Stopped(Exception):
    """Paused, cancelled, lease lost, or the worker is asked to end: leave, and leave things as they were."""


def die() -> None:
    """The test hook `deadly_sha256`: end as a crash in a decoder would, with nothing said."""
    os.kill(os.getpid(), signal.SIGKILL)
