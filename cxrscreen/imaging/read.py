"""From the bytes of a file to its frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from cxrscreen.imaging.dicom import DicomFile, looks_like_dicom
from cxrscreen.imaging.facts import Facts
from cxrscreen.imaging.frame import Frame
from cxrscreen.imaging.pictures import PictureFile
from cxrscreen.imaging.reasons import Reason, Rejected


class Source(Protocol):
    """An opened file."""

    facts: Facts
    count: int

    def check_complete(self) -> None: ...

    def frames(self, max_side: int | None = None) -> Iterator[Frame]: ...


def open_source(data: bytes) -> Source:
    """The file by its content, opened but not decoded. Raises Rejected."""
    if not data:
        raise Rejected(Reason.EMPTY)
    if looks_like_dicom(data):
        return DicomFile(data)
    return PictureFile(data)


def frames(data: bytes, max_side: int | None = None) -> Iterator[Frame]:
    """The frames of a file one after the other, so that one is in memory at a time. Raises Rejected."""
    yield from open_source(data).frames(max_side)


def read(data: bytes, name: str = "", max_side: int | None = None) -> list[Frame]:
    """All frames of a file; whether they are chest radiographs is for `check` to say.

    `name` plays no part: a file is what its bytes are. With `max_side` a large picture may come out at a fraction of
    its size, no side under that number of pixels. Raises Rejected.
    """
    return list(frames(data, max_side))
