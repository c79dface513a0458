"""Draws the synthetic chests of `phantoms`: each organ adds or takes away along the beam, as in a real radiograph.

Coordinates are the picture's: x from -1, the patient's right, to 1; y from -1, the neck, to 1. u is |x|. All maps are
float32 [side, side]; grey is what the summed map amounts to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Map = NDArray[np.floating[Any]]

RIGHT, LEFT = -1, 1  # of the patient: the picture's left is the patient's right
_TORSO_Y = (-1.0, -0.93, -0.86, -0.78, -0.68, -0.55, -0.4, -0.2, 0.3, 0.7, 1.0)
_TORSO_W = (0.20, 0.21, 0.30, 0.62, 0.95, 1.06, 0.98, 0.90, 0.86, 0.86, 0.89)


@dataclass
class Chest:
    """One person on one day: pose and build, drawn from a seed."""

    rng: np.random.Generator
    side: int

    def __post_init__(self) -> None:
        draw = self.rng.uniform
        self.build = float(draw(0.94, 1.06))  # width of the torso
        self.breath = float(draw(-0.06, 0.06))  # how high the diaphragm stands
        self.heart_size = float(draw(0.88, 1.14))
        self.x, self.y = self._grid(draw(-4.0, 4.0), draw(0.96, 1.06), draw(-0.05, 0.05), draw(-0.04, 0.04))
        self.u = np.abs(self.x)
        self.lungs = {side: self._lung(side) for side in (RIGHT, LEFT)}
        self.air = self.lungs[RIGHT] + self.lungs[LEFT]
        self.heart = self._heart()
        self.free = self.air * (1 - self.heart)  # lung with nothing dense before or behind it

    def _grid(self, degrees: float, scale: float, right: float, down: float) -> tuple[Map, Map]:
        line = np.linspace(-1, 1, self.side, dtype=np.float32)
        x, y = np.meshgrid(line, line)
        turn = np.deg2rad(degrees)
        across = (x * np.cos(turn) + y * np.sin(turn)) * scale - right
        along = (y * np.cos(turn) - x * np.sin(turn)) * scale - down
        return as_map(across / self.build), as_map(along)

    def _outer(self, y: Map) -> Map:
        """The chest wall's inside, as a distance from the midline."""
        return as_map(0.74 * np.sqrt(np.clip(1 - ((y - 0.17) / 0.93) ** 2, 0, 1)))

    def diaphragm(self, side: int) -> Map:
        height = 0.50 + self.breath + (0.045 if side == LEFT else 0.0)
        bend = (self.u - 0.30) / 0.40
        return as_map(height + 0.13 * bend**2 + 0.07 * np.clip(bend, 0, 2) ** 4)

    def _lung(self, side: int) -> Map:
        inside = soft(self._outer(self.y) - self.u, 0.012) * soft(side * self.x - 0.11, 0.02)
        return inside * soft(self.diaphragm(side) - self.y, 0.012) * soft(self.y + 0.70, 0.03)

    def blob(self, x: float, y: float, rx: float, ry: float, edge: float = 0.04, degrees: float = 0.0) -> Map:
        """An ellipse of ones with a soft edge."""
        turn = np.deg2rad(degrees)
        dx, dy = self.x - x, self.y - y
        across, along = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        return soft(1 - np.sqrt((across / rx) ** 2 + (along / ry) ** 2), edge / min(rx, ry))

    def beam(self) -> Map:
        """What the beam meets in a healthy chest."""
        y, u, air = self.y, self.u, self.air
        width = as_map(np.interp(y, _TORSO_Y, _TORSO_W))
        torso = soft(width - u, 0.012)
        total = torso * (0.30 + 0.30 * np.sqrt(np.clip(1 - (u / width) ** 2, 0, 1)))
        total += 0.10 * torso * soft(u - 0.62, 0.08) * soft(-0.2 - y, 0.12)  # shoulder muscle
        total -= air * (0.30 + 0.14 * np.sqrt(np.clip(u / 0.4, 0, 1)))
        total += 0.10 * torso * soft(y - self.diaphragm(RIGHT) - 0.02, 0.05)  # liver, spleen, bowel
        total += self._midline(torso)
        total += self._bones(torso)
        total += self._vessels()
        return as_map(total)

    def _heart(self) -> Map:
        size = self.heart_size
        left = self.blob(0.12, 0.27, 0.37 * size, 0.25 * size, 0.035, 32)
        return np.maximum(left, self.blob(-0.10, 0.25, 0.16 * size, 0.24, 0.03))

    def _midline(self, torso: Map) -> Map:
        y, u = self.y, self.u
        total = self.heart * (0.07 + 0.37 * self.air) * soft(0.66 - y, 0.05)
        total += 0.07 * soft(0.125 - u, 0.02) * torso * soft(y + 0.8, 0.1)  # mediastinum
        total += (0.03 + 0.3 * self.air) * self.blob(0.12, -0.25, 0.11, 0.12, 0.02)  # aortic arch
        total -= 0.15 * soft(0.036 - np.abs(self.x + 0.012), 0.008) * soft(-0.22 - y, 0.05)  # trachea
        total += 0.10 * self.blob(-0.19, 0.03, 0.10, 0.16, 0.05) + 0.10 * self.blob(0.20, -0.02, 0.09, 0.14, 0.05)
        if self.rng.random() < 0.6:
            total -= 0.16 * self.blob(0.38, float(self.rng.uniform(0.68, 0.74)), 0.13, 0.07, 0.02)  # stomach bubble
        return as_map(total)

    def _bones(self, torso: Map) -> Map:
        y, u = self.y, self.u
        spacing = float(self.rng.uniform(0.125, 0.14))
        phase = float(self.rng.uniform(0, spacing))
        within = soft(self._outer(y) + 0.05 - u, 0.012) * torso * soft(y + 0.76, 0.03) * soft(0.86 - y, 0.05)
        back = y + 0.07 * np.sin(np.pi * np.clip(u / 0.62, 0, 1)) - 0.9 * np.clip(u - 0.42, 0, 1) ** 2
        front = y - 0.42 * (0.72 - u) - 0.9 * np.clip(u - 0.6, 0, 1) ** 2
        total = 0.085 * rib(back - phase, spacing, 0.30) * within * soft(u - 0.10, 0.02)
        total += 0.05 * rib(front - phase - 0.04, spacing, 0.36) * within * soft(u - 0.34, 0.05)
        bone = soft(0.026 - np.abs(y + 0.56 + 0.24 * u - 0.07 * np.sin(7.0 * u)), 0.008)
        total += 0.13 * bone * soft(u - 0.07, 0.01) * soft(0.72 - u, 0.02)  # clavicles
        for side in (RIGHT, LEFT):
            blade = self.blob(side * 0.73, -0.36, 0.11, 0.30, 0.02, -side * 16)
            total += 0.05 * blade + 0.06 * self.blob(side * 0.88, -0.58, 0.12, 0.11, 0.02)  # scapula, humerus
        discs = 0.75 + 0.25 * np.cos(2 * np.pi * y / 0.155)
        total += 0.06 * soft(0.075 - u, 0.012) * discs * torso
        return as_map(total)

    def _vessels(self) -> Map:
        """Vessels that branch from the hila and thin out towards the chest wall."""
        size = self.side
        sheet = Image.new("L", (size, size))
        pen = ImageDraw.Draw(sheet)
        for side, hilum in ((RIGHT, (-0.17, 0.04)), (LEFT, (0.19, 0.0))):
            for _ in range(18):
                angle = float(self.rng.uniform(-1.35, 1.35))
                start = (hilum[0] + float(self.rng.normal(0, 0.025)), hilum[1] + float(self.rng.normal(0, 0.05)))
                self._branch(pen, start, angle, side, float(self.rng.uniform(0.007, 0.013)), 3)
        smooth = np.asarray(sheet.filter(ImageFilter.GaussianBlur(size / 300)), np.float32) / 255
        return as_map(0.11 * smooth * self.free)

    def _branch(
        self, pen: ImageDraw.ImageDraw, start: tuple[float, float], angle: float, side: int, width: float, depth: int
    ) -> None:
        length = float(self.rng.uniform(0.12, 0.24))
        end = (start[0] + side * length * np.cos(angle), start[1] + length * np.sin(angle))
        half = self.side / 2
        points = [((px + 1) * half, (py + 1) * half) for px, py in (start, end)]
        pen.line(points, fill=round(100 + 35 * depth), width=max(1, round(width * half)))
        if depth:
            for bend in self.rng.uniform(-0.5, 0.5, size=2):
                self._branch(pen, end, angle + float(bend), side, width * 0.62, depth - 1)

    def clouds(self, coarsest: int, octaves: int) -> Map:
        """Smooth noise of mean 0 and deviation about 1."""
        total = np.zeros((self.side, self.side), np.float32)
        for octave in range(octaves):
            cells = coarsest * 2**octave
            grain = self.rng.standard_normal((cells, cells)).astype(np.float32)
            wide = Image.fromarray(grain).resize((self.side, self.side), Image.Resampling.BICUBIC)
            total += np.asarray(wide, np.float32) / 1.8**octave
        return as_map(total / total.std())


def as_map(values: NDArray[Any] | np.floating[Any]) -> Map:
    return np.asarray(values, dtype=np.float32)


def soft(inside: Map, edge: float) -> Map:
    """1 where `inside` is well above 0, 0 well below, with an edge of that width."""
    return as_map(0.5 + 0.5 * np.tanh(inside / (2 * edge)))


def rib(along: Map, spacing: float, share: float) -> Map:
    """Bands across `along`, each a `share` of the spacing wide, brighter at their edges as cortical bone is."""
    place = np.abs((along / spacing + 0.5) % 1 - 0.5) / (share / 2)
    return as_map(soft(1 - place, 0.10) * (0.7 + 0.3 * np.clip(place, 0, 1) ** 4))
