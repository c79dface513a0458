"""The heat map of a result that came from features: one forward pass of one picture, when a page asks for it."""

from __future__ import annotations

import logging

import numpy as np
import torch

from cxrscreen import db, studies
from cxrscreen.batches import Picture
from cxrscreen.tables import Image, Result
from worker import look, pixels

log = logging.getLogger(__name__)


def run(result_id: int) -> None:
    """Make the map and keep it with its result; of a result that has one, or that is gone, nothing.

    What stands in the way (a damaged bundle, a store that is away) is logged; the page that asked says that nothing
    came, and may ask again.
    """
    with db.read() as session:
        result = session.get(Result, result_id)
        if result is None or result.heat is not None:
            return
        image = session.get_one(Image, result.image_id)
        picture = Picture(*(getattr(image, name) for name in Picture._fields))
    try:
        screener = look.network(result.model_version_id)
        held = pixels.network_input(picture, screener.size, screener.crop)
        if isinstance(held, pixels.Missing):
            log.warning("No heat map of image %s: %s", image.id, held.detail)
            return
        [made] = screener.predict_inputs(torch.from_numpy(held[None, None].astype(np.uint8))).heat
    except Exception:
        # A page's wish ends no worker.
        log.exception("No heat map of image %s", image.id)
        return
    with db.write() as session:
        studies.keep_heat(session, result_id, made)
