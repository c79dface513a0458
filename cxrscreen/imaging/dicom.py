"""DICOM files: what they say, and their pixels frame by frame."""

from __future__ import annotations

import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from io import BytesIO
from typing import Any

import gdcm  # type: ignore[import-untyped]
import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels

from cxrscreen.imaging import codestream, colour, complaints, jpegs, tags
from cxrscreen.imaging.frame import IDENTITY, Frame
from cxrscreen.imaging.limits import check_size
from cxrscreen.imaging.reasons import Reason, Rejected, first_line
from cxrscreen.imaging.rendering import rendering

# Real archives are full of tags that break the standard; what matters of it ends in a Rejected, not on the terminal.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom|cxrscreen\.imaging")
gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()

# One decoder for each encoding: the same pixels on every machine, and none that hides what another refused.
DECODERS: dict[str, str] = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pydicom",
}
GDCMS = {syntax for syntax, decoder in DECODERS.items() if decoder == "gdcm"}
NATIVE = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
}
GREY = {"MONOCHROME1", "MONOCHROME2"}
# The data set of a deflated file may be this many times the file, or this many bytes, whichever is more.
MAX_INFLATION = 200
FREE_INFLATION = 64 << 20

_FIRST_ELEMENT = re.compile(rb"(?:[\x02\x08]\0..|\0[\x02\x08]..)(?:[A-Z]{2}|.{2}\0\0)", re.DOTALL)


def looks_like_dicom(data: bytes) -> bool:
    """The prefix of PS3.10, or, without it, a first element of group 0002 or 0008."""
    return data[128:132] == b"DICM" or _FIRST_ELEMENT.match(data) is not None


