"""The store: content-addressed, atomic, on a disk and in a store that is none."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_fixtures import Bucket

from cxrscreen.blobs import Blobs
from cxrscreen.settings import Settings


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        return Blobs(f"{bucket.url}/store")
    url = f"file://{tmp_path / 'store'}" if request.param == "file" else f"memory://{tmp_path.name}"
    return Blobs(url)


def test_bytes_come_back_by_their_hash(store: Blobs, tmp_path: Path) -> None:
    key = store.put("originals", b"bytes")
    assert key == hashlib.sha256(b"bytes").hexdigest() == store.put("originals", b"bytes")
    assert store.get("originals", key) == b"bytes"
    assert store.exists("originals", key) and not store.exists("derivatives", key)
    with store.as_file("originals", key, tmp_path / "cache") as path:
        assert path.read_bytes() == b"bytes"
    store.delete("originals", key)
    store.delete("originals", key)
    with pytest.raises(FileNotFoundError):
        store.get("originals", key)


def test_a_whole_file_is_taken_over(store: Blobs, tmp_path: Path) -> None:
    for _ in range(2):  # the second time the bytes are there already
        source = tmp_path / "upload"
        source.write_bytes(b"an archive")
        key = hashlib.sha256(b"an archive").hexdigest()
        store.put_file("uploads", source, key)
        assert not source.exists()
        assert store.get("uploads", key) == b"an archive"


WRITER = """
import os, sys
from cxrscreen.blobs import Blobs
store, n = Blobs(sys.argv[1]), 0
while True:
    store.put("originals", n.to_bytes(4, "big") * 200_000)
    if n == 0:
        print("ready", flush=True)
    n += 1
"""


def test_a_killed_writer_leaves_no_half_blob(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for delay in (0.05, 0.11, 0.17, 0.23, 0.31):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, f"file://{folder}"], stdout=subprocess.PIPE)
        assert writer.stdout and writer.stdout.readline() == b"ready\n"
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    whole = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert whole
    for path in whole:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_a_blob_of_an_object_store_is_one_request(bucket: Bucket) -> None:
    """So that it is there whole, or not at all: a service shows no half of what it was sent."""
    store = Blobs(f"{bucket.url}/store")
    bucket.service.asked.clear()
    name = store.put("originals", os.urandom(12 << 20))
    writes = [path for method, path in bucket.service.asked if method in ("PUT", "POST")]
    assert writes == [f"/{bucket.name}/store/originals/{name[:2]}/{name}"]
    assert store.digest("originals", name) == name


def test_a_killed_writer_leaves_no_half_blob_in_an_object_store(bucket: Bucket) -> None:
    for delay in (0.05, 0.17, 0.31):
        url = f"{bucket.url}/store"
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE)
        assert writer.stdout and writer.stdout.readline() == b"ready\n"
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    found = bucket.content("store/originals")
    assert found and all(hashlib.sha256(data).hexdigest() == name for name, data in found.items())


def test_secrets_are_made_once_and_are_nobody_elses(configure: Callable[..., Settings], tmp_path: Path) -> None:
    settings = configure()
    assert settings.session_secret() == settings.session_secret() != settings.pseudonym_secret()
    for path in (settings.data_dir / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0
