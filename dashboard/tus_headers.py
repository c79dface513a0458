"""What the headers of a tus request say, and the refusals that the protocol gives a status of their own."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from flask import request

from cxrscreen.errors import CxrscreenError, UsageError

CHECKSUMS = {"sha1": "sha1", "sha256": "sha256"}


class OtherVersion(CxrscreenError):
    http_status = 412


class NotBytes(CxrscreenError):
    http_status = 415


class TooLarge(CxrscreenError):
    http_status = 413


class NoRoom(CxrscreenError):
    http_status = 507


class Mangled(CxrscreenError):
    """The bytes are not those that the client's checksum is of. tus gives this a status of its own."""

    http_status = 460


def count(header: str) -> int:
    value = request.headers.get(header, "")
    if not value.isascii() or not value.isdigit() or len(value) > 15:
        raise UsageError(f"The header {header} is missing or no number of bytes.")
    return int(value)


def metadata() -> dict[str, str]:
    """`key base64, key base64`: names as bytes of UTF-8, which some clients get wrong."""
    told: dict[str, Any] = {}
    for pair in request.headers.get("Upload-Metadata", "").split(","):
        key, _, value = pair.strip().partition(" ")
        try:
            told[key] = base64.b64decode(value, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise UsageError("The header Upload-Metadata cannot be read.") from None
    return told


def checksum() -> tuple[str, bytes] | None:
    """Name and digest of the checksum that the client announces, or None."""
    value = request.headers.get("Upload-Checksum")
    if value is None:
        return None
    name, _, encoded = value.strip().partition(" ")
    try:
        return CHECKSUMS[name], base64.b64decode(encoded, validate=True)
    except (KeyError, binascii.Error):
        raise UsageError(f"The checksum cannot be read; this server knows {' and '.join(CHECKSUMS)}.") from None