class DicomFile:
    """An opened file: its facts, and its frames when they are asked for. Raises Rejected."""

    def __init__(self, data: bytes) -> None:
        _check_inflation(data)
        try:
            self.dataset = pydicom.dcmread(BytesIO(data), force=True)
        except Exception as error:
            # No word of the error: it may quote a patient's name.
            raise Rejected(Reason.DAMAGED, "The DICOM data set cannot be read.") from error
        self.syntax = self._transfer_syntax()
        self._read_pixel_module()
        self.facts = tags.facts(
            self.dataset,
            rows=self.rows,
            columns=self.columns,
            bits=self.bits,
            photometric=self.photometric,
            syntax=str(self.syntax),
        )

    def check_complete(self) -> None:
        """Raise Rejected where the pixels are cut short, without decoding them."""
        pixels = self._pixel_bytes()
        if self.syntax in NATIVE:
            bits = self.rows * self.columns * self.samples * self.allocated * self.count
            if self.photometric == "YBR_FULL_422":
                bits = bits * 2 // 3
            if len(pixels) < (bits + 7) // 8:
                detail = f"{len(pixels):,} bytes of pixels; its size asks for {(bits + 7) // 8:,}."
                raise Rejected(Reason.DAMAGED, detail)
            return
        found = 0
        try:
            for frame in generate_frames(pixels, number_of_frames=self.count, extended_offsets=self._offsets()):
                if self.syntax != uid.RLELossless:
                    codestream.check(frame, self.rows, self.columns)
                if DECODERS[self.syntax] == "pillow":
                    jpegs.check(frame)
                found += 1
        except Rejected:
            raise
        except Exception as error:
            raise Rejected(Reason.DAMAGED, f"The compressed pixels are damaged ({first_line(error)}).") from error
        if found < self.count:
            raise Rejected(Reason.DAMAGED, f"{found} of {self.count} frames are there.")

    def frames(self, max_side: int | None = None) -> Iterator[Frame]:
        """The frames in order, one in memory at a time; `max_side` changes nothing here."""
        self.check_complete()
        if self.photometric not in GREY and self.photometric != "PALETTE COLOR" and self.samples != 3:
            raise Rejected(Reason.UNSUPPORTED_ENCODING, f"Photometric interpretation {self.photometric}.")
        if self.allocated not in (1, 8, 16) or self.bits > 16:
            raise Rejected(Reason.UNSUPPORTED_ENCODING, f"{self.bits} bits in {self.allocated}.")
        try:
            show = rendering(self.dataset, self.bits, self.photometric)
            pixels = iter_pixels(self.dataset, raw=False, decoding_plugin=DECODERS.get(self.syntax, ""))
            for index in range(self.count):
                with complaints.heeded() if self.syntax in GDCMS else nullcontext():
                    array = next(pixels, None)
                if array is None:
                    break
                yield self._frame(index, array, show)
        except (Rejected, GeneratorExit):
            raise
        except NotImplementedError as error:
            raise Rejected(Reason.UNSUPPORTED_ENCODING, first_line(error)) from error
        except MemoryError as error:
            raise Rejected(Reason.TOO_LARGE, "The picture takes more memory than there is.") from error
        except Exception as error:
            raise Rejected(Reason.DAMAGED, f"The pixels cannot be decoded ({first_line(error)}).") from error

    def _frame(self, index: int, array: Any, show: Any) -> Frame:
        if array.shape[:2] != (self.rows, self.columns):
            raise Rejected(Reason.DAMAGED, "The decoded pixels are not of the size that the tags declare.")
        if self.photometric == "PALETTE COLOR":
            array = apply_color_lut(array, self.dataset)
        if array.ndim == 3:
            if array.dtype.itemsize > 1:
                array = (array >> (8 * array.dtype.itemsize - 8)).astype(np.uint8)
            grey = colour.luminance(array)
            return Frame(index, self.count, self.facts, grey, IDENTITY, colour.coloured_share(array))
        if array.dtype.itemsize > 2:
            raise Rejected(Reason.UNSUPPORTED_ENCODING, "Pixels of more than 16 bits.")
        return Frame(index, self.count, self.facts, array, show.tones(array))

    def _transfer_syntax(self) -> uid.UID:
        meta = getattr(self.dataset, "file_meta", None)
        stated = tags.text(meta, "TransferSyntaxUID") if meta is not None else None
        if not stated:
            implicit, little = self.dataset.original_encoding
            native = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
            stated = native if little else uid.ExplicitVRBigEndian
            self.dataset.file_meta = meta if meta is not None else pydicom.dataset.FileMetaDataset()
            self.dataset.file_meta.TransferSyntaxUID = stated
        return uid.UID(stated)

    def _read_pixel_module(self) -> None:
        if not len(self.dataset):
            raise Rejected(Reason.DAMAGED, "The file ends after its header.")
        self.rows, self.columns = self._whole("Rows"), self._whole("Columns")
        if not self.rows and not self.columns and "PixelData" not in self.dataset:
            meta = tags.text(self.dataset.file_meta, "MediaStorageSOPClassUID")
            if meta == uid.MediaStorageDirectoryStorage or "DirectoryRecordSequence" in self.dataset:
                raise Rejected(
                    Reason.NO_IMAGE, "A medium's table of contents (DICOMDIR); its files count by themselves."
                )
            kind = uid.UID(tags.text(self.dataset, "SOPClassUID") or "").name
            if "Image Storage" in kind:
                raise Rejected(Reason.DAMAGED, "The file ends before its pixels.")
            raise Rejected(Reason.NO_IMAGE, f"A DICOM object without pixels: {kind}." if kind else "")
        self.count = max(1, self._whole("NumberOfFrames", 1))
        check_size(self.columns, self.rows, self.count)
        self.samples = self._whole("SamplesPerPixel", 1)
        self.allocated = self._whole("BitsAllocated", 16)
        self.bits = self._whole("BitsStored", self.allocated)
        self.photometric = (tags.text(self.dataset, "PhotometricInterpretation") or "").upper()
        if self.samples not in (1, 3) or not 1 <= self.bits <= self.allocated <= 64:
            detail = f"{self.samples} samples of {self.bits} bits in {self.allocated}."
            raise Rejected(Reason.UNSUPPORTED_ENCODING, detail)
        if self.syntax not in NATIVE and self.syntax not in DECODERS:
            raise Rejected(Reason.UNSUPPORTED_ENCODING, f"Transfer syntax {self.syntax.name}.")

    def _whole(self, keyword: str, default: int = 0) -> int:
        value = tags.number(self.dataset, keyword)
        if value is None:
            return default
        return int(value) if abs(value) < 2**31 else 0

    def _pixel_bytes(self) -> bytes:
        try:
            pixels = self.dataset.get("PixelData")
        except Exception as error:
            raise Rejected(Reason.DAMAGED, "The pixel data cannot be read.") from error
        if pixels is None and ("FloatPixelData" in self.dataset or "DoubleFloatPixelData" in self.dataset):
            raise Rejected(Reason.UNSUPPORTED_ENCODING, "Pixels as floating-point numbers.")
        if not isinstance(pixels, bytes | bytearray | memoryview) or not len(pixels):
            raise Rejected(Reason.DAMAGED, "The file ends before its pixels.")
        return bytes(pixels)

    def _offsets(self) -> tuple[bytes, bytes] | None:
        offsets, lengths = self.dataset.get("ExtendedOffsetTable"), self.dataset.get("ExtendedOffsetTableLengths")
        return (offsets, lengths) if isinstance(offsets, bytes) and isinstance(lengths, bytes) else None


def _check_inflation(data: bytes) -> None:
    """Raise Rejected for a deflated data set that is a bomb: pydicom would inflate all of it."""
    if str(uid.DeflatedExplicitVRLittleEndian).encode() not in data:
        return
    source = BytesIO(data)
    source.seek(132 if data[128:132] == b"DICM" else 0)
    try:
        pydicom.filereader.read_dataset(source, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    except Exception as error:
        raise Rejected(Reason.DAMAGED, "The DICOM header cannot be read.") from error
    most = max(FREE_INFLATION, MAX_INFLATION * len(data))
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    size, rest = 0, data[source.tell() :]
    try:
        while rest and not unpack.eof and size <= most:
            size += len(unpack.decompress(rest, 1 << 20))
            rest = unpack.unconsumed_tail
    except zlib.error as error:
        raise Rejected(Reason.DAMAGED, "The deflated data set is damaged.") from error
    if size > most:
        raise Rejected(Reason.TOO_LARGE, "The deflated data set unpacks to far more than its size allows for.")
