"""JPEG with samples of 12 bits (T.81's extended process, transfer syntax 1.2.840.10008.1.2.4.51), as older computed
radiography has it. libjpeg-turbo as others build it knows 8 bits only, and pydicom turns it down for GDCM, whose own
libjpeg reads it: to within one grey of what libjpeg does."""

from __future__ import annotations

import gdcm  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from cxrscreen.imaging import complaints
from cxrscreen.imaging.reasons import Reason, Rejected

BITS = 12


def decode(stream: bytes, rows: int, columns: int) -> NDArray[np.uint16]:
    """The samples [rows, columns] of a grey frame. Raises Rejected where it is damaged."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, BITS, BITS - 1, 0))
    with complaints.heeded():
        # It is bytes that the wrapper takes for text.
        samples = image.GetBuffer().encode("utf-8", "surrogateescape")
    if len(samples) != 2 * rows * columns:
        raise Rejected(Reason.DAMAGED, "The JPEG is damaged.")
    return np.frombuffer(samples, np.uint16).reshape(rows, columns)
