"""Seeded damage to the bytes of a file: what cut lines, bad disks and hostile people do to one."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

EXTREMES = (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\x80", b"\xff" * 8, b"\0\0\0\x80")
LENGTHS = (1, 2, 4, 100, 512, 4096)
# Headers are where a change does most; half of all changes fall within so many bytes of the start or the end.
HEADER = 1500

Mutation = Callable[[bytearray, int, random.Random, bytes], None]


def _bit(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    data[at] = rng.randrange(256)


def _cut(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    del data[at:]


def _gap(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    del data[at : at + rng.choice(LENGTHS)]


def _noise(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    data[at:at] = rng.randbytes(rng.choice(LENGTHS))


def _hole(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    length = min(rng.choice(LENGTHS), len(data) - at)
    data[at : at + length] = bytes(length)


def _extreme(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    extreme = rng.choice(EXTREMES)
    data[at : at + len(extreme)] = extreme


def _length_field(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    """Two or four bytes that are read as a number become one nearby, half, double, or the rest of the file."""
    kind = rng.choice(("<H", ">H", "<I", ">I"))
    size = struct.calcsize(kind)
    if at + size > len(data):
        return
    (value,) = struct.unpack_from(kind, data, at)
    values = (value + 1, value - 1, 2 * value, value // 2, value ^ 0x80, len(data), len(data) - at)
    struct.pack_into(kind, data, at, rng.choice(values) % (1 << (8 * size)))


def _copied(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    source, length = rng.randrange(len(data)), rng.choice(LENGTHS)
    data[at : at + length] = data[source : source + length]


def _repeated(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    block = data[at : at + rng.choice(LENGTHS)]
    data[at:at] = block * rng.choice((1, 2, 50))


def _swapped(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    length = rng.choice(LENGTHS)
    data[at : at + 2 * length] = data[at + length : at + 2 * length] + data[at : at + length]


def _spliced(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    """From here on the file is another one."""
    data[at:] = other[rng.randrange(len(other)) :]


MUTATIONS: tuple[Mutation, ...] = (
    _bit,
    _byte,
    _cut,
    _gap,
    _noise,
    _hole,
    _extreme,
    _length_field,
    _length_field,
    _copied,
    _repeated,
    _swapped,
    _spliced,
)


def mutated(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """One to eight changes; `other` is a file to splice with."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not changed:
            break
        at = rng.randrange(len(changed))
        if rng.random() < 0.5:
            at = min(len(changed) - 1, rng.randrange(HEADER))
            at = rng.choice((at, at, len(changed) - 1 - at))
        rng.choice(MUTATIONS)(changed, at, rng, other)
    return bytes(changed)
