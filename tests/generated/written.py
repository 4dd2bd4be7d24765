"""What a written file holds, as pydicom and other decoders read it."""

import io
import warnings
import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames

from tests.generated import judges
from tests.generated.case import NATIVE, PREFIX, value_bits

Array = npt.NDArray[Any]


class Written(NamedTuple):
    """A file that an export wrote.

    Attributes:
        ds: its attributes.
        end: its transfer syntax after 1.2.840.10008.1.2.
        words: whole words, (frames, rows, columns, samples); None if there are no pixels.
        values: the value bits of them.
    """

    ds: Dataset
    end: str
    words: Array | None
    values: Array | None


def read_written(data: bytes) -> Written:
    """Read a file that was written. Whatever it raises is a fault of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(io.BytesIO(data))
        for each in ds.iterall():  # converts every value
            assert each.tag is not None
    end = str(ds.file_meta.TransferSyntaxUID).removeprefix(PREFIX)
    words = frames_of(ds, end) if "PixelData" in ds else _floats(ds)
    if words is None or words.dtype.kind == "f":
        return Written(ds, end, words, words)
    signed = bool(ds.PixelRepresentation)
    return Written(ds, end, words, value_bits(words, ds.BitsStored, ds.HighBit, signed))


def frames_of(ds: Dataset, end: str) -> Array:
    """Return the words of the frames, color by pixel, of a data set or of an icon."""
    shape = ds.Rows, ds.Columns, ds.SamplesPerPixel
    count = int(ds.get("NumberOfFrames") or 1)
    if end not in NATIVE:
        streams = list(generate_frames(ds.PixelData, number_of_frames=count))
        assert len(streams) == count
        if end == ".8.1":
            raw = [zlib.decompress(each, -zlib.MAX_WBITS) for each in streams]
            return np.concatenate([native_words(each, ds, 1) for each in raw])
        return np.stack([judges.decode(each, shape, ds.BitsAllocated, end) for each in streams])
    return native_words(ds.PixelData, ds, count)


def native_words(data: bytes, ds: Dataset, count: int, planar: int | None = None) -> Array:
    """Return the words of native frames."""
    rows, columns, samples = ds.Rows, ds.Columns, ds.SamplesPerPixel
    size = count * rows * columns * samples
    if ds.BitsAllocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return bits[:size].reshape(count, rows, columns, samples)
    kind = f"<u{ds.BitsAllocated // 8}"
    if ds.PhotometricInterpretation == "YBR_FULL_422":
        pairs = np.frombuffer(data, kind, count=size * 2 // 3).reshape(-1, 4)
        return pairs[:, [0, 2, 3, 1, 2, 3]].reshape(count, rows, columns, 3)
    words = np.frombuffer(data, kind, count=size)
    if samples > 1 and (ds.get("PlanarConfiguration") if planar is None else planar):
        return words.reshape(count, samples, rows, columns).transpose(0, 2, 3, 1)
    return words.reshape(count, rows, columns, samples)


def overlay_plane(written: Written, group: int) -> Array:
    """Return the bits of an overlay, (frames, rows, columns), wherever they are now."""
    ds, words = written.ds, written.words
    assert words is not None
    apart = ds.get((group, 0x3000))
    if apart is None:
        found: Array = words[..., 0].astype(np.int64) >> int(ds[group, 0x0102].value) & 1
        return found
    assert (ds[group, 0x0100].value, ds[group, 0x0102].value) == (1, 0)
    count = int(ds[group, 0x0015].value) if (group, 0x0015) in ds else 1
    bits = np.unpackbits(np.frombuffer(apart.value, np.uint8), bitorder="little")
    size = count * words.shape[1] * words.shape[2]
    return bits[:size].reshape(count, words.shape[1], words.shape[2])


def _floats(ds: Dataset) -> Array | None:
    for keyword, kind in (("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")):
        if keyword in ds:
            count = int(ds.get("NumberOfFrames") or 1)
            size = count * ds.Rows * ds.Columns
            found = np.frombuffer(ds[keyword].value, kind, count=size)
            return found.reshape(count, ds.Rows, ds.Columns, 1)
    return None
