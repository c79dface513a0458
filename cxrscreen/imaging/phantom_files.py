"""Phantoms as the files that a hospital has: DICOM of both polarities, PNG, JPEG."""

from __future__ import annotations

import hashlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, FileMetaDataset, uid

DATE = "20200401"


def dicom_bytes(pixels: NDArray[np.uint16], number: int, seed: int, *, inverted: bool) -> bytes:
    """A 12-bit CR (or, inverted, MONOCHROME1 DX) PA chest of a person called PHANTOM; `pixels` are bone white."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.SOPClassUID = (
        uid.DigitalXRayImageStorageForPresentation if inverted else uid.ComputedRadiographyImageStorage
    )
    dataset.SOPInstanceUID = made_uid(seed, number, "instance")
    dataset.StudyDate = dataset.ContentDate = DATE
    dataset.StudyTime = dataset.ContentTime = "120000"
    dataset.AccessionNumber = f"P{seed % 10000:04d}{number:04d}"
    dataset.Modality = "DX" if inverted else "CR"
    dataset.Manufacturer = "PHANTOM"
    dataset.StudyDescription = "Chest PA"
    dataset.PatientName = f"PHANTOM^{number:04d}"
    dataset.PatientID = f"PHANTOM-{seed}-{number:04d}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.PatientAge = f"{20 + (7 * number + seed) % 65:03d}Y"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.StudyInstanceUID = made_uid(seed, number, "study")
    dataset.SeriesInstanceUID = made_uid(seed, number, "series")
    dataset.StudyID = dataset.SeriesNumber = dataset.InstanceNumber = "1"
    dataset.ImageComments = "PHANTOM: a synthetic picture, not of a person"
    dataset.BurnedInAnnotation = "YES"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.PixelData = (4095 - pixels if inverted else pixels).astype("<u2").tobytes()

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def picture_bytes(pixels: NDArray[np.uint8] | NDArray[np.uint16], kind: str) -> bytes:
    """The pixels as a file of that kind, "PNG" (8 or 16 bit) or "JPEG"."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.getvalue()


def made_uid(*parts: object) -> uid.UID:
    """A UID under 2.25, the arc anyone may use (ITU-T X.667), that follows from its parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:16]
    return uid.UID(f"2.25.{int.from_bytes(digest)}")
