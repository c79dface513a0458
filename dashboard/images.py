"""Pictures: the original ready for the eye, the small derivative, and the heat map over it."""

from __future__ import annotations

import hashlib
import io
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from flask import Blueprint, Response, abort, jsonify, request
from flask_babel import gettext
from PIL import Image as Pillow

from cxrscreen import blobs, db, imaging, queue, registry, sources, studies, workers
from cxrscreen.imaging import Frame
from cxrscreen.imaging.reasons import Rejected
from cxrscreen.tables import Image, Result
from dashboard import forms, heat
from dashboard.hidden import is_hidden

blueprint = Blueprint("images", __name__, url_prefix="/images")

# A page waits this long for a map; a worker turns to it between two batches.
WAIT_SECONDS = 60
MISSING = "The original file is missing, or is no longer the one that was screened."


@blueprint.get("/<id:image_id>/picture.<any(png,jpg):kind>")
def picture(image_id: int, kind: str) -> Response:
    """The whole picture as 8-bit grey, made by the code that screening and training read pixels with."""
    with db.read() as session:
        image = studies.image(session, image_id)
    tag = f"{image.sha256}-{image.frame}-{imaging.PREPROCESSING}-{kind}"
    if known := not_modified(tag):
        return known
    return _picture(_encode(opened(image).display(), kind), f"image/{'png' if kind == 'png' else 'jpeg'}", tag)


@blueprint.get("/<id:image_id>/thumb.jpg")
def thumb(image_id: int) -> Response:
    with db.read() as session:
        image = studies.image(session, image_id)
    if known := not_modified(image.derivative):
        return known
    try:
        data = blobs.store().get("derivatives", image.derivative)
    except FileNotFoundError:
        abort(404, "The small picture is not in the store.")
    return _picture(data, "image/jpeg", image.derivative)


@blueprint.get("/<id:image_id>/heat.png")
def heat_map(image_id: int) -> Response:
    """Where the score came from, to be laid over the picture: transparent where nothing spoke for it."""
    image, result = _asked(image_id)
    if result is None or not result.heat:
        abort(404, "There is no heat map of this image under this model version.")
    tag = hashlib.sha256(result.heat).hexdigest()[:32]
    if known := not_modified(tag):
        return known
    try:
        drawn = heat.overlay(result.heat, image.width, image.height)
    except ValueError:
        abort(404, "The stored heat map is damaged.")
    return _picture(_saved(drawn, "PNG"), "image/png", tag)


@blueprint.get("/<id:image_id>/heat.json")
def heat_state(image_id: int) -> Response:
    """Whether the map is there, will be, or cannot be: an open page asks until it knows."""
    _, result = _asked(image_id)
    return jsonify(state="none" if result is None or result.heat == b"" else "made" if result.heat else "waiting")


@blueprint.post("/<id:image_id>/heat")
def make_heat(image_id: int) -> tuple[Response, int]:
    """Have a worker make the map of a result that came from features; 503 with a sentence where none is there to."""
    _, result = _asked(image_id)
    if result is not None and result.heat is None:
        with db.read() as session:
            alive = workers.alive(session, "screen")
        if not alive or not queue.submit(queue.HEAT, result.id, expires=WAIT_SECONDS):
            return jsonify(error=gettext("No screening worker answers, so the heat map cannot be made now.")), 503
    return jsonify(seconds=WAIT_SECONDS), 202


def _asked(image_id: int) -> tuple[Image, Result | None]:
    """The image and its result of the version the address names, or of the one in use; none where it is read blind."""
    with db.read() as session:
        image = studies.image(session, image_id)
        version = forms.query_whole("model")
        if version is None:
            active = registry.active(session)
            version = active.id if active else -1
        if is_hidden(session, studies.get(session, image.study_id)):
            return image, None
        return image, studies.result(session, image_id, version)


def opened(image: Image) -> Frame:
    """The image's frame, decoded from the original; the answer 404 with a sentence where there is none to show."""
    data = original(image)
    if data is None:
        abort(404, MISSING)
    try:
        frame = next(islice(imaging.frames(data), image.frame, None), None)
    except Rejected as refused:
        abort(404, f"The original cannot be shown: {refused}")
    if frame is None:
        abort(404, MISSING)
    return frame


def original(image: Image) -> bytes | None:
    """The bytes that were screened; None where they are gone or are others now."""
    try:
        data = sources.original(image.path, image.sha256)
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == image.sha256 else None


def original_is_there(image: Image) -> bool:
    """A quick look, without the hash."""
    return sources.is_there(image.path) if image.path else blobs.store().exists("originals", image.sha256)


def _encode(pixels: npt.NDArray[np.uint8], kind: str) -> bytes:
    drawn = Pillow.fromarray(pixels)
    if kind == "png":
        return _saved(drawn, "PNG", compress_level=1)  # a tenth larger than level 6, in a quarter of its time
    return _saved(drawn, "JPEG", quality=95)


def _saved(drawn: Pillow.Image, form: str, **options: Any) -> bytes:
    held = io.BytesIO()
    drawn.save(held, form, **options)
    return held.getvalue()


def not_modified(tag: str) -> Response | None:
    if request.if_none_match.contains(tag):
        return kept(Response(status=304), tag)
    return None


def _picture(data: bytes, content_type: str, tag: str) -> Response:
    return kept(Response(data, content_type=content_type), tag)


def kept(response: Response, tag: str) -> Response:
    """A browser may keep it, but asks each time: after the sign-out there is nothing to see."""
    response.set_etag(tag)
    response.headers["Cache-Control"] = "private, no-cache"
    return response
