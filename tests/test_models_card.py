"""The engine of a graphics card, here on a processor: pieces, padding and slots change no answer, nor does a full
memory; 16 bits change it little. With a card the same tests run on it too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.running import card, engine
from models.running.card import CardEngine, HalfPass
from models.running.passes import Pass, Said
from models.transfer import Network, channels_last

SIZE = 64
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(scope="module", params=DEVICES)
def whole(request: pytest.FixtureRequest) -> Pass:
    torch.manual_seed(1)
    network = channels_last(Network("regnetx_002", 5).eval()).to(request.param)
    return Pass(network, 0.5, 0.25, np.array([1, 3]), 1.3, True)


def pictures(count: int) -> torch.Tensor:
    chance = torch.Generator().manual_seed(2)
    coarse = torch.rand(count, 1, 8, 8, generator=chance)
    return (torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear") * 255).to(torch.uint8)


def same(one: Said, other: Said, apart: float) -> None:
    for first, second in zip(one, other, strict=True):
        assert first is not None and second is not None
        assert first.shape == second.shape
        np.testing.assert_allclose(first, second, atol=apart, rtol=apart)


@pytest.mark.parametrize("count", [1, 4, 5, 8, 21])
def test_pieces_and_their_padding_change_no_answer(whole: Pass, count: int) -> None:
    said = CardEngine(whole, SIZE, pieces=(2, 4))(pictures(count))
    same(said, engine.TorchEngine(whole)(pictures(count)), 2e-3)


def test_slots_are_used_again_and_nothing_of_earlier_calls_shows(whole: Pass) -> None:
    made = CardEngine(whole, SIZE, pieces=(2, 4))
    first = made(pictures(21))
    made(255 - pictures(21))
    assert {count: len(ring) for count, ring in made.slots.items()} == {2: 2, 4: card.SLOTS}
    same(made(pictures(21)), first, 0)
    assert made(pictures(3)[:1])[0].shape == (1, 5)


def test_pictures_that_lie_on_the_card_already(whole: Pass) -> None:
    made = CardEngine(whole, SIZE, pieces=(4,))
    same(made(pictures(6).to(made.device)), made(pictures(6)), 1e-5)


def test_a_full_memory_halves_the_pieces_and_loses_no_picture(
    whole: Pass, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = CardEngine(whole, SIZE, pieces=(2, 8))
    start = card.Slot.start

    def full(slot: card.Slot, piece: torch.Tensor) -> None:
        if len(slot.host) > 2:
            raise torch.OutOfMemoryError("no room")
        start(slot, piece)

    monkeypatch.setattr(card.Slot, "start", full)
    said = made(pictures(11))
    assert made.pieces == (2,) and made.chunk == 2
    assert "pieces of 4 pictures" in caplog.text and "pieces of 2 pictures" in caplog.text
    monkeypatch.undo()
    same(said, engine.TorchEngine(whole)(pictures(11)), 2e-3)


def test_a_memory_that_is_full_with_one_picture_is_an_error(whole: Pass, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(card.Slot, "start", full)
    with pytest.raises(torch.OutOfMemoryError):
        CardEngine(whole, SIZE, pieces=(4,))(pictures(3))


def test_sixteen_bits_say_nearly_the_same_and_leave_the_network_as_it_is(whole: Pass) -> None:
    before = {name: tensor.dtype for name, tensor in whole.state_dict().items()}
    half = CardEngine(HalfPass(whole), SIZE, pieces=(8,))(pictures(8))
    assert all(part is not None and part.dtype == np.float32 for part in half)
    same(half, engine.TorchEngine(whole)(pictures(8)), 2e-2)
    assert {name: tensor.dtype for name, tensor in whole.state_dict().items()} == before


def test_the_choice_on_a_card(whole: Pass, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offered as on a card, the quickest of what agrees is taken."""
    agrees: dict[str, Callable[[], engine.Engine]] = {
        "card": lambda: CardEngine(whole, SIZE, pieces=(16,)),
        "half": lambda: CardEngine(HalfPass(whole), SIZE, pieces=(16,)),
    }
    limits = {"card": 1e-3, "half": -1.0}
    monkeypatch.setattr(engine, "_offered", lambda *_: {name: (make, limits[name]) for name, make in agrees.items()})
    rates = {"torch": 1.0, "card": 2.0, "half": 3.0}
    monkeypatch.setattr(engine, "_rate", lambda one, _: rates[one.name])
    assert engine.choose("auto", whole, SIZE, 1, 1).name == "card"
    limits["half"] = 1.0
    assert engine.choose("auto", whole, SIZE, 1, 1).name == "half"
    assert engine.choose("card", whole, SIZE, 1, 1).name == "card"
    assert engine.choose("torch", whole, SIZE, 1, 1).name == "torch"
