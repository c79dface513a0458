"""Charts as numbers: where bars and ticks stand in a drawing of WIDTH by HEIGHT units. `drawing.html` draws them.

No library and no script (docs/decisions/0018): the pages' policy allows no style within a drawing, and the style sheet
knows the theme, the paper and the patterns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

WIDTH, HEIGHT = 560.0, 200.0
LEFT, TOP, RIGHT, BOTTOM = 46.0, 8.0, 8.0, 26.0  # margins, for the numbers of the axes
ROUND = (1, 2, 5, 10)
TICKS = 4  # above zero, at most


@dataclass(frozen=True)
class Frame:
    """The plane within the margins."""

    width: float = WIDTH
    height: float = HEIGHT

    @property
    def right(self) -> float:
        return self.width - RIGHT

    @property
    def foot(self) -> float:
        return self.height - BOTTOM

    def x(self, share: float) -> float:
        return round(LEFT + share * (self.right - LEFT), 1)

    def y(self, share: float) -> float:
        return round(self.foot - share * (self.foot - TOP), 1)


@dataclass(frozen=True)
class Square(Frame):
    """A plane whose sides are equally long, for two shares against each other."""

    width: float = 270.0
    height: float = 250.0

    @property
    def ticks(self) -> list[tuple[float, float]]:
        return [(self.y(share / 4), share / 4) for share in range(5)]


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    value: float


@dataclass(frozen=True)
class Bars:
    """Bars from left to right, and the ticks of their axis as (place, number)."""

    frame: Frame
    bars: list[Bar]
    ticks: list[tuple[float, float]]
    left: float = LEFT
    top: float = TOP


def bars(
    values: Sequence[float], *, axis: Literal["linear", "log"] = "linear", top: float | None = None, gap: float = 0.16
) -> Bars:
    """Bars of equal width; `top` is the value of the full height where several charts share one scale."""
    frame = Frame()
    most = max([*values, top or 0, 1])
    end, steps = _scale(most, axis)
    wide = 1 / max(len(values), 1)

    def height(value: float) -> float:
        if axis == "log":
            return math.log10(1 + value) / math.log10(1 + end)
        return value / end

    drawn = []
    for place, value in enumerate(values):
        x, y = frame.x(wide * (place + gap / 2)), frame.y(height(value))
        # What is there is seen: a bar that is not empty is half a unit high at least.
        tall = max(frame.foot - y, 0.5) if value else 0.0
        across = round(wide * (1 - gap) * (frame.right - LEFT), 1)
        drawn.append(Bar(x, round(frame.foot - tall, 1), across, round(tall, 1), value))
    return Bars(frame, drawn, [(frame.y(height(step)), step) for step in steps])


def _scale(most: float, axis: str) -> tuple[float, list[float]]:
    """The end of an axis and its round numbers."""
    if axis == "log":
        decades = max(1, math.ceil(math.log10(most)))
        every = max(1, math.ceil(decades / 4))
        return most, [0.0, *(float(10**power) for power in range(0, decades + 1, every) if 10**power <= most)]
    power = 10 ** math.floor(math.log10(most / TICKS))
    step = max(1, next(times * power for times in ROUND if times * power * TICKS >= most))
    count = math.ceil(most / step)
    return step * count, [step * place for place in range(count + 1)]
