"""A loop that a user would write: python -m benchmarks.plain_export FORM SOURCE DESTINATION.

A pool of two processes over the same codec with the same settings. A multi-frame file is shared
out frame by frame. Elements are set by pydicom, as few as the pixels dictate; nothing is checked.
"""

import multiprocessing
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian

from dicomferry.dicom.transfer_syntaxes import (
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from dicomferry.pixels.codecs import jpeg_lossless, jpegls_lossless
from dicomferry.pixels.quality import DEFAULT_QUALITY

WORKERS = 2
_SUB = 16
_RLE_STRATEGY = 3

Pixels = npt.NDArray[Any]


def _jpeg_2000(pixels: Pixels) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, level=0, codecformat="j2k", bitspersample=16, reversible=True, numthreads=1
        )
    )


def _jpeg_ls(pixels: Pixels) -> bytes:
    if jpegls_lossless.IS_BUILT:
        return jpegls_lossless.encode(pixels.view(np.uint16), 16)
    rows, columns = pixels.shape
    return bytes(jpeg_ls.encode_buffer(pixels.tobytes(), rows, columns, 1, 16))


def _jpeg_lossless(pixels: Pixels) -> bytes:
    return jpeg_lossless.encode(pixels.view(np.uint16), 16, b"\1")


def _rle(pixels: Pixels) -> bytes:
    import rle

    rows, columns = pixels.shape
    return bytes(
        rle.encode_pixel_data(
            pixels.tobytes(),
            byteorder="<",
            rows=rows,
            columns=columns,
            bits_allocated=16,
            samples_per_pixel=1,
        )
    )


def _jpeg(pixels: Pixels) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, level=DEFAULT_QUALITY.jpeg_quality))


def _png(pixels: Pixels) -> bytes:
    return bytes(imagecodecs.png_encode(pixels, level=1, filter=_SUB, strategy=_RLE_STRATEGY))


def _htj2k(pixels: Pixels) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))


_ENCODERS: dict[str, Callable[[Pixels], bytes]] = {
    JPEG_2000_LOSSLESS: _jpeg_2000,
    JPEG_LS_LOSSLESS: _jpeg_ls,
    JPEG_LOSSLESS_SV1: _jpeg_lossless,
    RLE_LOSSLESS: _rle,
    HTJ2K_LOSSLESS: _htj2k,
    JPEG_BASELINE: _jpeg,
}
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    JPEG_2000_LOSSLESS: lambda stream: imagecodecs.jpeg2k_decode(stream, numthreads=1),
    JPEG_LOSSLESS_SV1: imagecodecs.jpeg8_decode,
}
_PICTURES: dict[str, tuple[Callable[[Pixels], bytes], str]] = {
    "png": (_png, ".png"),
    "jpeg": (_jpeg, ".jpg"),
}


def _frame(dataset: pydicom.Dataset, index: int) -> Pixels:
    rows, columns = dataset.Rows, dataset.Columns
    dtype = np.dtype(f"<{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _DECODERS:
        number = int(dataset.get("NumberOfFrames", 1))
        streams = generate_frames(dataset.PixelData, number_of_frames=number)
        stream = next(stream for at, stream in enumerate(streams) if at == index)
        decoded: Pixels = np.ascontiguousarray(_DECODERS[syntax](stream)).view(dtype)
        return decoded
    count = rows * columns
    offset = index * count * dtype.itemsize
    return np.frombuffer(dataset.PixelData, dtype, count, offset).reshape(rows, columns)


def _windowed(dataset: pydicom.Dataset, pixels: Pixels) -> Pixels:
    """Return the image in its first window, linear (PS3.3 C.11.2.1.2.1), as 8 bits."""
    center, width = float(dataset.WindowCenter[0]), float(dataset.WindowWidth[0])
    values = pixels.astype(np.float32) * float(dataset.RescaleSlope)
    values += float(dataset.RescaleIntercept) - (center - 0.5)
    values *= 255 / (width - 1)
    picture: Pixels = np.rint(np.clip(values + 127.5, 0, 255)).astype(np.uint8)
    return picture


@lru_cache(maxsize=1)
def _open(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path)


def _one(job: tuple[str, Path, Path]) -> None:
    """Convert one single-frame file."""
    form, source, stem = job
    if form == "copy":
        shutil.copyfile(source, stem.with_suffix(".dcm"))
        return
    dataset = pydicom.dcmread(source)
    pixels = _frame(dataset, 0)
    if form in _PICTURES:
        encode, extension = _PICTURES[form]
        stem.with_suffix(extension).write_bytes(encode(_windowed(dataset, pixels)))
    elif form == "raw":
        stem.write_bytes(pixels.tobytes())
    else:
        _save(dataset, form, [_ENCODERS[form](pixels)], stem)


def _one_frame(job: tuple[str, Path, Path, int]) -> bytes:
    """Convert one frame of a multi-frame file: write a picture, or return a code stream."""
    form, source, stem, index = job
    dataset = _open(source)
    pixels = _frame(dataset, index)
    if form not in _PICTURES:
        return _ENCODERS[form](pixels)
    encode, extension = _PICTURES[form]
    (stem / f"{index + 1}{extension}").write_bytes(encode(_windowed(dataset, pixels)))
    return b""


def _save(dataset: pydicom.Dataset, syntax: str, streams: list[bytes], stem: Path) -> None:
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.save_as(stem.with_suffix(".dcm"), enforce_file_format=True)


def _jobs(form: str, source: Path, out: Path) -> Iterator[tuple[str, Path, Path]]:
    for number, path in enumerate(sorted(source.rglob("*.dcm"))):
        yield form, path, out / str(number)


def main(form: str, source: str, destination: str) -> None:
    out = Path(destination)
    out.mkdir(parents=True)
    jobs = list(_jobs(form, Path(source), out))
    frames = int(pydicom.dcmread(jobs[0][1], stop_before_pixels=True).get("NumberOfFrames", 1))
    with multiprocessing.Pool(WORKERS) as pool:
        if frames == 1 or form == "copy":
            for _ in pool.imap_unordered(_one, jobs, chunksize=8):
                pass
            return
        for _, path, stem in jobs:
            stem.mkdir()
            tasks = [(form, path, stem, index) for index in range(frames)]
            streams = list(pool.imap(_one_frame, tasks, chunksize=8))
            if form not in _PICTURES:
                dataset = _open(path)
                assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
                _save(dataset, form, streams, stem)


if __name__ == "__main__":
    main(*sys.argv[1:])
