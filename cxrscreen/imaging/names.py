"""Names of entries: one text a database and a terminal take, distinct within an archive, never a way out of it."""

from __future__ import annotations

import hashlib
import re

from cxrscreen.imaging.reasons import Reason, Rejected

MAX_BYTES = 1024
# Of a whole name, with the folders and archives that it stands in: PostgreSQL indexes no longer key than 2.7 KB.
MAX_WHOLE = 2048
# Controls, line breaks, what turns the direction of writing (a name may show as another by it), bytes that are no text.
_UNFIT = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")


def tidy(name: str, most: int = MAX_BYTES) -> str:
    """A name with every control and undecodable byte spelled out, and its middle left out where it is very long."""
    name = _UNFIT.sub(_spelled, name)
    raw = name.encode()
    if len(raw) <= most:
        return name
    digest = hashlib.sha256(raw).hexdigest()[:12]
    keep = most // 2 - 16
    return f"{raw[:keep].decode(errors='ignore')}…{digest}…{raw[-keep:].decode(errors='ignore')}"


def joined(place: str, name: str) -> str:
    """The name of what is called `name` in a folder or an archive of that name; both are tidy."""
    return tidy(f"{place}/{name}", MAX_WHOLE)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if 0x2000 <= code < 0x2100 else f"\\x{code & 0xFF:02x}"


def inside(name: str) -> str:
    """The tidied relative name of an archive's member. Raises Rejected for a name that points outside."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in parts:
        raise Rejected(Reason.UNSAFE_NAME, f"The archive names it {tidy(name)!r}.")
    return tidy("/".join(parts)) or "(no name)"


class Distinct:
    """Gives each entry of an archive a name that no other has; remembers eight bytes a name, not the names."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._next: dict[int, int] = {}  # only for names that came twice

    def name(self, wanted: str) -> str:
        """The wanted name, or the first of "name (2)", "name (3)" ... that is free."""
        if self._take(wanted):
            return wanted
        key = _key(wanted)
        number = self._next.get(key, 2)
        while not self._take(f"{wanted} ({number})"):
            number += 1
        self._next[key] = number + 1
        return f"{wanted} ({number})"

    def _take(self, name: str) -> bool:
        key = _key(name)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
