"""Sources that nobody uploads: which may be named, and prefixes of an object store, against a real server of theirs."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.registry import _registry
from s3_fixtures import BUSY, DENIED, Bucket

from cxrscreen import prefixes, sources
from cxrscreen.blobs import Blobs, StoreAway
from cxrscreen.errors import NotFound, OutsideRoots, StackError, UsageError
from cxrscreen.imaging import Limits, Reason
from cxrscreen.settings import Settings


def found(url: str, limits: Limits = Limits()) -> dict[str, bytes | Reason]:  # noqa: B008
    source = sources.at(url)
    told: dict[str, bytes | Reason] = {}
    for member in source.members(source.files(url), limits):
        assert member.name not in told
        try:
            told[member.name.removeprefix(url)] = member.read()
        except sources.Rejected as refused:
            told[member.name.removeprefix(url)] = refused.reason
    return told


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_only_allowed_folders_may_be_queued(configure: Callable[..., Settings], tmp_path: Path) -> None:
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    (allowed / "a").mkdir(parents=True)
    other.mkdir()
    (allowed / "way-out").symlink_to(other)
    with pytest.raises(OutsideRoots, match="CXRSCREEN_ALLOWED_ROOTS"):
        sources.allowed(str(allowed))
    configure(allowed_roots=f"{allowed}:{tmp_path / 'third'}")
    assert sources.allowed(str(allowed / "a")) == str(allowed / "a")
    for path in (other, allowed / ".." / "other", allowed / "way-out", tmp_path / "allowed-too"):
        with pytest.raises(OutsideRoots):
            sources.allowed(str(path))
    with pytest.raises(NotFound):
        sources.allowed(str(allowed / "gone"))
    for wrong in ("a", "", "~/a", "/a\0b"):
        with pytest.raises(UsageError):
            sources.allowed(wrong)


def test_a_prefix_is_walked_like_a_folder(
    bucket: Bucket, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configure()
    monkeypatch.setattr(prefixes, "LISTED", 3)
    monkeypatch.setattr(prefixes, "HEADS", 2)
    for key, data in {
        "in/a.png": b"a",
        "in/deep/er/b.dcm": b"b",
        "in/empty": b"",
        "in/folder/": b"",  # what consoles make for an empty folder
        "in/../up": b"up",
        "in/mark\u200e": b"1",
        "in/mark\\u200e": b"2",
        "in/large": b"+" * 101,
        "in/no.zip": b"no archive",
        "in/z": zipped(m=b"m", n=b"n"),
        "in-too/c": b"c",
        "in": b"itself",
    }.items():
        bucket.put(key, data)
    limits = Limits(max_entry_bytes=100)
    told = found(f"{bucket.url}/in", limits)
    (broken,) = [name for name in told if name.startswith("/mark\\u200e (")]
    assert told == {
        "": b"itself",
        "/../up": b"up",
        "/a.png": b"a",
        "/deep/er/b.dcm": b"b",
        "/empty": b"",
        "/large": Reason.TOO_LARGE,
        broken: b"1",
        "/mark\\u200e": b"2",
        "/no.zip": Reason.ARCHIVE_DAMAGED,
        "/z/m": b"m",
        "/z/n": b"n",
    }
    assert list(told) == list(found(f"{bucket.url}/in", limits))
    assert not list(settings.cache_dir.iterdir())
    assert found(f"{bucket.url}/in-too/c") == {"": b"c"}
    assert sources.read(f"{bucket.url}/in/empty") == b"" and sources.read(f"{bucket.url}/in/a.png") == b"a"


def test_a_long_prefix_is_listed_as_it_is_walked(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "LISTED", 2)
    for number in range(10):
        bucket.put(f"n/{number}", b"+")
    bucket.service.asked.clear()
    files = sources.at(f"{bucket.url}/n").files("n")
    assert next(files).name == "n/0"
    lists = [path for method, path in bucket.service.asked if method == "GET"]
    assert len(lists) == 1
    assert len(list(files)) == 9


def test_what_is_not_there_or_not_for_us_has_a_reason(bucket: Bucket) -> None:
    assert found(f"{bucket.url}/gone") == {"": Reason.UNREADABLE}
    assert found("s3://no-such-bucket-of-a-test") == {"": Reason.UNREADABLE}
    for key in ("in/a", "in/b", "in/c.zip"):
        bucket.put(key, b"+")
    bucket.service.fault = lambda _method, path: DENIED if path.endswith("/in/b") else None
    assert found(f"{bucket.url}/in") == {"/a": b"+", "/b": Reason.UNREADABLE, "/c.zip": Reason.ARCHIVE_DAMAGED}
    bucket.service.fault = lambda _method, _path: DENIED
    assert found(f"{bucket.url}/in") == {"": Reason.UNREADABLE}
    with pytest.raises(NotFound):
        sources.need(f"{bucket.url}/in")
    with pytest.raises(FileNotFoundError):
        sources.read(f"{bucket.url}/in/a")


def test_without_credentials_there_is_a_reason(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    bucket.service.fault = lambda _method, _path: DENIED  # what a service says to a stranger
    assert found(f"{bucket.url}/in") == {"": Reason.UNREADABLE}


def test_a_service_that_is_away_is_no_reason_to_refuse_a_file(bucket: Bucket) -> None:
    bucket.put("in/a", b"+")
    source = sources.at(f"{bucket.url}/in")
    (member,) = source.members(source.files("in"), Limits())
    bucket.service.fault = lambda _method, _path: BUSY
    with pytest.raises(StoreAway):
        member.read()
    with pytest.raises(StoreAway):
        list(source.files("in"))
    with pytest.raises(StoreAway):
        sources.read(f"{bucket.url}/in/a")
    assert sources.is_there(f"{bucket.url}/in/a")  # nobody can say that it is not
    with pytest.raises(StackError, match="does not answer"):
        sources.named(f"{bucket.url}/in")


def test_only_allowed_prefixes_may_be_queued(bucket: Bucket, configure: Callable[..., Settings]) -> None:
    for key in ("in/a", "in/deep/a", "in-too/a"):
        bucket.put(key, b"+")
    with pytest.raises(OutsideRoots, match="CXRSCREEN_ALLOWED_PREFIXES"):
        sources.allowed(f"{bucket.url}/in")
    configure(allowed_prefixes=f"s3://elsewhere {bucket.url}/in/")
    assert sources.allowed(f"{bucket.url}/in/") == f"{bucket.url}/in"
    assert sources.allowed(f"{bucket.url}/in/deep") == f"{bucket.url}/in/deep"
    for outside in ("in-too", "", "other"):
        with pytest.raises(OutsideRoots):
            sources.allowed(f"{bucket.url}/{outside}")
    with pytest.raises(NotFound):
        sources.allowed(f"{bucket.url}/in/gone")
    for wrong in (
        f"{bucket.url}/in/../in-too",
        f"{bucket.url}/in//a",
        "s3://A/b",
        "s3://",
        "https://x/y",
        "file:///etc",
    ):
        with pytest.raises(UsageError):
            sources.allowed(wrong)


def test_without_the_package_it_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(_registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for use in (sources.at, Blobs):
        with pytest.raises(UsageError, match=r"pip install 'cxrscreen\[s3\]'"):
            use("s3://bucket/folder")


def test_a_folder_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "other").mkdir()
    sources.need_unmoved(str(tmp_path / "real"))
    (tmp_path / "real").rmdir()
    (tmp_path / "real").symlink_to(tmp_path / "other")
    with pytest.raises(NotFound, match="is a link by now"):
        sources.need_unmoved(str(tmp_path / "real"))
