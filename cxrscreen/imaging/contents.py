"""What an archive's reader finds, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cxrscreen.imaging.reasons import Rejected


@dataclass(frozen=True)
class Found:
    """A member that is no directory: its name as stored, and its bytes in pieces when they are asked for.

    `pieces` must be used up, or left, before the next member is asked for. `packed` is its compressed size, where a
    member has one of its own.
    """

    name: str
    size: int | None
    packed: int | None
    refused: Rejected | None
    pieces: Callable[[], Iterator[bytes]]
