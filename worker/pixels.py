"""What the screening worker reads: an image's derivative, or, where the store has lost it, the original once more.

Without torch, so that a process that only decodes starts quickly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscreen import blobs, sources
from cxrscreen.batches import Picture
from cxrscreen.imaging import Rejected, decode, prepare
from cxrscreen.settings import get_settings
from models.inputs import to_input
from worker import stop

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Missing:
    """An image whose pixels cannot be had, although the store is there."""

    detail: str


def network_input(image: Picture, size: int, crop: float) -> Pixels | Missing:
    """The network's input [size, size]."""
    held = _pixels(image)
    return held if isinstance(held, Missing) else to_input(held, size, crop)


def _pixels(image: Picture) -> Pixels | Missing:
    """The image's derivative; where the store has lost it, it is made again from the original."""
    if image.sha256 == get_settings().deadly_sha256:
        stop.die()
    held = _read(image)
    if isinstance(held, Missing):
        # Lost, or the store was away for just that long: it is there now, so a second look decides.
        blobs.store().require()
        held = _read(image)
    return held


def _read(image: Picture) -> Pixels | Missing:
    store = blobs.store()
    try:
        return decode(store.get("derivatives", image.derivative))
    except FileNotFoundError:
        store.require()
    try:
        data = sources.original(image.path, image.sha256)
        for frame in prepare(data, image.name):
            if frame.index == image.frame and frame.derivative is not None:
                store.put("derivatives", frame.derivative, durable=False)
                return decode(frame.derivative)
    except (FileNotFoundError, Rejected) as error:
        return Missing(str(error))
    return Missing(f"frame {image.frame} is no longer in the file")
