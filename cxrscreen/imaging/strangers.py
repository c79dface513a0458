"""What a file is that is neither DICOM nor a picture that is read: a word for whoever wonders why it was refused."""

from __future__ import annotations

from cxrscreen.imaging import tiffs
from cxrscreen.imaging.reasons import Reason, Rejected

_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"\0\0\0\x0cjP  ")
_HEIF = (b"heic", b"heix", b"heim", b"mif1", b"msf1", b"avif", b"avis")
_END_OF_ZIP = b"PK\x05\x06"
# A zip's end stands in so many last bytes, whatever its comment.
TAIL = 65_557
_PROGRAMS = (b"MZ", b"#!", b"\x7fELF")


def stranger(data: bytes) -> Rejected:
    """Why a file is refused that Pillow knows nothing of."""
    if data.startswith(tiffs.MAGIC):
        return Rejected(Reason.UNSUPPORTED_ENCODING, "A TIFF with samples of a rare kind, or with a damaged header.")
    if data.startswith(_PICTURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return Rejected(Reason.DAMAGED, "The picture's header is damaged.")
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        return Rejected(Reason.UNSUPPORTED_ENCODING, "A HEIF or AVIF picture.")
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return Rejected(Reason.UNSUPPORTED_ENCODING, "A JPEG XL picture.")
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return Rejected(Reason.UNSUPPORTED_ENCODING, "A picture of the PNM family (PGM, PPM).")
    if data.startswith(b"%PDF-"):
        return Rejected(Reason.NO_IMAGE, "A PDF document; pictures in it are not looked for.")
    if data.startswith(_PROGRAMS) and has_zip(data):
        return Rejected(Reason.ARCHIVE_UNSUPPORTED, "An archive that unpacks itself.")
    if data[32769:32774] == b"CD001":
        return Rejected(Reason.ARCHIVE_UNSUPPORTED, "The image of a disc.")
    return Rejected(Reason.NO_IMAGE, "Neither DICOM nor a picture in a known format.")


def misnamed(end: bytes) -> Rejected:
    """Why a file is refused that is named like an archive and does not begin like one; of its end the last TAIL bytes
    count."""
    if has_zip(end):
        return Rejected(Reason.ARCHIVE_UNSUPPORTED, "A zip that unpacks itself, or with other data in front of it.")
    return Rejected(Reason.ARCHIVE_DAMAGED, "It is named like an archive, but is none.")


def has_zip(end: bytes) -> bool:
    return _END_OF_ZIP in end[-TAIL:]
