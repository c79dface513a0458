"""Reading ahead, by threads and by processes: order, bounds, problems, errors; and nvJPEG's arithmetic."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bench import gpu_nvjpeg
from bench.gpu_feed import Feed
from models.inputs import Pixels, to_input

SIZE = 8


def read(number: int) -> Pixels | str:
    """Of module level, so that it crosses to another process."""
    if number < 0:
        raise OSError("the store is away")
    return f"no {number}" if number % 5 == 4 else np.full((SIZE, SIZE), number % 256, np.uint8)


@pytest.mark.parametrize("processes", [0, 2])
def test_chunks_come_in_order_with_problems_in_their_places(processes: int) -> None:
    with Feed(read, SIZE, threads=3, processes=processes, count=20, depth=3) as feed:
        for items in (range(130), range(7), range(0)):
            seen = []
            for chunk in feed.chunks(items):
                assert chunk.inputs.shape == (len(chunk.items), SIZE, SIZE) and len(chunk.items) <= 20
                for place, number in enumerate(chunk.items):
                    problem = chunk.problems.get(place)
                    assert problem == (f"no {number}" if number % 5 == 4 else None)
                    assert problem or (chunk.inputs[place] == number).all()
                seen += chunk.items
            assert seen == list(items)
        with pytest.raises(OSError, match="the store is away"):
            list(feed.chunks([1, 2, -1, 3]))
        assert [chunk.items for chunk in feed.chunks([1, 2])] == [[1, 2]]


def test_no_more_is_read_ahead_than_the_ring_holds() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number

    with Feed(read, SIZE, count=4, depth=3) as feed:
        chunks = feed.chunks(items())
        next(chunks)
        assert len(asked) == 12
        next(chunks)
        assert len(asked) == 16
        chunks.close()


def test_a_reading_that_runs_when_the_rest_is_given_up_spoils_no_later_chunk() -> None:
    go = threading.Event()

    def slow(number: int) -> Pixels:
        if number == 7:
            go.wait()
        return np.full((SIZE, SIZE), number, np.uint8)

    with Feed(slow, SIZE, threads=2, count=4, depth=2) as feed:
        chunks = feed.chunks(range(8))
        next(chunks)
        threading.Timer(0.05, go.set).start()
        chunks.close()
        assert go.is_set()
        (chunk,) = feed.chunks([1, 1, 1, 1])
        assert (chunk.inputs == 1).all()


def test_the_cards_resizing_and_stretching_is_that_of_the_processor() -> None:
    chance = np.random.default_rng(3)
    shapes = [(50, 40), (64, 64), (50, 40), (33, 90)]
    made = [
        np.asarray(torch.nn.functional.interpolate(
            torch.from_numpy(chance.random((1, 1, 6, 6))), size=shape, mode="bicubic"
        )[0, 0].mul(220).clamp(0, 255).to(torch.uint8))
        for shape in shapes
    ]  # fmt: skip
    made.append(np.full((20, 30), 77, np.uint8))
    here = gpu_nvjpeg.to_inputs([torch.from_numpy(one)[None] for one in made], 24)
    for one, given in zip(made, here, strict=True):
        assert np.abs(given[0].numpy().astype(int) - to_input(one, 24).astype(int)).max() <= 3
