"""A DICOM file's data set, read within bounds: pydicom by itself makes gigabytes of objects out of a small file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pydicom
from pydicom import Dataset, uid
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from cxrscreen.imaging.reasons import Reason, Rejected

# Each element takes one to three reads and becomes an object of 300 bytes; an enhanced object of a thousand frames
# takes a hundred thousand.
MAX_READS = 250_000
# What an element with a length of 16 bits can hold; its values are split into an object each.
MAX_VALUES_BYTES = 1 << 16
# Of a sequence that is not parsed before it is asked for: a table of 65,536 greys is 128 KB.
MAX_SEQUENCE_BYTES = 1 << 20
# The data set of a deflated file may always have so many bytes; more where it is no more than this many times the file,
# and up to a bound on what is in memory, which only what hardly shrank may pass.
FREE_INFLATION = 64 << 20
MAX_INFLATION = 200
MAX_INFLATED = 256 << 20
USUAL_INFLATION = 4

_DEFLATED = str(uid.DeflatedExplicitVRLittleEndian).encode()
_PLAIN = str(uid.ExplicitVRLittleEndian).encode().ljust(len(_DEFLATED), b"\0")
_CHARACTER_SET = (b"\x08\0\x05\0", b"\0\x08\0\x05")  # which pydicom splits while it reads


def read_dataset(data: bytes) -> Dataset:
    """The data set of a file; elements whose values nobody could want are left out. Raises Rejected."""
    plain = _inflated(data)
    try:
        dataset = pydicom.dcmread(_Bounded(data if plain is None else plain), force=True)
    except Rejected:
        raise
    except Exception as error:
        # No word of the error: it may quote a patient's name.
        raise Rejected(Reason.DAMAGED, "The DICOM data set cannot be read.") from error
    if plain is not None:
        dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    _drop_absurd(dataset)
    return dataset


class _Bounded(BytesIO):
    """A file's bytes for pydicom, which asks for each element by itself."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = 0
        self._header = b""

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise Rejected(Reason.TOO_LARGE, "The DICOM data set has more elements than are read.")
        if self._header.startswith(_CHARACTER_SET) and size is not None and size > MAX_VALUES_BYTES:
            raise Rejected(Reason.DAMAGED, "The DICOM data set names its character set at an absurd length.")
        found = super().read(size)
        if len(found) != 4:  # a long length follows the header
            self._header = found[:4]
        return found


def _drop_absurd(dataset: Dataset) -> None:
    for tag in [element.tag for element in _elements(dataset) if _is_absurd(element)]:
        del dataset[tag]
    for element in _elements(dataset):
        if not isinstance(element, RawDataElement) and element.VR == "SQ":
            for item in element.value:
                _drop_absurd(item)


def _elements(dataset: Dataset) -> Iterator[Any]:
    """As they were read, nothing parsed: not even what is empty, of which pydicom may know no kind."""
    for tag in list(dataset.keys()):
        yield dataset.get_item(tag, keep_deferred=True)


def _is_absurd(element: Any) -> bool:
    if not isinstance(element, RawDataElement) or len(element.value or b"") <= MAX_VALUES_BYTES:
        return False
    kind = element.VR or _kind_of(element.tag)
    if kind == "SQ":
        return len(element.value or b"") > MAX_SEQUENCE_BYTES
    return not kind.startswith("O") and kind != "UN" and " or " not in kind


def _kind_of(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def _inflated(data: bytes) -> bytes | None:
    """The file as it was before it was deflated; None where it was not. Raises Rejected where it is a bomb."""
    if _DEFLATED not in data[:4096]:
        return None
    source = BytesIO(data)
    source.seek(132 if data[128:132] == b"DICM" else 0)
    try:
        pydicom.filereader.read_dataset(source, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    except Exception as error:
        raise Rejected(Reason.DAMAGED, "The DICOM header cannot be read.") from error
    head = data[: source.tell()]
    if _DEFLATED not in head:
        return None
    most = max(FREE_INFLATION, min(MAX_INFLATION * len(data), MAX_INFLATED), USUAL_INFLATION * len(data))
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces, size, rest = [head.replace(_DEFLATED, _PLAIN)], 0, data[len(head) :]
    try:
        while rest and not unpack.eof and size <= most:
            pieces.append(unpack.decompress(rest, 1 << 20))
            size += len(pieces[-1])
            rest = unpack.unconsumed_tail
    except zlib.error as error:
        raise Rejected(Reason.DAMAGED, "The deflated data set is damaged.") from error
    if size > most:
        raise Rejected(Reason.TOO_LARGE, "The deflated data set unpacks to far more than its size allows for.")
    if not unpack.eof:
        raise Rejected(Reason.DAMAGED, "The deflated data set is cut short.")
    return b"".join(pieces)
