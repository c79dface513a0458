"""Names in zips of every age: readable where it can be told how they are meant, never lost, never a way out."""

from __future__ import annotations

import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from test_imaging_archives import as_zip, entries

PLAIN = "A" * 24


def _named(raw: bytes, *, flag: bool = False, extra: bytes = b"") -> bytes:
    """A zip of one member with these bytes for a name."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(PLAIN[: len(raw)])
        info.extra = extra
        archive.writestr(info, b"+")
    data = bytearray(buffer.getvalue().replace(PLAIN[: len(raw)].encode(), raw))
    if flag:
        for at in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
            struct.pack_into("<H", data, at, 0x800)
    return bytes(data)


@pytest.mark.parametrize(
    ("raw", "flag", "name"),
    [
        ("снимок.dcm".encode(), True, "снимок.dcm"),
        ("снимок.dcm".encode(), False, "снимок.dcm"),  # the flag is often forgotten
        ("снимок ОГК.dcm".encode("cp866"), False, "снимок ОГК.dcm"),
        ("Müller.dcm".encode("cp437"), False, "Müller.dcm"),
        ("Größe äöü.dcm".encode("cp437"), False, "Größe äöü.dcm"),
        ("café.dcm".encode("latin-1"), True, "caf\\xe9.dcm"),  # not what the flag says
        ("患者.dcm".encode("gbk"), False, "╗╝╒▀.dcm"),
        (b"a\0b.dcm", False, "a\\x00b.dcm"),
        ("gnp.\u202emcd".encode(), True, "gnp.\\u202emcd"),  # shows as another name than it is
    ],
)
def test_names_of_members(raw: bytes, flag: bool, name: str, tmp_path: Path) -> None:
    assert entries(tmp_path, _named(raw, flag=flag)) == {f"x/{name}": b"+"}


def test_the_unicode_field_counts_where_it_is_of_this_name(tmp_path: Path) -> None:
    raw = b"?????.dcm"
    for crc, name in ((zlib.crc32(raw), "лёгкие"), (0, "?????.dcm")):
        field = struct.pack("<BI", 1, crc) + "лёгкие".encode()
        extra = struct.pack("<2H", 0x7075, len(field)) + field
        assert entries(tmp_path, _named(raw, extra=extra)) == {f"x/{name}": b"+"}


def test_the_unicode_field_is_no_way_out(tmp_path: Path) -> None:
    field = struct.pack("<BI", 1, zlib.crc32(b"good")) + b"../../etc/passwd"
    extra = struct.pack("<2H", 0x7075, len(field)) + field
    ((name, end),) = entries(tmp_path, _named(b"good", extra=extra)).items()
    assert end == "unsafe_name" and name.startswith("x/")


@pytest.mark.parametrize("method", [9, 98, 1])
def test_compressions_that_are_not_read_cost_their_member_only(method: int, tmp_path: Path) -> None:
    data = bytearray(as_zip([("a", b"1"), ("b", b"2")]))
    for at in (data.index(b"PK\x03\x04") + 8, data.index(b"PK\x01\x02") + 10):
        struct.pack_into("<H", data, at, method)
    assert entries(tmp_path, bytes(data)) == {"x/a": "archive_unsupported", "x/b": b"2"}
