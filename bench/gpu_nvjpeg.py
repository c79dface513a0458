"""Derivatives to inputs on the card itself: nvJPEG decodes, the card resizes and stretches, as models.inputs does here.

A way that bench.gpu measures; the screening worker does not take it yet. nvJPEG and the card round a little
differently, so a grey may be one or two off, and a score a few thousandths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from models._torchvision import jpeg_decoder
from models.inputs import STRETCH


class CardDecoder:
    """Raises RuntimeError where nvJPEG cannot be had."""

    def __init__(self, size: int, crop: float, device: torch.device) -> None:
        self.size, self.crop, self.device = size, crop, device
        self.decode: Callable[[list[torch.Tensor], torch.device], list[torch.Tensor]] = jpeg_decoder()

    @torch.inference_mode()
    def __call__(self, files: Sequence[bytes]) -> torch.Tensor:
        """Inputs uint8 [N, 1, S, S] on the card. Raises RuntimeError where one of the files is no JPEG."""
        coded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
        return to_inputs(self.decode(coded, self.device), self.size, self.crop)


def to_inputs(pictures: Sequence[torch.Tensor], size: int, crop: float = 0.0) -> torch.Tensor:
    """`models.inputs.to_input` of pictures uint8 [1, H, W] on any device, as uint8 [N, 1, S, S].

    A crop is rounded to whole pixels here.
    """
    small = torch.empty(len(pictures), 1, size, size, dtype=torch.uint8, device=pictures[0].device)
    shapes = [tuple(picture.shape) for picture in pictures]
    for shape in set(shapes):
        places = [place for place, one in enumerate(shapes) if one == shape]
        top, left = round(crop * shape[1]), round(crop * shape[2])
        inner = (..., slice(top, shape[1] - top), slice(left, shape[2] - left))
        same = torch.stack([pictures[place][inner] for place in places]).float()
        resized = torch.nn.functional.interpolate(same, size=(size, size), mode="bilinear", antialias=True)
        small[places] = resized.round_().clamp_(0, 255).to(torch.uint8)
    return _stretch(small)


def _stretch(small: torch.Tensor) -> torch.Tensor:
    """The contrast of each picture between its STRETCH percentiles."""
    count = len(small)
    codes = small.flatten(1).long()
    steps = torch.arange(count, device=small.device)[:, None] * 256
    reached = torch.bincount((codes + steps).flatten(), minlength=256 * count).view(count, 256).cumsum(1)
    places = torch.tensor(STRETCH, dtype=torch.float64, device=small.device) / 100 * (codes.shape[1] - 1)
    share = places - places.floor()
    wanted = places.floor().long().expand(count, 2).contiguous()
    below = torch.searchsorted(reached, wanted, right=True).double()
    above = torch.searchsorted(reached, wanted + 1, right=True).clamp(max=255).double()
    ends = below + (above - below) * share
    low, high = ends[:, :1], ends[:, 1:]
    greys = torch.arange(256, dtype=torch.float64, device=small.device)
    span = high - low
    table = ((greys - low) * (255 / span.clamp(min=1)) + 0.5).clamp(0, 255).floor()
    table[(span < 1).flatten()] = 128
    return table.to(torch.uint8).gather(1, codes).view(small.shape)
