"""Picture files without tags: PNG, JPEG and what else Pillow reads safely."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cxrscreen.imaging import bounds, codestream, colour, jpeg2000, jpegs, tiffs, tones
from cxrscreen.imaging.facts import Facts
from cxrscreen.imaging.frame import IDENTITY, Frame
from cxrscreen.imaging.limits import check_size
from cxrscreen.imaging.reasons import Reason, Rejected, first_line
from cxrscreen.imaging.strangers import stranger

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Bits and kind of colour in a PNG's header.
_WIDE_GREY_ALPHA = b"\x10\x04"
# Of 16 bits Pillow keeps the upper eight where there is colour; a picture that stays under this lies in the lower ones.
LEAST_OF_WIDE = 32
# Where the samples of a picture span so many times what nearly all of them do, a few dead ones would leave the rest no
# greys: its range is that of the others.
FAR = 256
_WIDE = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}

# Sizes are checked against limits of our own, with a reason.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module="PIL")


class PictureFile:
    """An opened picture file: its facts, and its frames when they are asked for. Raises Rejected."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.complete = False
        bounds.check(data)
        try:
            self.image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise Rejected(Reason.TOO_LARGE, "The picture declares more pixels than is read.") from error
        except UnidentifiedImageError as error:
            raise _jpeg_of_another_kind(data) or stranger(data) from error
        except Exception as error:
            raise _not_opened(error) from error
        self.kind = {"MPO": "jpeg", "JPEG2000": "jp2"}.get(self.image.format or "", (self.image.format or "").lower())
        if self.kind == "tiff":
            tiffs.check_page(self.image)
        # Of an animation only the first picture counts.
        self.count = tiffs.pages(self.image) if self.kind == "tiff" else 1
        width, height = self.image.size
        check_size(width, height, self.count)
        if self.kind == "png":
            self._load_png()
        self.facts = self._facts()

    def _load_png(self) -> None:
        """Decode a PNG at once: Pillow does so to look for EXIF behind the pixels, and after a failure, which is easily
        taken for one of the EXIF, it hands out the half that it has, without a word."""
        self.check_complete()
        try:
            if self.data[24:26] == _WIDE_GREY_ALPHA:
                self.image = _wide_grey(self.data)
            self.image.load()
        except MemoryError as error:
            raise Rejected(Reason.TOO_LARGE, "The picture takes more memory than there is.") from error
        except Exception as error:
            raise Rejected(Reason.DAMAGED, f"The pixels cannot be decoded ({first_line(error)}).") from error
        if self.data[24] == 16 and self.image.mode not in _WIDE and _lies_low(self.image):
            raise Rejected(Reason.UNSUPPORTED_ENCODING, "A PNG of 16 bits in colour that uses few of them.")

    def check_complete(self) -> None:
        """Raise Rejected where damage shows without decoding."""
        if self.kind == "png" and not self.complete:
            _check_png(self.data)
        elif self.kind in ("jpeg", "jp2") and not self.complete:
            codestream.check_jpeg(self.data)
        self.complete = True

    def frames(self, max_side: int | None = None) -> Iterator[Frame]:
        """The pages in order. With `max_side` a JPEG, or one of 2000, may come out smaller, but with no side under that
        number."""
        self.check_complete()
        try:
            for index in range(self.count):
                if index:
                    self.image.seek(index)
                    tiffs.check_page(self.image)
                    check_size(*self.image.size, self.count)
                facts = self._facts()  # before a draft changes the size
                if max_side and self.kind == "jpeg":
                    self.image.draft(None, (max_side, max_side))
                yield self._frame(index, facts, max_side)
        except (Rejected, GeneratorExit):
            raise
        except Image.DecompressionBombError as error:
            raise Rejected(Reason.TOO_LARGE, "The picture declares more pixels than is read.") from error
        except MemoryError as error:
            raise Rejected(Reason.TOO_LARGE, "The picture takes more memory than there is.") from error
        except Exception as error:
            raise Rejected(Reason.DAMAGED, f"The pixels cannot be decoded ({first_line(error)}).") from error

    def _frame(self, index: int, facts: Facts, max_side: int | None) -> Frame:
        image = self._decoded(max_side)
        if (turn := _TURNS.get(self._orientation())) is not None:
            image = image.transpose(turn)
        if image.mode in _WIDE:
            values, inverted = np.asarray(image), False
            if self.kind == "tiff":
                values, inverted = tiffs.as_stored(self.image, values), tiffs.white_is_zero(self.image)
            wide = _sixteen_bit(values)
            greys = tones.of_picture(wide)
            return Frame(index, self.count, facts, wide, 255 - greys if inverted else greys)
        if image.mode in ("1", "L", "LA", "La"):
            grey = np.asarray(image.getchannel(0) if image.mode != "1" else image.convert("L"))
            return Frame(index, self.count, facts, grey, IDENTITY)
        # Transparency is dropped: it hides no pixel of a radiograph.
        image = image if image.mode in ("RGB", "RGBA", "RGBX") else image.convert("RGB")
        step = max(1, max(image.size) // colour.SAMPLE_SIDE)
        sample = image.resize((-(-image.width // step), -(-image.height // step)), Image.Resampling.NEAREST)
        share = colour.coloured_share(np.asarray(sample.convert("RGB")))
        return Frame(index, self.count, facts, np.asarray(image.convert("L")), IDENTITY, share)

    def _facts(self) -> Facts:
        mode = self.image.mode
        wide = {"I": 32, "F": 32, "1": 1}
        bits = 16 if mode.startswith("I;16") else wide.get(mode, 8)
        width, height = self.image.size
        if self._orientation() >= 5:
            width, height = height, width
        photometric = "grey" if mode in _WIDE or mode in ("1", "L", "LA", "La") else "colour"
        return Facts(kind=self.kind, width=width, height=height, bits=bits, photometric=photometric)

    def _orientation(self) -> int:
        try:
            value = self.image.getexif().get(_ORIENTATION, 1)
            return value if isinstance(value, int) and 1 <= value <= 8 else 1
        except Exception:
            return 1  # a broken EXIF block says nothing about the pixels

    def _decoded(self, max_side: int | None) -> Image.Image:
        if self.kind == "jp2" and max_side and (small := jpeg2000.reduced(self.data, max_side)) is not None:
            return Image.fromarray(small)
        if self.kind == "jpeg":
            samples = jpegs.decode(self.data, self.image.mode, self.image.size)
            if samples is not None:
                return Image.fromarray(samples)
        self.image.load()
        return self.image


def _wide_grey(data: bytes) -> Image.Image:
    """The grey of a 16-bit PNG with transparency, of which Pillow keeps eight bits: by its filters (PNG 9.2) it is the
    same bytes as one of 8 bits with four channels, the two halves of the grey and those of the transparency."""
    header = b"IHDR" + data[16:24] + b"\x08\x06" + data[26:29]
    twin = Image.open(BytesIO(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]), formats=("PNG",))
    upper, lower, kept, form = twin.getchannel(0), twin.getchannel(1), twin.info, twin.format
    del twin  # the largest of them
    wide = np.asarray(upper).astype(np.uint16)
    wide <<= 8
    wide |= np.asarray(lower)
    grey = Image.fromarray(wide)
    grey.info, grey.format = kept, form
    return grey


def _lies_low(image: Image.Image) -> bool:
    counts = image.convert("L").histogram()
    return sum(counts[:LEAST_OF_WIDE]) > 0.995 * sum(counts)


def _sixteen_bit(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Samples as uint16: as they are where they fit, else over their own range."""
    if not np.isfinite(values).all():
        raise Rejected(Reason.UNSUPPORTED_ENCODING, "Pixels that are not numbers.")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "iu" and low >= 0 and high <= 65535:
        return np.ascontiguousarray(values, dtype=np.uint16)
    bulk = np.percentile(values, (100 * tones.TAIL, 100 - 100 * tones.TAIL))
    if 0 < (bulk[1] - bulk[0]) * FAR < high - low:
        low, high = float(bulk[0]), float(bulk[1])
    share = (values.astype(np.float64) - low) / max(high - low, np.finfo(float).tiny)
    return np.rint(np.clip(share, 0, 1) * 65535).astype(np.uint16)


def _check_png(data: bytes) -> None:
    """Raise Rejected for a PNG that is cut short or has a wrong checksum; Pillow does not look at those of pixels."""
    at = len(bounds.PNG_START)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        critical = not name[0] & 0x20
        if critical and zlib.crc32(memoryview(data)[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise Rejected(Reason.DAMAGED, "A checksum of the PNG is wrong.")
        if name == b"IEND":
            return
        at = end + 4
    raise Rejected(Reason.DAMAGED, "The PNG is cut short.")


def _not_opened(error: Exception) -> Rejected:
    why = first_line(error)
    if why.startswith("Unsupported"):
        return Rejected(Reason.UNSUPPORTED_ENCODING, f"{why}.")
    return Rejected(Reason.DAMAGED, f"The picture cannot be opened ({why}).")


def _jpeg_of_another_kind(data: bytes) -> Rejected | None:
    """Why a whole JPEG is refused whose process or depth is not one of pictures: 12 bits, lossless, JPEG-LS."""
    kind = codestream.jpeg_kind(data)
    if kind is None or (kind[0] in codestream.DCT and kind[1] == 8):
        return None
    return Rejected(Reason.UNSUPPORTED_ENCODING, f"A JPEG of a kind that only DICOM files hold ({kind[1]} bits).")
