"""Pictures whose headers are made to keep a reader busy: refused before any other reader has them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from cxrscreen.imaging import Rejected, prepare
from cxrscreen.imaging.bounds import MAX_PARTS
from cxrscreen.imaging.codestream import MAX_JUNK, MAX_SEGMENTS
from cxrscreen.imaging.phantom_files import picture_bytes
from cxrscreen.imaging.phantoms import phantom

DRAWN = phantom("covid", 1, 96)


def picture(kind: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(DRAWN).save(buffer, kind)
    return buffer.getvalue()


def stuffed(kind: str, what: bytes) -> bytes:
    """A picture with these bytes where its header may have them."""
    data = picture(kind)
    at = {"JPEG": 2, "PNG": 33, "GIF": data.find(b",", 13 + 3 * 256), "JPEG2000": data.find(b"jp2h") - 4}[kind]
    return data[:at] + what + data[at:]


CHUNK = struct.pack(">I4sI", 0, b"prVt", zlib.crc32(b"prVt"))
BLOCKS = {
    "fill": ("JPEG", b"\xff", MAX_SEGMENTS),
    "restarts": ("JPEG", b"\xff\xd0", MAX_SEGMENTS),
    "empty segments": ("JPEG", b"\xff\xe5\0\2", MAX_SEGMENTS),
    "junk": ("JPEG", b"\xff\xe5\0\2" + bytes(999), MAX_JUNK // 999 + 1),
    "chunks": ("PNG", CHUNK, MAX_PARTS),
    "comments": ("GIF", b"!\xfe\1x\0", MAX_PARTS // 2),
    "boxes": ("JPEG2000", struct.pack(">I4s", 8, b"free"), MAX_PARTS),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_header_of_too_many_parts_is_not_gone_through(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form, part, most = BLOCKS[kind]
    list(prepare(stuffed(form, part * 5)))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("It is opened.")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(Rejected, match=r"more than|longer than"):
        list(prepare(stuffed(form, part * most)))


def test_a_large_profile_in_many_segments_is_none_of_it() -> None:
    profile = b"\xff\xe2" + struct.pack(">H", 65535) + b"ICC_PROFILE\0\1\1" + bytes(65519)
    assert len(list(prepare(stuffed("JPEG", profile * 200)))) == 1
    assert len(list(prepare(picture_bytes(DRAWN, "JPEG")))) == 1
