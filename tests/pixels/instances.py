"""Small instances for the tests of transcode/, and what to do with them."""

import io
from typing import Any

import imagecodecs
import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID

from dicomferry.dicom.range_reader import BytesReader
from dicomferry.pixels.convert import transcode
from dicomferry.pixels.formats import parse_format
from dicomferry.pixels.quality import DEFAULT_QUALITY, Quality

PREFIX = "1.2.840.10008.1.2"
SOP_INSTANCE_UID = "1.2.826.0.1.3680043.8.498.1"


def gray(shape: tuple[int, ...] = (64, 64), bits: int = 12, signed: bool = False) -> np.ndarray:
    """A smooth picture with some noise that fills its bits."""
    noise = np.random.default_rng(7).normal(0, 0.01, shape)
    rows, columns = np.mgrid[0 : shape[-2], 0 : shape[-1]]
    picture = 0.45 * np.sin(rows / 9) * np.cos(columns / 13) + 0.5 + noise
    whole = np.clip(picture, 0, 1) * ((1 << bits) - 1)
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    return (whole.astype(np.int64) - ((1 << (bits - 1)) if signed else 0)).astype(kind)


def color(shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    """A smooth RGB picture."""
    plane = gray(shape, 8)
    return np.ascontiguousarray(np.stack([plane, plane[::-1], 255 - plane], -1))


def data_set(pixels: np.ndarray, bits: int = 0, **attributes: Any) -> Dataset:
    """A Secondary Capture of (rows, columns), or (rows, columns, 3) with samples=3."""
    samples = attributes.pop("samples", 1)
    frames = attributes.pop("frames", 0)
    shape = pixels.shape[1:] if frames else pixels.shape
    result = Dataset()
    result.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    result.SOPInstanceUID = SOP_INSTANCE_UID
    result.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    result.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.3"
    result.Modality = "OT"
    result.PatientName = "Nobody"
    if frames:
        result.NumberOfFrames = frames
    result.Rows, result.Columns = shape[0], shape[1]
    result.SamplesPerPixel = samples
    result.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        result.PlanarConfiguration = 0
    result.BitsAllocated = pixels.dtype.itemsize * 8
    result.BitsStored = bits or result.BitsAllocated
    result.HighBit = result.BitsStored - 1
    result.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.tobytes()
    result.add_new(
        0x7FE00010, "OB" if pixels.dtype.itemsize == 1 else "OW", data + bytes(len(data) % 2)
    )
    for keyword, value in attributes.items():
        setattr(result, keyword, value)
    return result


def part10(ds: Dataset, transfer_syntax: str = f"{PREFIX}.1") -> bytes:
    """The bytes of a file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", UID("1.2.3"))
    meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", UID("1.2.3"))
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID("1.2.826.0.1.3680043.8.498.9")
    file = Dataset(ds)
    file.file_meta = meta
    file.preamble = bytes(128)
    buffer = io.BytesIO()
    big, implicit = transfer_syntax.endswith(".1.2.2"), transfer_syntax == PREFIX
    dcmwrite(buffer, file, implicit_vr=implicit, little_endian=not big, enforce_file_format=True)
    return buffer.getvalue()


def outputs(
    data: bytes, mime_type: str, quality: Quality = DEFAULT_QUALITY
) -> list[tuple[int | None, bytes]]:
    """What `mime_type` makes of a file."""
    found = transcode(BytesReader(data), parse_format(mime_type), quality)
    return [(each.frame, b"".join(each.chunks)) for each in found]


def picture(ds: Dataset, transfer_syntax: str = f"{PREFIX}.1") -> np.ndarray:
    """The PNG of a data set with one frame, decoded."""
    ((frame, data),) = outputs(part10(ds, transfer_syntax), "image/png")
    assert frame is None
    return imagecodecs.png_decode(data)


def to_dicom(data: bytes, syntax: str, quality: Quality = DEFAULT_QUALITY) -> bytes:
    """The file in the syntax 1.2.840.10008.1.2 + `syntax`."""
    mime_type = f"application/dicom; transfer-syntax={PREFIX}{syntax}"
    ((frame, result),) = outputs(data, mime_type, quality)
    assert frame is None
    return result


def read(data: bytes) -> FileDataset:
    """The file as pydicom reads it."""
    return dcmread(io.BytesIO(data))
