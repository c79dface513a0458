"""What the sweep clears away: blobs without a row, what killed processes left half written, uploads that broke off or
that the store holds twice."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from cxrscreen import belonging, blobs, clearing, orphans
from cxrscreen.settings import get_settings

log = logging.getLogger(__name__)

STALE_UPLOAD_SECONDS = 24 * 3600
STALE_COPY_SECONDS = 7 * 24 * 3600
CLEAR_EVERY_SECONDS = 3600
COPY = "[0-9a-f]" * 64 + ".*"  # of a blob of a store that is no disk, while it is read


def run(moment: float | None = None) -> None:
    """One look: a shelf of the store for each kind (all of them take 256 looks), and the folders beside it."""
    settings = get_settings()
    _clear(settings.upload_dir, "*", STALE_UPLOAD_SECONDS)
    _clear(settings.cache_dir, COPY, STALE_COPY_SECONDS)
    store = blobs.store()
    try:
        store.require()
        if not settings.orphan_hours or not belonging.is_ours(store):
            return
        turn = int((time.time() if moment is None else moment) / settings.sweep_seconds)
        for kind in orphans.NAMED:
            orphans.search(store, kind, blobs.SHELVES[turn % len(blobs.SHELVES)])
        orphans.remove(store)
        if _is_hour(settings.upload_dir / "cleared"):
            clearing.run(store)
    except OSError as error:
        log.warning("The store is not swept just now: %s", error)


def _is_hour(mark: Path) -> bool:
    """True once an hour; of several machines that share no folder each has its own, which does no harm."""
    try:
        if time.time() - mark.stat().st_mtime < CLEAR_EVERY_SECONDS:
            return False
    except FileNotFoundError:
        mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return True


def _clear(folder: Path, pattern: str, seconds: float) -> None:
    """Files right in a folder that nobody has written to for so long."""
    for path in folder.glob(pattern):
        try:
            if path.is_file() and time.time() - path.stat().st_mtime > seconds:
                path.unlink()
        except OSError as error:
            log.warning("%s stays: %s", path.name, error)
