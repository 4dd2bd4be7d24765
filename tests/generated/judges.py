"""Code streams as frames, by libraries that the project does not ask, where there are others."""

import io
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import openjpeg
from PIL import Image as Picture
from pydicom.pixels.decoders.rle import _rle_decode_frame

Array = npt.NDArray[Any]


def decode(stream: bytes, shape: tuple[int, int, int], allocated: int, end: str) -> Array:
    """Return a frame, (rows, columns, samples), as the numbers that the stream holds."""
    rows, columns, samples = shape
    if end == ".5":
        planes = bytes(_rle_decode_frame(stream, rows, columns, samples, allocated))
        words = np.frombuffer(planes, f"<u{allocated // 8}")
        return words.reshape(samples, rows, columns).transpose(1, 2, 0)
    if end == ".4.111":
        stream, end = bytes(imagecodecs.jpegxl_decode_jpeg(stream)), ".4.50"
    if end == ".4.50":
        opened: Any = Picture.open(io.BytesIO(stream))
        if samples == 3:
            opened.draft("YCbCr", opened.size)
        return np.asarray(opened).reshape(shape)
    if end in (".4.57", ".4.70") and samples == 1:
        found = imagecodecs.ljpeg_decode(stream)
    elif end in (".4.57", ".4.70"):
        found = imagecodecs.jpeg8_decode(stream, colorspace="rgb", outcolorspace="rgb")
    elif end == ".4.51":
        space = "ycbcr" if samples == 3 else None
        found = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=space)
    elif end in (".4.80", ".4.81"):
        found = imagecodecs.jpegls_decode(stream)
    elif end in (".4.110", ".4.112"):
        found = imagecodecs.jpegxl_decode(stream, index=0)
    else:
        found = openjpeg.decode(stream, j2k_format=0)
    return np.asarray(found).reshape(shape)
