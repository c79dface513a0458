"""Small DICOM files of which pydicom by itself makes gigabytes of objects: refused, or read without that part."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom import uid

from cxrscreen.imaging import Reason, Rejected, prepare
from cxrscreen.imaging.phantom_files import dicom_bytes
from cxrscreen.imaging.phantoms import phantom

MANY = 600_000
MB = 1 << 20


def _parts(syntax: uid.UID = uid.ImplicitVRLittleEndian) -> tuple[bytes, bytes]:
    """The header of a chest film's file, and its data set."""
    pixels = phantom("normal", 1, 96, 12).astype(np.uint16)
    dataset = pydicom.dcmread(BytesIO(dicom_bytes(pixels, 1, 1, inverted=False)))
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    implicit = syntax == uid.ImplicitVRLittleEndian
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True, implicit_vr=implicit, little_endian=True)
    source = BytesIO(buffer.getvalue())
    source.seek(132)
    pydicom.filereader.read_dataset(source, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    at = source.tell()
    return buffer.getvalue()[:at], buffer.getvalue()[at:]


def _element(group: int, number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", group, number, len(value)) + value


def _in_front_of_pixels(body: bytes, element: bytes) -> bytes:
    at = body.index(struct.pack("<HH", 0x7FE0, 0x10))
    return body[:at] + element + body[at:]


def _end_and_peak(data: bytes) -> tuple[Reason | None, int]:
    """How a file ends, and the bytes that Python took for it."""
    tracemalloc.start()
    try:
        list(prepare(data))
        return None, tracemalloc.get_traced_memory()[1]
    except Rejected as refused:
        return refused.reason, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_character_set_of_a_million_names_is_not_split() -> None:
    head, body = _parts()
    reason, peak = _end_and_peak(head + _element(8, 5, b"\\" * MANY) + body)
    assert reason == Reason.DAMAGED and peak < 4 * MB


@pytest.mark.parametrize("tags", [[(0x28, 0x1050), (0x28, 0x1051)], [(0x28, 0x0008)], [(0x0008, 0x1030)]])
def test_values_by_the_hundred_thousand_cost_no_picture(tags: list[tuple[int, int]]) -> None:
    head, body = _parts()
    for group, number in tags:
        body = _in_front_of_pixels(body, _element(group, number, b"1\\" * (MANY // 2)))
    reason, peak = _end_and_peak(head + body)
    assert reason is None and peak < 10 * MB


def test_a_sequence_that_is_parsed_when_asked_for_has_a_bound() -> None:
    head, body = _parts()
    inner = b"".join(_element(9 + 2 * (number >> 16), number & 0xFFFF, b"") for number in range(MANY // 3))
    reason, peak = _end_and_peak(head + _element(8, 0x2218, _element(0xFFFE, 0xE000, inner)) + body)
    assert reason is None and peak < 10 * MB


@pytest.mark.parametrize("deflated", [False, True])
def test_a_file_of_elements_only_is_given_up(deflated: bool) -> None:
    head, body = _parts(uid.DeflatedExplicitVRLittleEndian if deflated else uid.ExplicitVRLittleEndian)
    many = b"".join(
        struct.pack("<HH2sH", 9 + 2 * (number >> 16), number & 0xFFFF, b"LO", 0) for number in range(MANY // 2)
    )
    if deflated:
        pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = pack.compress(many) + pack.flush()
    else:
        body = many + body
    assert _end_and_peak(head + body)[0] == Reason.TOO_LARGE


def test_a_deflated_file_still_says_that_it_is_one() -> None:
    head, body = _parts(uid.DeflatedExplicitVRLittleEndian)
    (found,) = prepare(head + body)
    assert found.facts is not None and found.facts.transfer_syntax == uid.DeflatedExplicitVRLittleEndian
    with pytest.raises(Rejected) as caught:
        list(prepare(head + body[: len(body) // 2]))
    assert caught.value.reason == Reason.DAMAGED


def test_a_file_that_only_names_the_deflated_encoding_is_not_inflated() -> None:
    head, body = _parts(uid.ExplicitVRLittleEndian)
    word = str(uid.DeflatedExplicitVRLittleEndian).encode()
    note = struct.pack("<HH2sH", 0x0008, 0x0001, b"UI", len(word)) + word
    assert _end_and_peak(head + note + body)[0] is None
