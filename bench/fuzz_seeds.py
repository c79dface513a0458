"""Whole files that the fuzzer damages: a phantom in each encoding that is read, archives, and real DICOM files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import py7zr
from PIL import Image
from pydicom import dcmread, uid

from cxrscreen.imaging.phantom_files import dicom_bytes, picture_bytes
from cxrscreen.imaging.phantoms import phantom

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SIDE = 96
# Larger ones cost the fuzzer its pace and hold the same headers.
MAX_REAL = 300_000
Make = Callable[[], bytes]


def dicom(syntax: str | None = None, plugin: str = "") -> bytes:
    data = dicom_bytes(phantom("covid", 1, SIDE, bits=12).astype(np.uint16), 1, 1, inverted=True)
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


def picture(kind: str, mode: str = "L", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(phantom("covid", 1, SIDE)).convert(mode).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


PICTURES: dict[str, Make] = {
    "dicom": dicom,
    "dicom-j2k": lambda: dicom(uid.JPEG2000Lossless, "pylibjpeg"),
    "dicom-jls": lambda: dicom(uid.JPEGLSLossless, "pyjpegls"),
    "dicom-rle": lambda: dicom(uid.RLELossless, "pydicom"),
    "dicom-deflated": lambda: dicom(uid.DeflatedExplicitVRLittleEndian),
    "png": lambda: picture("PNG"),
    "png-16": lambda: picture_bytes(phantom("covid", 1, SIDE, bits=16), "PNG"),
    "jpeg": lambda: picture("JPEG"),
    "jpeg-colour": lambda: picture("JPEG", "RGB"),
    "jpeg-progressive": lambda: picture("JPEG", progressive=True),
    "tiff": lambda: picture("TIFF"),
    "webp": lambda: picture("WEBP"),
    "gif": lambda: picture("GIF"),
    "bmp": lambda: picture("BMP"),
    "jp2": lambda: picture("JPEG2000"),
}


def zipped(method: int, *, nested: bool = False) -> bytes:
    files = members()
    if nested:
        files += [("in.zip", zipped(zipfile.ZIP_DEFLATED)), ("in.tgz", tarred("w:gz"))]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def tarred(mode: str, kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, data in members():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def sevened(**options: Any) -> bytes:
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w", **options) as archive:
        for name, data in members():
            archive.writestr(data, name)
    return buffer.getvalue()


@cache
def _members() -> tuple[tuple[str, bytes], ...]:
    return (("a/x.png", picture("PNG")), ("b.dcm", dicom()), ("ю.txt", b"words " * 50))


def members() -> list[tuple[str, bytes]]:
    return list(_members())


ARCHIVES: dict[str, Make] = {
    "zip": lambda: zipped(zipfile.ZIP_DEFLATED),
    "zip-stored": lambda: zipped(zipfile.ZIP_STORED),
    "zip-bzip2": lambda: zipped(zipfile.ZIP_BZIP2),
    "zip-lzma": lambda: zipped(zipfile.ZIP_LZMA),
    "zip-nested": lambda: zipped(zipfile.ZIP_DEFLATED, nested=True),
    "tar": lambda: tarred("w"),
    "tar-gnu": lambda: tarred("w", tarfile.GNU_FORMAT),
    "tar:gz": lambda: tarred("w:gz"),
    "tar:bz2": lambda: tarred("w:bz2"),
    "tar:xz": lambda: tarred("w:xz"),
    "tar:zst": lambda: zstd.compress(tarred("w")),
    "7z": sevened,
    "7z-copied": lambda: sevened(filters=[{"id": py7zr.FILTER_COPY}]),
    "gz": lambda: gzip.compress(picture("PNG")),
    "bz2": lambda: bz2.compress(dicom()),
    "xz": lambda: lzma.compress(dicom()),
}


def real(folder: Path) -> dict[str, bytes]:
    """The DICOM files of a folder that are small enough."""
    paths = [path for path in sorted(folder.glob("*.dcm")) if path.stat().st_size <= MAX_REAL]
    return {path.name: path.read_bytes() for path in paths}
