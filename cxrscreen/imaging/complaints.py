"""What a C library writes to the terminal while it decodes: the only place where GDCM says that a JPEG is damaged."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cxrscreen.imaging.reasons import Reason, Rejected

# The beginnings of libjpeg's messages about compressed data (jerror.h).
_DAMAGE = (b"Corrupt JPEG data", b"Premature end of JPEG")
# What it says of pixels that it then decodes: GDCM tries its libjpeg of 8 bits first.
_NO_MATTER = (b"Unsupported JPEG data precision", b"Invalid SOS parameters for sequential JPEG")
_STDERR = 2
# The terminal is the process's; GDCM keeps Python's lock while it decodes, so this costs no parallel work.
_one_at_a_time = threading.Lock()


@contextmanager
def heeded() -> Iterator[None]:
    """Raise Rejected where libjpeg complained of damage meanwhile; what else was written goes where it should."""
    with _one_at_a_time, tempfile.TemporaryFile() as heard:
        terminal = os.dup(_STDERR)
        try:
            os.dup2(heard.fileno(), _STDERR)
            try:
                yield
            finally:
                os.dup2(terminal, _STDERR)
                heard.seek(0)
                lines = heard.read().splitlines(keepends=True)
                damage = [line for line in lines if line.startswith(_DAMAGE)]
                others = b"".join(line for line in lines if not line.startswith((*_DAMAGE, *_NO_MATTER)))
                if others:
                    os.write(terminal, others)
        finally:
            os.close(terminal)
    if damage:
        raise Rejected(Reason.DAMAGED, f"The JPEG is damaged ({damage[0].decode(errors='replace').strip()[:100]}).")
