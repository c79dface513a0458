"""Archives to take in: many small pictures in a zip, or large DICOM files in a tar, of any size, all different."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrscreen.imaging import phantoms
from cxrscreen.imaging.phantom_files import dicom_bytes

KINDS = ("normal", "pneumonia", "covid")
DRAWN = 12
SMALL_SIDE, LARGE_SIDE = 160, 2048

Member = Callable[[int], bytes]


@cache
def _drawn(number: int, side: int, bits: int) -> NDArray[np.int32]:
    return phantoms.phantom(KINDS[number % 3], seed=number, side=side, bits=bits).astype(np.int32)


def small(number: int) -> bytes:
    """A PNG of some 20 KB, a little noise its own."""
    noise = np.random.default_rng(number).integers(-2, 3, (SMALL_SIDE, SMALL_SIDE))
    pixels = np.clip(_drawn(number % DRAWN, SMALL_SIDE, 8) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def large(number: int) -> bytes:
    """An uncompressed 12-bit DICOM file of 8.4 MB."""
    pixels = np.roll(_drawn(number % DRAWN, LARGE_SIDE, 12), number // DRAWN, axis=1).astype(np.uint16)
    return dicom_bytes(pixels, number, 1, inverted=number % 2 == 1)


def _numbers(make: Member, *, members: int | None, size: float) -> Iterator[tuple[int, bytes]]:
    """So many members, or as many as come to `size` bytes."""
    number = made = 0
    while number < members if members is not None else made < size:
        data = make(number)
        made += len(data)
        yield number, data
        number += 1


def write_zip(path: Path, *, members: int | None = None, size: float = 0) -> int:
    """A zip of small pictures; answers how many."""
    count = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, data in _numbers(small, members=members, size=size):
            archive.writestr(f"study{number // 100:05}/{number:06}.png", data)
            count += 1
    return count


def write_tar(path: Path, *, members: int | None = None, size: float = 0) -> int:
    """A tar of large DICOM files; answers how many."""
    count = 0
    with tarfile.open(path, "w") as archive:
        for number, data in _numbers(large, members=members, size=size):
            info = tarfile.TarInfo(f"study{number // 4:05}/{number:06}.dcm")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
            count += 1
    return count
