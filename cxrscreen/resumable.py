"""Uploads that go on where they broke off: what of each has come, kept in files under the upload folder.

An upload is a folder `resumable/<user>/<id>/` with `state.json`, written once when it is created and once more when its
hash is known; `part`, whose true size is the offset, so that nothing has to agree with anything after a kill; and
`lock`, held with flock by the one who writes, which a dead process lets go of. `sure` stands there while bytes are
written whose checksum is not known to be right: it holds the offset to fall back to.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cxrscreen.errors import CxrscreenError, NotFound
from cxrscreen.settings import get_settings

CHUNK = 1 << 20
SWEEP_EVERY_SECONDS = 600
TOKEN = re.compile(r"[0-9a-f]{32}")
FOLDER = "resumable"


class Busy(CxrscreenError):
    """Another request writes to this upload: HTTP 423."""

    http_status = 423


class Expired(NotFound):
    """Too long without a byte: HTTP 410."""

    http_status = 410


@dataclass(frozen=True)
class Upload:
    """One file on its way in. `size` is in bytes, `created` and `modified` in seconds and milliseconds of the epoch."""

    id: str
    user_id: int
    name: str  # as the person's machine called it
    size: int
    group: str = ""  # files of one group become one job, once somebody says so
    modified: int = 0  # of the file on the person's machine: with name and size it tells whether it is the same one
    created: float = 0.0
    sha256: str = ""  # known once every byte is here
    begun: bool = False  # a job has it

    @property
    def folder(self) -> Path:
        return root() / str(self.user_id) / self.id

    @property
    def part(self) -> Path:
        return self.folder / "part"

    @property
    def offset(self) -> int:
        """How many bytes are here for good; all of them where the store has taken them over."""
        try:
            return int((self.folder / "sure").read_text())
        except FileNotFoundError:
            pass
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            if self.sha256:
                return self.size
            raise NotFound("This upload is no longer here.") from None

    @property
    def whole(self) -> bool:
        return self.offset == self.size

    @property
    def expires(self) -> float:
        """Seconds of the epoch; every byte that comes puts it off."""
        return _touched(self.folder) + get_settings().upload_days * 86400


def root() -> Path:
    return get_settings().upload_dir / FOLDER


def create(user_id: int, name: str, size: int, group: str = "", modified: int = 0) -> Upload:
    made = Upload(secrets.token_hex(16), user_id, name, size, group, modified, time.time())
    made.folder.mkdir(parents=True, mode=0o700)
    made.part.touch(mode=0o600)
    _keep(made)
    return made


def find(user_id: int, identity: str) -> Upload:
    """An upload of this person. Raises NotFound, also where it is somebody else's, and Expired."""
    if not TOKEN.fullmatch(identity):
        raise NotFound("There is no such upload.")
    found = _read(root() / str(user_id) / identity)
    if found is None:
        raise NotFound("There is no such upload.")
    if found.expires < time.time():
        raise Expired("This upload lay too long without a byte and was given up; send the file anew.")
    return found


def find_anyones(identity: str) -> Upload:
    """The same whoever began it: for administrators, who may end it."""
    for folder in root().glob(f"*/{identity}") if TOKEN.fullmatch(identity) else ():
        if found := _read(folder):
            return found
    raise NotFound("There is no such upload.")


def unfinished(user_id: int) -> list[Upload]:
    """What this person began and no job has yet, the oldest first."""
    folder = root() / str(user_id)
    found = [_read(path) for path in folder.iterdir() if TOKEN.fullmatch(path.name)] if folder.is_dir() else []
    now = time.time()
    kept = [upload for upload in found if upload is not None and not upload.begun and upload.expires >= now]
    return sorted(kept, key=lambda upload: (upload.created, upload.name))


@contextmanager
def writing(upload: Upload) -> Iterator[Upload]:
    """Be the only one who writes to it; answers it as it stands now. Raises Busy, or NotFound where it just ended."""
    with _locked(upload.folder / "lock", wait=False):
        fresh = _read(upload.folder)
        if fresh is None:
            raise NotFound("There is no such upload.")
        _fall_back(fresh)
        yield fresh


@contextmanager
def beginning(user_id: int, key: str) -> Iterator[None]:
    """Hold what turns uploads into a job, for one group or one upload: two requests must not make two jobs."""
    folder = root() / str(user_id)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"begin-{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock"
    with _locked(path, wait=True):
        yield


def doubt(upload: Upload) -> None:
    """From here on what is written counts only once `trust` is called."""
    mark = upload.folder / f"sure.{secrets.token_hex(4)}"
    _write(mark, str(upload.part.stat().st_size))
    mark.replace(upload.folder / "sure")


def trust(upload: Upload) -> None:
    (upload.folder / "sure").unlink(missing_ok=True)


def seal(upload: Upload) -> Upload:
    """The upload with the hash of its bytes, which is computed once: it is read anew, because it came in pieces that
    several processes may have written."""
    if upload.sha256:
        return upload
    digest = hashlib.sha256()
    with upload.part.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    sealed = replace(upload, sha256=digest.hexdigest())
    _keep(sealed)
    return sealed


def mark_begun(upload: Upload) -> None:
    """A job has it. Who asks once more, because the answer was lost, still learns that all of it is here."""
    _keep(replace(upload, begun=True))


def drop(upload: Upload) -> None:
    """End it, whatever has come."""
    gone = upload.folder.with_name(f"{upload.id}.{secrets.token_hex(4)}.gone")
    try:
        upload.folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def sweep() -> int:
    """Remove what lay without a byte for longer than the setting; answers how many. Cheap to call often."""
    top, now = root(), time.time()
    mark = top / "swept"
    if not top.is_dir() or (mark.exists() and now - mark.stat().st_mtime < SWEEP_EVERY_SECONDS):
        return 0
    mark.touch()
    old = now - get_settings().upload_days * 86400
    count = 0
    for path in top.glob("*/*"):
        if path.name.endswith(".lock"):
            if path.stat().st_mtime < old:
                path.unlink(missing_ok=True)
        elif _touched(path) < old:
            upload = _read(path)
            if upload is None:  # was never whole, or is half removed
                shutil.rmtree(path, ignore_errors=True)
                continue
            try:
                with writing(upload):
                    drop(upload)
                    count += 1
            except (Busy, NotFound):
                continue
    return count


def _read(folder: Path) -> Upload | None:
    try:
        return Upload(**json.loads((folder / "state.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _keep(upload: Upload) -> None:
    fresh = upload.folder / f"state.{secrets.token_hex(4)}"
    _write(fresh, json.dumps(asdict(upload)))
    fresh.replace(upload.folder / "state.json")
    handle = os.open(upload.folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _touched(folder: Path) -> float:
    """When a byte last came, or the state last changed."""
    times = []
    for path in (folder / "part", folder / "state.json", folder):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times[:2] or times, default=0.0)


def _fall_back(upload: Upload) -> None:
    """Whoever wrote in doubt died: what they wrote does not count."""
    if (upload.folder / "sure").exists():
        os.truncate(upload.part, upload.offset)
        trust(upload)


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[None]:
    try:
        file = path.open("a")
    except FileNotFoundError:
        raise NotFound("There is no such upload.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Busy("Another request writes to this upload; ask for its offset and go on in a moment.") from None
        yield
