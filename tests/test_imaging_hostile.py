"""Files that were changed at random: each ends as pictures or with a reason, soon, in bounded memory."""

from __future__ import annotations

import io
import random
import resource
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, uid

from cxrscreen.imaging import Limits, Rejected, decode, frames, prepare, walk
from cxrscreen.imaging.phantom_files import dicom_bytes, picture_bytes
from cxrscreen.imaging.phantoms import phantom

# Imported here, the filters that keep the decoders' warnings from the terminal are undone by pytest.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

EXTREMES = (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\x80", b"\xff" * 8)
MUTATIONS = 60  # of each file
HANG_SECONDS = 10
MEMORY_KB = 400 * 1024


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to eight changes: bits, bytes, extremes, cuts, gaps, insertions and copies, half of them near the start."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not changed:
            break
        at = rng.randrange(min(len(changed), rng.choice((len(changed), 1500))))
        length = rng.choice((1, 2, 4, 100))
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.randrange(256)
            case 2:
                del changed[at:]
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = rng.randbytes(length)
            case 5:
                extreme = rng.choice(EXTREMES)
                changed[at : at + len(extreme)] = extreme
            case 6:
                source = rng.randrange(len(changed))
                changed[at : at + length] = changed[source : source + length]
    return bytes(changed)


def _dicom(syntax: str | None = None, plugin: str = "") -> bytes:
    data = dicom_bytes(phantom("covid", 1, 96, bits=12).astype(np.uint16), 1, 1, inverted=True)
    if syntax is None:
        return data
    dataset = dcmread(io.BytesIO(data))
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _picture(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(phantom("covid", 1, 96)).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


FILES = {
    "dicom": _dicom,
    "dicom-j2k": lambda: _dicom(uid.JPEG2000Lossless, "pylibjpeg"),
    "dicom-jls": lambda: _dicom(uid.JPEGLSLossless, "pyjpegls"),
    "dicom-rle": lambda: _dicom(uid.RLELossless, "pydicom"),
    "dicom-deflated": lambda: _dicom(uid.DeflatedExplicitVRLittleEndian),
    "png": lambda: _picture("PNG"),
    "png-16": lambda: picture_bytes(phantom("covid", 1, 96, bits=16), "PNG"),
    "jpeg": lambda: _picture("JPEG"),
    "jpeg-progressive": lambda: _picture("JPEG", progressive=True),
    "tiff": lambda: _picture("TIFF"),
    "webp": lambda: _picture("WEBP"),
    "gif": lambda: _picture("GIF"),
    "bmp": lambda: _picture("BMP"),
}


@pytest.mark.parametrize("kind", FILES)
def test_mutated_files_end_as_pictures_or_with_a_reason(kind: str) -> None:
    original = FILES[kind]()
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert next(iter(prepare(original))).refused is None
    ends: Counter[str] = Counter()
    for seed in range(MUTATIONS):
        data = mutated(original, random.Random(f"{kind} {seed}"))
        began = time.monotonic()
        try:
            for one in prepare(data):
                assert (one.derivative is None) != (one.refused is None)
                assert one.derivative is None or max(decode(one.derivative).shape) <= 512
            ends["prepared"] += 1
        except Rejected as refused:
            assert len(str(refused)) < 400
            ends[refused.reason] += 1
        try:
            for frame in frames(data):
                assert frame.display().dtype == np.uint8 and frame.facts.public()
        except Rejected as refused:
            assert refused.reason
        assert time.monotonic() - began < HANG_SECONDS, f"seed {seed}"
    assert ends.total() == MUTATIONS and len(ends) > 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < memory_before + MEMORY_KB


def _archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    files = [("a/x.png", _picture("PNG")), ("b.dcm", _dicom()), ("ю.txt", b"words " * 50)]
    if kind.startswith("zip"):
        method = {"zip-stored": 0, "zip": 8, "zip-lzma": 14, "zip-nested": 8}[kind]
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in files:
                archive.writestr(name, data)
            if kind == "zip-nested":
                archive.writestr("in.zip", _archive("zip"))
                archive.writestr("in.tgz", _archive("tar:gz"))
    else:
        with tarfile.open(fileobj=buffer, mode="w" + kind[3:]) as tar:  # type: ignore[call-overload]
            for name, data in files:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "zip-stored", "zip-lzma", "zip-nested", "tar", "tar:gz", "tar:bz2", "tar:xz"])
def test_mutated_archives_lose_nothing_silently(kind: str, tmp_path: Path) -> None:
    original = _archive(kind)
    path = tmp_path / "x"
    path.write_bytes(original)
    whole = {member.name: member.read() for member in walk(path, "x")}
    for seed in range(MUTATIONS):
        data = mutated(original, random.Random(f"{kind} {seed}"))
        path.write_bytes(data)
        began = time.monotonic()
        found = list(walk(path, "x", Limits(max_entry_bytes=1 << 20)))
        assert time.monotonic() - began < HANG_SECONDS, f"seed {seed}"
        names = [member.name for member in found]
        assert found and len(set(names)) == len(names)
        for name in names:
            assert "\0" not in name and name.encode()
        if data != original and len(found) < len(whole):
            # Fewer entries than before: one of them is refused, or the file is no archive any more.
            assert any(member.refused for member in found) or found[0].path is not None
