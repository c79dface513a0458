"""DICOM files: what they say, and their pixels frame by frame."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import gdcm  # type: ignore[import-untyped]
import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels, pixel_array

from cxrscreen.imaging import codestream, colour, complaints, jpeg2000, jpegs, rle, samples, tags, twelve
from cxrscreen.imaging.elements import read_dataset
from cxrscreen.imaging.frame import IDENTITY, Frame
from cxrscreen.imaging.limits import check_size
from cxrscreen.imaging.reasons import Reason, Rejected, first_line
from cxrscreen.imaging.rendering import rendering
from cxrscreen.imaging.samples import GREY
from cxrscreen.imaging.tones import Rendering, shrunk

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
# Those that can give a smaller picture for less than the whole one costs.
SCALING = {uid.JPEGBaseline8Bit, uid.JPEG2000Lossless, uid.JPEG2000}
NATIVE = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
}

_FIRST_ELEMENT = re.compile(rb"(?:[\x02\x08]\0..|\0[\x02\x08]..)(?:[A-Z]{2}|.{2}\0\0)", re.DOTALL)


def looks_like_dicom(data: bytes) -> bool:
    """The prefix of PS3.10, or, without it, a first element of group 0002 or 0008."""
    return data[128:132] == b"DICM" or _FIRST_ELEMENT.match(data) is not None


class DicomFile:
    """An opened file: its facts, and its frames when they are asked for. Raises Rejected."""

    def __init__(self, data: bytes) -> None:
        self.dataset = read_dataset(data)
        self.complete = False
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
        if not self.complete:
            self._check_pixels()
            self.complete = True

    def _check_pixels(self) -> None:
        pixels = self._pixel_bytes()
        if self.syntax in NATIVE:
            bits = self.rows * self.columns * self.samples * self.allocated * self.count
            if self.photometric == "YBR_FULL_422":
                bits = bits * 2 // 3
            samples.check_length(len(pixels), (bits + 7) // 8, self.rows, self.columns)
            return
        found = 0
        try:
            for frame in self._streams():
                if self.syntax == uid.RLELossless:
                    rle.check(frame, self.rows, self.columns, self.samples * -(-self.allocated // 8))
                else:
                    codestream.check(frame, self.rows, self.columns, self.allocated)
                found += 1
        except Rejected:
            raise
        except Exception as error:
            raise Rejected(Reason.DAMAGED, f"The compressed pixels are damaged ({first_line(error)}).") from error
        if found < self.count:
            raise Rejected(Reason.DAMAGED, f"{found} of {self.count} frames are there.")

    def frames(self, max_side: int | None = None) -> Iterator[Frame]:
        """The frames in order, one in memory at a time. With `max_side` they may come out smaller, but with no side
        under that number, where that shows the same picture."""
        self.check_complete()
        packed = self.syntax not in NATIVE
        samples.check_kind(self.dataset, self.photometric, self.samples, self.allocated, self.bits, packed=packed)
        try:
            show = rendering(self.dataset, self.bits, self.photometric)
            most = max_side if self.photometric in GREY and self.samples == 1 and show.linear() else None
            for index, array in enumerate(self._arrays(most)):
                yield self._frame(index, array, show, most)
        except (Rejected, GeneratorExit):
            raise
        except NotImplementedError as error:
            raise Rejected(Reason.UNSUPPORTED_ENCODING, first_line(error)) from error
        except MemoryError as error:
            raise Rejected(Reason.TOO_LARGE, "The picture takes more memory than there is.") from error
        except Exception as error:
            raise Rejected(Reason.DAMAGED, f"The pixels cannot be decoded ({first_line(error)}).") from error

    def _arrays(self, most: int | None) -> Iterator[Any]:
        """The samples of each frame: decoded to no side under `most` where its decoder can do that, else whole."""
        decoder = DECODERS.get(self.syntax, "")
        if self.syntax in SCALING and most:
            for index, stream in zip(range(self.count), self._streams(), strict=False):
                small = self._scaled(stream, most)
                if small is None:
                    yield self._whole_frame(index, stream, decoder)
                else:
                    yield small
            return
        if decoder == "pillow":
            for index, stream in zip(range(self.count), self._streams(), strict=False):
                yield self._whole_frame(index, stream, decoder)
            return
        pixels = self._all_pixels(decoder)
        for _ in range(self.count):
            with complaints.heeded() if self.syntax in GDCMS else nullcontext():
                array = next(pixels, None)
            if array is None:
                return
            yield array

    def _whole_frame(self, index: int, stream: bytes, decoder: str) -> Any:
        if decoder == "pillow":
            if codestream.is_grey_jpeg(stream, twelve.BITS):
                if tags.number(self.dataset, "PixelRepresentation") == 1 or self.allocated != 16:
                    raise NotImplementedError("A JPEG of 12 bits whose samples are signed or in bytes")
                return twelve.decode(stream, self.rows, self.columns)
            jpegs.check(stream)
        if self.count == 1:  # whose table of offsets need not be right
            return next(self._all_pixels(decoder))
        return pixel_array(
            self.dataset, index=index, raw=False, correct_unused_bits=self.samples == 3, decoding_plugin=decoder
        )

    def _all_pixels(self, decoder: str) -> Iterator[Any]:
        unused = self.samples == 3  # of grey ones it is looked at what they hold
        return iter_pixels(self.dataset, raw=False, correct_unused_bits=unused, decoding_plugin=decoder)

    def _scaled(self, stream: bytes, most: int) -> Any:
        """A smaller picture's samples, of the kind that the whole one's are; None where only the whole one is sure."""
        signed = tags.number(self.dataset, "PixelRepresentation") == 1
        if self.syntax == uid.JPEGBaseline8Bit:
            plain = codestream.is_grey_jpeg(stream) and self.allocated == self.bits == 8 and not signed
            return jpegs.decode(stream, "L", (most, most)) if plain else None
        head = jpeg2000.read_header(stream)
        if head is None or (head.components, head.bits, head.signed) != (1, self.bits, signed):
            return None
        small = jpeg2000.reduced(stream, most)
        if small is None:
            return None
        # Pillow moves samples up until they fill their bytes, and signed ones until none is negative.
        wide = small.astype(np.int32) >> (8 * (1 + (self.bits > 8)) - self.bits)
        kind = np.dtype(f"{'i' if signed else 'u'}{1 + (self.bits > 8)}")
        return (wide - (signed << (self.bits - 1))).astype(kind)

    def _frame(self, index: int, array: Any, show: Rendering, most: int | None) -> Frame:
        scaled = most and self.syntax in SCALING and min(array.shape[:2]) >= min(most, self.rows, self.columns)
        if array.shape[:2] != (self.rows, self.columns) and not scaled:
            raise Rejected(Reason.DAMAGED, "The decoded pixels are not of the size that the tags declare.")
        if self.photometric == "PALETTE COLOR":
            array = apply_color_lut(array, self.dataset)
        if array.ndim == 3:
            if array.dtype.itemsize > 1:
                # A palette's colours fill their bits.
                bits = 8 * array.dtype.itemsize if self.photometric == "PALETTE COLOR" else max(8, self.bits)
                array = (array >> (bits - 8)).astype(np.uint8)
            grey = colour.luminance(array)
            return Frame(index, self.count, self.facts, grey, IDENTITY, colour.coloured_share(array))
        if array.dtype.itemsize > 2:
            raise Rejected(Reason.UNSUPPORTED_ENCODING, "Pixels of more than 16 bits.")
        array = samples.of_bits(array, self.bits, self.dataset)
        small = shrunk(array, most) if most else array
        return Frame(index, self.count, self.facts, small, show.tones(small, array))

    def _streams(self) -> Iterator[bytes]:
        """The compressed frames."""
        return generate_frames(self._pixel_bytes(), number_of_frames=self.count, extended_offsets=self._offsets())

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
            kind = uid.UID(tags.text(self.dataset, "SOPClassUID") or meta or "").name
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
