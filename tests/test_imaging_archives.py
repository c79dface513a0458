"""Folders and archives: every leaf is an entry with a name of its own, and what cannot be read says why."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import py7zr
import pytest

from cxrscreen.imaging import Limits, Member, Reason, Rejected, walk
from cxrscreen.imaging.zip_records import find_end, records

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Files = Iterable[tuple[str, bytes]]
THREE: list[tuple[str, bytes]] = [("a.txt", b"alpha" * 99), ("b/c.txt", b"gamma" * 9999), ("empty.txt", b"")]


def as_zip(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def as_tar(files: Files, mode: str = "w", kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def as_7z(files: Files, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w", **options) as archive:
        for name, data in files:
            archive.writestr(data, name)
    return buffer.getvalue()


def listed(path: Path, limits: Limits = Limits()) -> list[Member]:  # noqa: B008
    return list(walk(path, path.name, limits))


def told(members: Iterable[Member]) -> dict[str, bytes | Reason]:
    """Each entry with its bytes or the reason there are none."""
    found: dict[str, bytes | Reason] = {}
    for member in members:
        assert member.name not in found
        try:
            found[member.name] = member.read()
        except Rejected as refused:
            found[member.name] = refused.reason
    return found


def entries(tmp_path: Path, data: bytes, name: str = "x.bin", limits: Limits = Limits()) -> dict[str, bytes | Reason]:  # noqa: B008
    path = tmp_path / name
    path.write_bytes(data)
    return told(walk(path, "x", limits))


FORMATS = {
    "stored": lambda files: as_zip(files, zipfile.ZIP_STORED),
    "deflate": as_zip,
    "bzip2": lambda files: as_zip(files, zipfile.ZIP_BZIP2),
    "lzma": lambda files: as_zip(files, zipfile.ZIP_LZMA),
    "tar": as_tar,
    "gnu": lambda files: as_tar(files, "w", tarfile.GNU_FORMAT),
    "ustar": lambda files: as_tar(files, "w", tarfile.USTAR_FORMAT),
    "tar.gz": lambda files: as_tar(files, "w:gz"),
    "tar.bz2": lambda files: as_tar(files, "w:bz2"),
    "tar.xz": lambda files: as_tar(files, "w:xz"),
    "tar.zst": lambda files: zstd.compress(as_tar(files)),
    "7z": lambda files: as_7z(files),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_members_come_out_whole_whatever_the_archive_is_called(kind: str, tmp_path: Path) -> None:
    assert entries(tmp_path, FORMATS[kind](THREE)) == {f"x/{name}": data for name, data in THREE}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_large_member_is_refused_and_the_rest_goes_on(kind: str, tmp_path: Path) -> None:
    files = [("big", os.urandom(300_000)), ("small", b"s")]
    found = entries(tmp_path, FORMATS[kind](files), limits=Limits(max_entry_bytes=200_000))
    assert found == {"x/big": Reason.TOO_LARGE, "x/small": b"s"}


def test_what_was_read_of_a_large_member_is_not_kept_by_its_reason(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(as_zip([("a", bytes(2 << 20))], zipfile.ZIP_STORED))
    (member,) = listed(tmp_path / "x", Limits(max_entry_bytes=1 << 20))
    assert member.refused and member.refused.reason == Reason.TOO_LARGE
    assert member.refused.__traceback__ is member.refused.__context__ is None


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_archive_gives_what_it_has_and_then_itself(kind: str, tmp_path: Path) -> None:
    files = [(f"{i}.bin", os.urandom(20_000)) for i in range(10)]
    data = FORMATS[kind](files)
    found = entries(tmp_path, data[: len(data) // 2])
    *members, last = found.items()
    assert last == ("x", Reason.ARCHIVE_DAMAGED)
    assert dict(members) == {f"x/{name}": content for name, content in files[: len(members)]}
    # Of a cut block bzip2 and zstandard give nothing, and the header of a 7z archive stands at its end.
    assert len(members) in ((4, 5) if kind not in ("tar.bz2", "tar.zst", "7z") else range(6))


def test_every_cut_of_a_tar_is_noticed(tmp_path: Path) -> None:
    data = as_tar([("a", b"1" * 600), ("b", b"2" * 10)])
    whole = entries(tmp_path, data)
    for length in range(512, 512 * 6, 128):
        found = entries(tmp_path, data[:length])
        assert found["x"] == Reason.ARCHIVE_DAMAGED
        assert found.items() - {("x", Reason.ARCHIVE_DAMAGED)} <= whole.items()


def test_a_broken_header_in_the_middle_of_a_tar_is_noticed(tmp_path: Path) -> None:
    data = bytearray(as_tar([("a", b"1"), ("b", b"2"), ("c", b"3")]))
    data[1024 + 148] ^= 1
    assert entries(tmp_path, bytes(data)) == {"x/a": b"1", "x": Reason.ARCHIVE_DAMAGED}


def test_what_stands_behind_the_end_mark_of_a_tar_is_told(tmp_path: Path) -> None:
    whole = as_tar([("a", b"1"), ("b", b"2")])
    blanked = whole[:1024] + bytes(512) + whole[1536:]
    for data in (blanked, as_tar([("a", b"1")]) + as_tar([("b", b"2")])):
        assert entries(tmp_path, data) == {"x/a": b"1", "x": Reason.ARCHIVE_DAMAGED}


def test_a_folder_in_a_zip_is_none_when_it_has_bytes(tmp_path: Path) -> None:
    assert entries(tmp_path, as_zip([("kept/", b"1"), ("empty/", b"")])) == {"x/kept": b"1"}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_what_stands_behind_compressed_data_is_told(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole = pack(as_tar([("a", b"1")]))
    assert entries(tmp_path, whole + bytes(900)) == {"x/a": b"1"}
    assert entries(tmp_path, whole + b"more") == {"x/a": b"1", "x": Reason.ARCHIVE_DAMAGED}


def test_skippable_frames_of_zstandard_are_skipped(tmp_path: Path) -> None:
    note = struct.pack("<2I", 0x184D2A53, 4) + b"note"
    half = as_tar([("a", os.urandom(2000))])
    data = note + zstd.compress(half[:1000]) + note + zstd.compress(half[1000:])
    assert entries(tmp_path, data) == {"x/a": half[512:2512]}


@pytest.mark.parametrize("empty", [gzip.compress(b""), struct.pack("<II", 0x184D2A50, 0), bz2.compress(b"")])
def test_empty_streams_without_end_are_not_gone_through(empty: bytes, tmp_path: Path) -> None:
    last = {b"\x1f": gzip.compress, b"B": bz2.compress}.get(empty[:1], zstd.compress)(b"all of it")
    assert entries(tmp_path, empty * 50 + last, "x.gz") == {"x/x": b"all of it"}
    assert entries(tmp_path, empty * 10_001 + last, "x.gz")["x"] == Reason.ARCHIVE_DAMAGED


def test_a_window_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, (31 - 10) << 3]) + b"\x01\0\0"
    assert entries(tmp_path, frame) == {"x": Reason.ARCHIVE_UNSUPPORTED}
    packed = bytearray(lzma.compress(b"x"))
    packed[packed.index(b"\x21\x01") + 2] = 40  # of a block that starts at 12: 4 GB
    struct.pack_into("<I", packed, 20, zlib.crc32(packed[12:20]))
    assert entries(tmp_path, bytes(packed)) == {"x": Reason.ARCHIVE_UNSUPPORTED}


def test_nested_archives_carry_their_names(tmp_path: Path) -> None:
    inner = as_tar([("deep.txt", b"d")], "w:gz")
    middle = as_zip([("inner.tgz", inner), ("m.txt", b"m")])
    found = entries(tmp_path, as_tar([("mid.zip", middle), ("o.txt", b"o")]))
    assert found == {"x/mid.zip/inner.tgz/deep.txt": b"d", "x/mid.zip/m.txt": b"m", "x/o.txt": b"o"}
    shallow = entries(tmp_path, as_tar([("mid.zip", middle), ("o.txt", b"o")]), limits=Limits(max_depth=2))
    assert shallow["x/mid.zip/inner.tgz"] == Reason.ARCHIVE_TOO_DEEP
    assert shallow["x/mid.zip/m.txt"] == b"m" and shallow["x/o.txt"] == b"o"


def test_a_damaged_archive_within_another_costs_only_itself(tmp_path: Path) -> None:
    inner = as_tar([("a", b"1" * 2000)], "w:gz")
    found = entries(tmp_path, as_zip([("in.tgz", inner[: len(inner) - 20]), ("after", b"+")]))
    assert found["x/in.tgz"] == Reason.ARCHIVE_DAMAGED and found["x/after"] == b"+"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_a_compressed_file_is_an_archive_of_one(pack: object, tmp_path: Path) -> None:
    assert entries(tmp_path, pack(b"scan" * 999)) == {"x/x": b"scan" * 999}  # type: ignore[operator]
    assert entries(tmp_path, pack(b"one") + pack(b"two")) == {"x/x": b"onetwo"}  # type: ignore[operator]


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/etc/passwd", "..\\up", "C:\\x", "\\\\host\\x"])
@pytest.mark.parametrize("kind", ["deflate", "tar"])
def test_names_that_point_outside_are_refused(name: str, kind: str, tmp_path: Path) -> None:
    found = entries(tmp_path, FORMATS[kind]([(name, b"!"), ("good", b"+")]))
    assert list(found.values()) == [Reason.UNSAFE_NAME, b"+"]


def test_the_same_name_again_gets_a_number(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = as_zip([("a", b"1"), ("a", b"2"), ("a (2)", b"3"), ("a", b"4"), ("./a", b"5")])
    found = entries(tmp_path, data)
    assert sorted(found.values()) == [b"1", b"2", b"3", b"4", b"5"]  # type: ignore[type-var]
    assert set(found) == {"x/a", "x/a (2)", "x/a (2) (2)", "x/a (3)", "x/a (4)"}


def test_a_member_and_an_archive_that_claim_one_name_are_told_apart(tmp_path: Path) -> None:
    found = entries(tmp_path, as_tar([("in.zip/a", b"1"), ("in.zip", as_zip([("a", b"2")]))]))
    assert found == {"x/in.zip/a": b"1", "x/in.zip/a (2)": b"2"}


def test_odd_names_are_made_plain(tmp_path: Path) -> None:
    names = ["снимок.dcm", "a\nb", "long" * 800]
    found = entries(tmp_path, as_tar([(name, b"+") for name in names]))
    latin = bytearray(as_tar([("caf#.dcm", b"+")], "w", tarfile.USTAR_FORMAT))
    latin[3] = 0xE9
    latin[148:156] = b"%06o\0 " % (sum(latin[:148]) + 8 * 32 + sum(latin[156:512]))
    found |= entries(tmp_path, bytes(latin))
    assert set(found.values()) == {b"+"} and len(found) == 4
    assert "x/снимок.dcm" in found and "x/caf\\xe9.dcm" in found and "x/a\\x0ab" in found
    for name in found:
        assert len(name.encode()) < 1100 and name.isprintable()


def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"kind{kind.decode()}")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    found = entries(tmp_path, buffer.getvalue())
    assert list(found.values()) == [Reason.LINK] * 4


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert entries(tmp_path, buffer.getvalue()) == {"x/link": Reason.LINK}


def _patched(data: bytes, local: int, central: int, value: int) -> bytes:
    """A zip of one member with a 16-bit field of both its headers changed."""
    changed = bytearray(data)
    struct.pack_into("<H", changed, local, value)
    struct.pack_into("<H", changed, changed.index(b"PK\x01\x02") + central, value)
    return bytes(changed)


def test_encrypted_and_unknown_methods_are_refused_with_their_name(tmp_path: Path) -> None:
    data = as_zip([("a", b"secret" * 50)])
    assert entries(tmp_path, _patched(data, 6, 8, 1)) == {"x/a": Reason.ARCHIVE_ENCRYPTED}
    (tmp_path / "y").write_bytes(_patched(data, 8, 10, 9))
    (member,) = listed(tmp_path / "y")
    assert member.refused and member.refused.reason == Reason.ARCHIVE_UNSUPPORTED
    assert "deflate64" in member.refused.detail


def test_zip64_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        with archive.open("a", "w", force_zip64=True) as member:
            member.write(b"sixty-four")
        archive._didModify = True
    data = buffer.getvalue()
    assert entries(tmp_path, data) == {"x/a": b"sixty-four"}
    # The same with the directory's sizes, offset and end moved to their 64-bit places.
    start = data.index(b"PK\x01\x02")
    local, central = data[:start], bytearray(data[start : data.index(b"PK\x05\x06")])
    size, packed = struct.unpack_from("<2I", central, 20)
    struct.pack_into("<2I", central, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<I", central, 42, 0xFFFFFFFF)
    extra = struct.pack("<2H3Q", 1, 24, packed, size, 0)
    struct.pack_into("<H", central, 30, len(extra))
    directory = bytes(central[:47]) + extra
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(directory), len(local))
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(local) + len(directory), 1)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert entries(tmp_path, local + directory + end64 + locator + end) == {"x/a": b"sixty-four"}


@pytest.mark.parametrize("offset", [1 << 62, (1 << 64) - 1])
def test_a_place_where_no_file_reaches_costs_its_member_only(offset: int, tmp_path: Path) -> None:
    data = bytearray(as_zip([("a", b"1"), ("b", b"2")]))
    first, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    struct.pack_into("<I", data, first + 42, 0xFFFFFFFF)
    field = struct.pack("<2HQ", 1, 8, offset)
    struct.pack_into("<H", data, first + 30, len(field))
    struct.pack_into("<I", data, end + 12, end - first + len(field))
    data[first + 47 : first + 47] = field
    assert entries(tmp_path, bytes(data)) == {"x/a": Reason.DAMAGED, "x/b": b"2"}
    # The same within an archive, where it is read from memory.
    assert entries(tmp_path, as_tar([("z", bytes(data))])) == {"x/z/a": Reason.DAMAGED, "x/z/b": b"2"}


def test_a_cut_zip_is_not_taken_for_the_zip_it_holds(tmp_path: Path) -> None:
    data = as_zip([("before", b"1"), ("in.zip", as_zip([("inner", b"2")]))], zipfile.ZIP_STORED)
    cut = data[: data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))]
    assert entries(tmp_path, cut) == {"x/before": b"1", "x/in.zip/inner": b"2", "x": Reason.ARCHIVE_DAMAGED}


def test_a_record_that_swallows_the_next_one_is_noticed(tmp_path: Path) -> None:
    data = bytearray(as_zip([("a", b"1"), ("b", b"2"), ("c", b"3")]))
    first = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, first + 32, data.index(b"PK\x01\x02", first + 1) - first)  # its comment's length
    assert entries(tmp_path, bytes(data)) == {"x/a": b"1", "x/c": b"3", "x": Reason.ARCHIVE_DAMAGED}


def test_a_number_of_members_that_is_kept_in_sixteen_bits_is_believed() -> None:
    data = as_zip([("a", b"1")])
    start, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    many = data[start:end] * 65_537
    stream = io.BytesIO(data[:start] + many + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(many), start, 0))
    found = find_end(stream)
    assert found and sum(1 for _ in records(stream, *found)) == 65_537


def test_wrong_checksums_cost_their_member_only(tmp_path: Path) -> None:
    data = bytearray(as_zip([("a", b"A" * 100), ("b", b"B" * 100)], zipfile.ZIP_STORED))
    data[data.index(b"AAAA")] ^= 1
    assert entries(tmp_path, bytes(data)) == {"x/a": Reason.DAMAGED, "x/b": b"B" * 100}


def test_lzma_in_a_zip_needs_no_end_mark(tmp_path: Path) -> None:
    data = as_zip([("a", b"without" * 99)], zipfile.ZIP_LZMA)
    start = data.index(b"PK\x01\x02")
    local, directory, end = bytearray(data[: start - 4]), bytearray(data[start:-22]), bytearray(data[-22:])
    packed = struct.unpack_from("<I", local, 18)[0] - 4  # of the mark, in what the coder flushes
    struct.pack_into("<I", local, 18, packed)
    struct.pack_into("<I", directory, 20, packed)
    struct.pack_into("<I", end, 16, len(local))
    assert entries(tmp_path, bytes(local + directory + end)) == {"x/a": b"without" * 99}


def test_a_zip_behind_other_data_is_refused_as_one(tmp_path: Path) -> None:
    behind = b"MZ" + bytes(1000) + as_zip([("a", b"1")])
    (tmp_path / "setup.zip").write_bytes(behind)
    assert told(listed(tmp_path / "setup.zip")) == {"setup.zip": Reason.ARCHIVE_UNSUPPORTED}
    outer = as_zip([("setup.zip", behind), ("b", b"2")])
    assert entries(tmp_path, outer, "y") == {"x/setup.zip": Reason.ARCHIVE_UNSUPPORTED, "x/b": b"2"}


def test_packed_zeros_are_no_tar(tmp_path: Path) -> None:
    for data in (bytes(4096) + b"volume", bytes(2 << 20)):
        assert entries(tmp_path, gzip.compress(data)) == {"x/x": data}


@pytest.mark.parametrize("name", ["x.zip", "X.TAR", "x.tar.gz", "x.tgz", "x.tar.xz"])
def test_a_text_named_like_an_archive_is_refused_as_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"just some words")
    assert told(listed(path)) == {name: Reason.ARCHIVE_DAMAGED}
    assert entries(tmp_path, as_zip([(name, b"words")]), "y") == {f"x/{name}": Reason.ARCHIVE_DAMAGED}


@pytest.mark.parametrize(
    "data", [as_zip([]), as_zip([("folder/", b"")]), as_tar([], "w:gz")], ids=["nothing", "a folder", "gzip"]
)
def test_an_empty_archive_says_so(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(data)
    (member,) = listed(tmp_path / "e")
    assert member.name == "e" and member.refused and member.refused.reason == Reason.NO_IMAGE
    assert member.refused.detail == "The archive has no files."


@pytest.mark.parametrize(
    "start",
    [
        *(b"MSCF", b"Rar!\x1a\x07\x01\0", b"PK\x07\x08PK\x03\x04", b"\x1f\x9d\x90", b"070701", b"LZIP\1"),
        *(b"]\0\0\x80\0" + b"\xff" * 8, b"\x04\x22\x4d\x18"),
    ],
)
def test_archives_that_are_not_read_are_refused_by_name(start: bytes, tmp_path: Path) -> None:
    assert entries(tmp_path, start + bytes(99)) == {"x": Reason.ARCHIVE_UNSUPPORTED}


@pytest.mark.parametrize("kind", ["deflate", "bzip2", "lzma", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "7z"])
def test_bombs_stop_early_and_in_little_memory(kind: str, tmp_path: Path) -> None:
    data = FORMATS[kind]([("bomb", bytes(60 << 20)), ("after", b"+")])
    (tmp_path / "bomb").write_bytes(data)
    tracemalloc.start()
    found = told(listed(tmp_path / "bomb"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Reason.BOMB in found.values()
    assert kind.startswith(("tar", "7z")) or found["bomb/after"] == b"+"
    assert peak < 48 << 20


def test_a_bomb_of_many_small_members_stops_by_its_sum(tmp_path: Path) -> None:
    data = as_zip([(f"{i}", bytes(900_000)) for i in range(60)])
    found = entries(tmp_path, data, limits=Limits(max_ratio=100))
    assert found["x"] == Reason.BOMB and len(found) < 30
    capped = entries(tmp_path, data, limits=Limits(max_bytes=2_000_000))
    assert list(capped.values())[-1] == Reason.BOMB and len(capped) == 3


def test_a_bomb_within_an_archive_ends_itself_and_the_rest_goes_on(tmp_path: Path) -> None:
    one = as_zip([("zeros", bytes(8 << 20))])
    start, end = one.index(b"PK\x01\x02"), one.rindex(b"PK\x05\x06")
    many = one[start:end] * 500  # records of one member
    bomb = one[:start] + many + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 500, 500, len(many), start, 0)
    outer = as_tar([("large", os.urandom(1 << 20)), ("bomb.zip", bomb), ("after", b"words")])
    found = entries(tmp_path, outer)
    assert found["x/after"] == b"words" and found["x/bomb.zip"] == Reason.BOMB
    assert "x" not in found and len(found) < 20


def test_too_many_members_stop(tmp_path: Path) -> None:
    data = as_zip([(f"{i}", b"+") for i in range(10)])
    found = entries(tmp_path, data, limits=Limits(max_entries=4))
    assert list(found.values()) == [b"+"] * 4 + [Reason.ARCHIVE_TOO_MANY]


def test_lying_sizes_do_not_reach_memory(tmp_path: Path) -> None:
    data = bytearray(as_zip([("a", bytes(4 << 20))]))
    for at in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        struct.pack_into("<I", data, at, 10)
    assert entries(tmp_path, bytes(data), limits=Limits(max_ratio=10**6)) == {"x/a": Reason.DAMAGED}
    limits = Limits(max_entry_bytes=1 << 20, max_ratio=10**6)
    assert entries(tmp_path, bytes(data), limits=limits) == {"x/a": Reason.TOO_LARGE}


@pytest.mark.parametrize("more", [1, 9000])
def test_a_map_of_holes_that_does_not_end_is_noticed(more: int, tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("holes").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[482] = tarfile.GNUTYPE_SPARSE, 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    holes = (b"00000000001\0" * 42 + b"\1").ljust(512, b"\0")
    assert entries(tmp_path, bytes(header) + holes * more + holes[:77]) == {"x": Reason.ARCHIVE_DAMAGED}


def test_a_tar_that_points_backwards_does_not_loop(tmp_path: Path) -> None:
    header = bytearray(as_tar([("a", b"")])[:512])
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    assert entries(tmp_path, bytes(header) * 4)["x"] == Reason.ARCHIVE_DAMAGED


def test_a_folder_is_walked_in_order_and_its_links_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"no")
    for name in ("c.txt", "a.txt", "b/z.txt", "b/y.txt"):
        (root / name).write_bytes(name.encode())
    (root / "archive.zip").write_bytes(as_zip([("in", b"+")]))
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "nowhere").symlink_to("gone")
    (root / "again").symlink_to("a.txt")
    (root / "loop").symlink_to(".")
    os.mkfifo(root / "pipe")
    expected = {
        "root/a.txt": b"a.txt",
        "root/again": b"a.txt",
        "root/archive.zip/in": b"+",
        "root/b/y.txt": b"b/y.txt",
        "root/b/z.txt": b"b/z.txt",
        "root/c.txt": b"c.txt",
        "root/loop": Reason.LINK,
        "root/nowhere": Reason.LINK,
        "root/out": Reason.LINK,
        "root/pipe": Reason.LINK,
    }
    assert list(told(listed(root)).items()) == list(expected.items())
    assert [m.path.name for m in listed(root) if m.path] == ["a.txt", "a.txt", "y.txt", "z.txt", "c.txt"]


def test_a_link_put_in_a_files_place_after_the_walk_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"no")
    (root / "a").write_bytes(b"yes")
    (member,) = listed(root)
    (root / "a").unlink()
    (root / "a").symlink_to(tmp_path / "secret")
    assert told([member]) == {"root/a": Reason.UNREADABLE}


def test_a_file_that_grows_past_the_limit_is_not_read(tmp_path: Path) -> None:
    limits = Limits(max_entry_bytes=100)
    (tmp_path / "f").write_bytes(b"1" * 100)
    (member,) = listed(tmp_path / "f", limits)
    (tmp_path / "f").write_bytes(b"1" * 101)
    assert told([member]) == {"f": Reason.TOO_LARGE}
    assert told(listed(tmp_path / "f", limits)) == {"f": Reason.TOO_LARGE}


def test_what_is_not_there_is_an_entry(tmp_path: Path) -> None:
    assert told(listed(tmp_path / "gone")) == {"gone": Reason.UNREADABLE}


def test_what_may_not_be_read_is_an_entry() -> None:
    with tempfile.TemporaryDirectory() as folder:  # where anybody may look, unlike tmp_path
        root = Path(folder)
        root.chmod(0o755)
        (root / "d").mkdir(mode=0)
        (root / "f").touch(mode=0)
        (root / "f").write_bytes(b"?")
        expected = {"root/d": Reason.UNREADABLE, "root/f": Reason.UNREADABLE}
        if os.geteuid():
            assert told(walk(root, "root")) == expected
            (root / "d").chmod(0o700)
            return
        # Root may read everything, so a child that gives that up has to look.
        child = os.fork()
        if child == 0:
            os.setgid(65534)
            os.setuid(65534)
            os._exit(0 if told(walk(root, "root")) == expected else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_folders_deeper_than_pythons_calls(tmp_path: Path) -> None:
    path = tmp_path / "top"
    for _ in range(1200):
        path /= "d"
    try:
        subprocess.run(["mkdir", "-p", path], check=True)
        (path / "f").write_bytes(b"+")
        assert list(told(listed(tmp_path / "top")).values()) == [b"+"]
    finally:
        # pytest's own way of clearing up calls itself for each level.
        subprocess.run(["rm", "-rf", tmp_path / "top"], check=True)


def test_a_walk_holds_no_more_for_a_longer_archive(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(count):
                archive.writestr(f"folder/member-{number:06d}.txt", b"+" * 100)
        tracemalloc.start()
        assert sum(1 for _ in walk(path, "x", Limits())) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    # Eight bytes and a set's slot for each name seen; the library's list of records would take a kilobyte.
    assert peak(8000) - peak(1000) < 7000 * 200
