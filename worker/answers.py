"""From what a model says of images to what is written of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxrscreen.batches import Answer, Picture
from cxrscreen.features import Seen
from cxrscreen.imaging import PREPROCESSING, Reason
from cxrscreen.tables import now
from models import bundle


def answers(
    screener: bundle.Screener, images: Sequence[Picture], said: bundle.Predictions, *, keep: bool
) -> list[Answer]:
    """One answer an image: a result, or a rejection where it is unlike everything the model was trained on.

    `keep` hands over what the network saw too, where the bundle says in which space that lies.
    """
    names = [part["name"] for part in screener.record["subclasses"]]
    space = screener.record.get("feature_space") if keep else None
    moment = now()
    made = []
    # Six places are what people may compare; rounded for all images at once.
    shares = said.subclass_p.astype(np.float64).round(6).tolist()
    for row, image in enumerate(images):
        seen = Seen(space, said.features[row]) if space else None
        distance = None if said.distance is None else float(said.distance[row])
        if distance is not None and screener.unlike(distance):
            detail = f"distance {distance:.2f}"
            made.append(Answer(image.id, reason=Reason.UNLIKE_TRAINING, detail=detail, seen=seen))
            continue
        result: dict[str, Any] = {
            "label": said.label[row],
            "subclass": said.subclass[row],
            "score": float(said.score[row]),
            "probabilities": dict(zip(names, shares[row], strict=True)),
            "distance": distance,
            "preprocessing": PREPROCESSING,
            "heat": said.heat[row],
            "created_at": moment,
        }
        made.append(Answer(image.id, result, seen=seen))
    return made
