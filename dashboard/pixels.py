"""The samples of one image as they are stored, for the viewer to window; gzip as they go, one frame in memory."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
from flask import Blueprint, Response, request

from cxrscreen import db, imaging, studies
from cxrscreen.imaging import Frame
from cxrscreen.imaging.frame import codes_of, strips
from dashboard.images import kept, not_modified, opened
from dashboard.windows import Windows, windows_of

blueprint = Blueprint("pixels", __name__, url_prefix="/images")

# What the viewer has to know before the first byte: one small JSON object of numbers.
DESCRIPTION = "X-Pixels"
# Pictures that are decoded at once; the others wait, so that eight readers do not ask for eight pictures' memory.
_decoding = threading.BoundedSemaphore(2)


@blueprint.get("/<id:image_id>/pixels")
def pixels(image_id: int) -> Response:
    """The table of greys (256 or 65,536 bytes, one for each code), then the samples [H, W], little-endian, row by row.

    The header X-Pixels holds `width`, `height`, `bits` of a sample as it comes (8 or 16), `signed`, and the windows of
    `dashboard.windows`. Nothing else of the file is told.
    """
    with db.read() as session:
        image = studies.image(session, image_id)
    packed = request.accept_encodings.quality("gzip") > 0
    # The code that reads pixels has an id, so a new release does not show the old one's tones.
    tag = f"{image.sha256}-{image.frame}-{imaging.PREPROCESSING}-{'gzip' if packed else 'plain'}"
    response = not_modified(tag)
    if response is None:
        with _decoding:
            frame = opened(image)
            description = describe(frame, windows_of(frame))
        body = _samples(frame)
        response = Response(_packed(body) if packed else body, content_type="application/octet-stream")
        response.headers[DESCRIPTION] = description
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        response = kept(response, tag)
    response.vary.add("Accept-Encoding")
    return response


def describe(frame: Frame, windows: Windows) -> str:
    height, width = frame.stored.shape
    told = {
        "width": width,
        "height": height,
        "bits": 8 * frame.stored.dtype.itemsize,
        "signed": frame.stored.dtype.kind == "i",
    }
    return json.dumps({**told, **asdict(windows)})


def _samples(frame: Frame) -> Iterator[bytes]:
    yield frame.tones.tobytes()
    codes = codes_of(frame.stored)
    for rows in strips(codes.shape):
        yield np.ascontiguousarray(codes[rows], dtype=codes.dtype.newbyteorder("<")).tobytes()


def _packed(parts: Iterator[bytes]) -> Iterator[bytes]:
    """A gzip stream at its quickest level: a third of a radiograph's bytes, in less time than a network takes."""
    pack = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for part in parts:
        if packed := pack.compress(part):
            yield packed
    yield pack.flush()
