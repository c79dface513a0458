"""The whole seam: from the bytes of a file to derivatives, or to the reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cxrscreen.imaging import gate
from cxrscreen.imaging.derivative import MAX_SIDE, encode
from cxrscreen.imaging.facts import Facts
from cxrscreen.imaging.read import open_source
from cxrscreen.imaging.reasons import Rejected

# A picture may be decoded at a fraction of its size, as long as no side falls under the derivative's (decision 24).
DECODED_SIDE = MAX_SIDE


@dataclass(frozen=True)
class Prepared:
    """Frame `index` of `count`: its facts and derivative, or why that frame is refused."""

    index: int
    count: int
    facts: Facts | None
    derivative: bytes | None
    refused: Rejected | None


def prepare(data: bytes, name: str = "", least_age: float = 0) -> Iterator[Prepared]:
    """The frames of a file in order, each decoded once and let go before the next.

    Raises Rejected for the file as a whole: before the first frame where its tags or its length tell, later where
    damage shows only then. So take what is yielded as accepted only once the iteration has ended. A frame that is
    merely unfit, such as a blank one, is yielded with its reason and the others go on. Patients known
    to be younger than `least_age` years are refused.
    """
    source = open_source(data)
    source.check_complete()
    gate.check_tags(source.facts, least_age)
    for frame in source.frames(DECODED_SIDE):
        display = frame.display()
        try:
            gate.check_pixels(frame, display)
        except Rejected as refused:
            yield Prepared(frame.index, frame.count, frame.facts, None, refused.bare())
        else:
            yield Prepared(frame.index, frame.count, frame.facts, encode(display), None)
