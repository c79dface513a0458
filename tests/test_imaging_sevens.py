"""7z archives: every member is answered for, whatever the archive asks of its unpacker."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from io import BytesIO
from pathlib import Path

import py7zr
import pytest
from test_imaging_archives import as_7z, as_tar, as_zip, entries, listed, told

from cxrscreen.imaging import Limits, Reason, sevens

COPY = [{"id": py7zr.FILTER_COPY}]


def _plain(files: list[tuple[str, bytes]], **options: object) -> bytes:
    """An archive whose header is not compressed, so that a test may write in it."""
    buffer = BytesIO()
    with py7zr.SevenZipFile(buffer, "w", **options) as archive:  # type: ignore[arg-type]
        archive.set_encoded_header_mode(False)
        for name, data in files:
            archive.writestr(data, name)
    return buffer.getvalue()


def _renamed(data: bytes, old: str, new: str) -> bytes:
    """With another name of the same length, and checksums that fit."""
    changed = bytearray(data.replace(old.encode("utf-16-le"), new.encode("utf-16-le")))
    offset, size = struct.unpack_from("<2Q", changed, 12)
    struct.pack_into("<I", changed, 28, zlib.crc32(changed[32 + offset : 32 + offset + size]))
    struct.pack_into("<I", changed, 8, zlib.crc32(changed[12:32]))
    return bytes(changed)


@pytest.mark.parametrize("name", ["../up", "a/../..", "/etc/x", "..\\up", "C:\\xx"])
def test_names_that_point_outside_are_refused(name: str, tmp_path: Path) -> None:
    data = _renamed(_plain([("#" * len(name), b"!"), ("good", b"+")]), "#" * len(name), name)
    assert list(entries(tmp_path, data).values()) == [Reason.UNSAFE_NAME, b"+"]


def test_the_same_name_again_gets_a_number(tmp_path: Path) -> None:
    data = _renamed(_plain([("a", b"1"), ("b", b"2")]), "b", "a")
    assert entries(tmp_path, data) == {"x/a": b"1", "x/a (2)": b"2"}


def test_links_are_refused_and_folders_are_none(tmp_path: Path) -> None:
    (tmp_path / "source" / "empty").mkdir(parents=True)
    (tmp_path / "source" / "link").symlink_to("/etc/passwd")
    (tmp_path / "source" / "file").write_bytes(b"+")
    with py7zr.SevenZipFile(tmp_path / "y.7z", "w") as archive:
        archive.writeall(tmp_path / "source", "s")
    found = told(listed(tmp_path / "y.7z"))
    assert found == {"y.7z/s/file": b"+", "y.7z/s/link": Reason.LINK}


def test_locked_archives_say_so(tmp_path: Path) -> None:
    files = [("a", b"1" * 99), ("b", b"2")]
    assert entries(tmp_path, as_7z(files, password="secret", header_encryption=True)) == {"x": Reason.ARCHIVE_ENCRYPTED}
    found = entries(tmp_path, as_7z(files, password="secret"))
    assert found and set(found.values()) == {Reason.ARCHIVE_ENCRYPTED}


def test_a_wrong_checksum_costs_its_member_only(tmp_path: Path) -> None:
    data = bytearray(as_7z([("a", b"A" * 100), ("b", b"B" * 100)], filters=COPY))
    data[data.index(b"AAAA")] ^= 1
    assert entries(tmp_path, bytes(data)) == {"x/a": Reason.DAMAGED, "x/b": b"B" * 100}


def test_a_damaged_block_costs_its_members_only(tmp_path: Path) -> None:
    path = tmp_path / "x.7z"
    block = [(f"first-{number}", os.urandom(5000)) for number in range(3)]
    path.write_bytes(as_7z(block))
    for name in ("second", "third"):
        with py7zr.SevenZipFile(path, "a") as archive:
            archive.writestr(name * 9, name)
    data = bytearray(path.read_bytes())
    data[32 + 7000 : 32 + 7040] = b"\xff" * 40
    found = entries(tmp_path, bytes(data))
    assert found["x/second"] == b"second" * 9 and found["x/third"] == b"third" * 9
    assert found.keys() == {"x/first-0", "x/first-1", "x/first-2", "x/second", "x/third"}
    assert Reason.DAMAGED in found.values()


def test_archives_within_each_other(tmp_path: Path) -> None:
    inner = as_7z([("deep", b"d")])
    data = as_7z([("in.zip", as_zip([("mid.7z", inner), ("m", b"m")])), ("in.tar", as_tar([("t", b"t")])), ("o", b"o")])
    expected = {"x/in.zip/mid.7z/deep": b"d", "x/in.zip/m": b"m", "x/in.tar/t": b"t", "x/o": b"o"}
    assert entries(tmp_path, data) == expected
    shallow = entries(tmp_path, data, limits=Limits(max_depth=2))
    assert shallow == {
        "x/in.zip/mid.7z": Reason.ARCHIVE_TOO_DEEP,
        "x/in.zip/m": b"m",
        "x/in.tar/t": b"t",
        "x/o": b"o",
    }


def test_limits_hold_within_a_solid_block(tmp_path: Path) -> None:
    files = [("big", os.urandom(3_000_000)), ("a", b"1"), ("b", b"2")]
    found = entries(tmp_path, as_7z(files), limits=Limits(max_entry_bytes=1 << 20))
    assert found == {"x/big": Reason.TOO_LARGE, "x/a": b"1", "x/b": b"2"}
    assert list(entries(tmp_path, as_7z(files), limits=Limits(max_entries=2)).values())[-1] == Reason.ARCHIVE_TOO_MANY
    # A member that is too large is unpacked all the same, as others follow in its block; a bomb is not.
    bomb = as_7z([("bomb", bytes(80 << 20)), ("after", b"+")])
    assert Reason.BOMB in entries(tmp_path, bomb, limits=Limits(max_entry_bytes=1 << 20)).values()


def test_a_dictionary_larger_than_the_unpacker_may_have_is_refused(tmp_path: Path) -> None:
    data = as_7z([("a", b"1" * 99)], filters=[{"id": py7zr.FILTER_LZMA2, "dict_size": 3 << 29}])
    assert set(entries(tmp_path, data).values()) == {Reason.ARCHIVE_UNSUPPORTED}


@pytest.mark.parametrize(
    ("script", "said"),
    [("import time; time.sleep(60)", "takes too long"), ("", "ended"), ("print('M\\xff\\xff\\xff\\xff')", "absurd")],
)
def test_an_unpacker_that_hangs_or_dies_ends_the_archive(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child.py").write_text(
        script.replace("print", "import sys; sys.stdout.buffer.write").replace("('", "(b'")
    )
    monkeypatch.setattr(sevens, "_CHILD", tmp_path / "child.py")
    if said == "takes too long":
        monkeypatch.setattr(sevens, "SILENCE_SECONDS", 0.5)
    (tmp_path / "x.7z").write_bytes(as_7z([("a", b"1")]))
    (member,) = listed(tmp_path / "x.7z")
    assert member.refused and member.refused.reason == Reason.ARCHIVE_DAMAGED and said in str(member.refused)


def test_a_walk_that_is_left_leaves_no_unpacker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def noted(*args: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(start(*args, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(sevens.subprocess, "Popen", noted)
    with (tmp_path / "x.7z").open("wb+") as file:
        file.write(as_7z([("a", b"1"), ("b", b"2")]))
        file.seek(0)
        found = sevens.contents(file, 200)
        next(found)
        found.close()  # type: ignore[attr-defined]
    assert len(started) == 1 and started[0].returncode is not None
