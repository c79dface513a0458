"""DICOM frames in JPEG of 12 bits: read, and refused where they are damaged."""

from __future__ import annotations

import struct
from functools import cache
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from cxrscreen.imaging import Reason, Rejected, prepare, read
from cxrscreen.imaging.phantom_files import dicom_bytes
from cxrscreen.imaging.phantoms import phantom

SIDE = 128
# Codes of no use to anybody who wants a small file: of 5 bits for DC; for AC 128 of 8 bits and as many of 9.
DC = [(code, 5) for code in range(16)]
AC = [(code, 8) for code in range(128)] + [(code, 9) for code in range(256, 384)]
ZIGZAG = sorted(
    ((row, column) for row in range(8) for column in range(8)),
    key=lambda at: (sum(at), at[1 - sum(at) % 2]),
)


def _coefficients(samples: np.ndarray) -> np.ndarray:
    """Of each block of 8 x 8 the 64 coefficients (T.81 A.3.3), in the order of A.3.6."""
    waves = np.cos(np.outer(np.arange(8), 2 * np.arange(8) + 1) * np.pi / 16) / 2
    waves[0] /= np.sqrt(2)
    blocks = (samples.astype(float) - 2048).reshape(SIDE // 8, 8, SIDE // 8, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    turned = np.rint(waves @ blocks @ waves.T).astype(int)
    return np.array([[block[at] for at in ZIGZAG] for block in turned])


def _coded(code: tuple[int, int], value: int = 0) -> str:
    size = abs(value).bit_length()
    magnitude = value if value > 0 else value + (1 << size) - 1
    return format(code[0], f"0{code[1]}b") + (format(magnitude, f"0{size}b") if size else "")


def _scan(samples: np.ndarray) -> bytes:
    bits, before = [], 0
    for block in _coefficients(samples):
        step, before = int(block[0]) - before, int(block[0])
        bits.append(_coded(DC[abs(step).bit_length()], step))
        zeros = 0
        for value in block[1 : np.max(np.flatnonzero(block), initial=0) + 1].tolist():
            if value == 0:
                zeros += 1
                continue
            bits += [_coded(AC[0xF0])] * (zeros // 16)
            bits.append(_coded(AC[zeros % 16 << 4 | abs(value).bit_length()], value))
            zeros = 0
        if block[-1] == 0:
            bits.append(_coded(AC[0]))
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    return int(stream, 2).to_bytes(len(stream) // 8).replace(b"\xff", b"\xff\0")


@cache
def _jpeg(components: int = 1) -> bytes:
    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">2BH", 0xFF, marker, len(content) + 2) + content

    drawn = phantom("covid", 1, SIDE, bits=12)
    parts = [b"\xff\xd8", segment(0xDB, b"\0" + b"\1" * 64)]
    parts.append(segment(0xC1, struct.pack(">BHHB3B", 12, SIDE, SIDE, components, 1, 0x11, 0)))
    parts.append(segment(0xC4, b"\0" + bytes([0, 0, 0, 0, 16, *[0] * 11]) + bytes(range(16))))
    parts.append(segment(0xC4, b"\x10" + bytes([*[0] * 7, 128, 128, *[0] * 7]) + bytes(range(256))))
    parts += [segment(0xDA, bytes([1, 1, 0, 0, 63, 0])), _scan(drawn), b"\xff\xd9"]
    return b"".join(parts)


def _file(stream: bytes) -> bytes:
    dataset = pydicom.dcmread(
        BytesIO(dicom_bytes(phantom("covid", 1, SIDE, 12).astype(np.uint16), 1, 1, inverted=False))
    )
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.JPEGExtended12Bit
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_twelve_bits_come_out_as_they_were_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    (frame,) = read(_file(_jpeg()))
    assert frame.stored.dtype == np.uint16 and frame.facts.bits == 12
    difference = np.abs(frame.stored.astype(int) - phantom("covid", 1, SIDE, bits=12))
    assert difference.max() <= 2  # coefficients are rounded to whole numbers
    (one,) = prepare(_file(_jpeg()))
    assert one.refused is None
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", ["hole", "cut", "short"])
def test_damage_is_noticed(damage: str) -> None:
    whole = _jpeg()
    half = len(whole) // 2
    changed = {
        "hole": whole[:half] + b"\x5a" * 40 + whole[half + 40 :],
        "cut": whole[:half],
        "short": whole[:half] + b"\xff\xd9",
    }[damage]
    with pytest.raises(Rejected) as refused:
        list(prepare(_file(changed)))
    assert refused.value.reason == Reason.DAMAGED


def test_another_depth_is_not_called_damaged() -> None:
    odd = _jpeg().replace(struct.pack(">BHH", 12, SIDE, SIDE), struct.pack(">BHH", 16, SIDE, SIDE))
    with pytest.raises(Rejected) as refused:
        list(prepare(_file(odd)))
    assert refused.value.reason == Reason.UNSUPPORTED_ENCODING
