"""Frames as code streams, for the files that are made."""

import struct
import zlib
from typing import Any, NamedTuple

import imagecodecs
import jpeg_ls
import numpy as np
import numpy.typing as npt

from tests.generated.image import Image

Array = npt.NDArray[Any]
LOSSY = (".4.50", ".4.51", ".4.81", ".4.91", ".4.203", ".4.111", ".4.112")
_WORDS_ALONE = (".4.201", ".4.202", ".4.203")  # their encoder knows 8 and 16 bits


class _Frame(NamedTuple):
    """A frame for an encoder: its words, as unsigned numbers and with the attributes' sign."""

    unsigned: Array
    signed: Array
    depth: int
    is_rgb: bool
    seed: int

    @property
    def narrow(self) -> Array:
        """The unsigned numbers in the fewest bytes."""
        return self.unsigned.astype(np.uint8) if self.depth <= 8 else self.unsigned


def fits(image: Image, end: str) -> bool:
    """Whether `encode` makes a legal source in this syntax of the image."""
    if image.is_float or image.photometric in ("YBR_FULL_422", "CMYK"):
        return False
    if end in (".8.1", ".5"):
        return end == ".8.1" or image.allocated in (8, 16, 32)
    if image.allocated not in (8, 16) or image.stored < 2:
        return False
    if end in LOSSY and (_has_whole_words(image) or image.photometric == "PALETTE COLOR"):
        return False
    bytes_alone = image.allocated == image.stored == 8
    depths = {".4.50": bytes_alone, ".4.111": bytes_alone, ".4.51": image.stored == 12}
    depths |= dict.fromkeys(_WORDS_ALONE, image.stored == image.allocated)
    is_rgb_or_gray = image.samples == 1 or image.photometric == "RGB"
    colors = {".4.51": image.samples == 1, ".4.110": is_rgb_or_gray, ".4.112": is_rgb_or_gray}
    is_unsigned = end not in (".4.50", ".4.51", ".4.111", ".4.112") or not image.signed
    return depths.get(end, True) and colors.get(end, True) and is_unsigned


def encode(image: Image, index: int, end: str) -> bytes:
    """Return the code stream of a frame."""
    if end == ".8.1":
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(image.frame_bytes(index)) + packer.flush()
    if end == ".5":
        return _rle(image, index)
    stream: bytes = bytes(_ENCODERS[end](_frame(image, index), end))
    return stream


def _has_whole_words(image: Image) -> bool:
    return bool(image.junk or image.overlays or image.high_bit != image.stored - 1)


def _frame(image: Image, index: int) -> _Frame:
    whole = _has_whole_words(image)
    depth = image.allocated if whole else image.stored
    words = image.words[index] & np.uint64((1 << depth) - 1)
    unsigned = words.astype(f"<u{image.allocated // 8}")
    signed = unsigned
    if image.signed and whole:
        signed = unsigned.view(f"<i{image.allocated // 8}")
    elif image.signed:
        signed = image.values[index].astype(f"<i{image.allocated // 8}")
    if image.samples == 1:
        unsigned, signed = unsigned[..., 0], signed[..., 0]
    is_rgb = image.photometric == "RGB"
    return _Frame(unsigned.copy(), signed.copy(), depth, is_rgb, image.seed)


def _jpeg(frame: _Frame, _end: str) -> bytes:
    space = ("rgb" if frame.is_rgb else "ycbcr") if frame.unsigned.ndim == 3 else None
    return imagecodecs.jpeg8_encode(
        frame.unsigned,
        level=95,
        colorspace=space,
        outcolorspace="ycbcr" if space else None,
        bitspersample=frame.depth,
    )


def _recompressed(frame: _Frame, end: str) -> bytes:
    return imagecodecs.jpegxl_encode_jpeg(_jpeg(frame, end), usecontainer=True)


def _jpeg_lossless(frame: _Frame, end: str) -> bytes:
    space = "rgb" if frame.unsigned.ndim == 3 else None
    stream = imagecodecs.jpeg8_encode(
        frame.narrow,
        lossless=True,
        predictor=1 if end == ".4.70" else 1 + frame.seed % 7,
        bitspersample=frame.depth,
        colorspace=space,
        outcolorspace=space,
    )
    return _without_rgb_ids(stream) if space and not frame.is_rgb else stream


def _jpeg_ls(frame: _Frame, end: str) -> bytes:
    samples, depth = frame.unsigned, frame.depth
    near = 0 if end == ".4.80" else min(2, (1 << depth) // 2 - 1)
    rows, columns, *more = samples.shape
    count, mode = (3, 2) if more else (1, None)
    try:
        return jpeg_ls.encode_buffer(
            samples.tobytes(), rows, columns, count, depth, near, interleave_mode=mode
        )
    except RuntimeError:  # its buffer is too small for a few pixels; this one writes whole words
        stream = bytes(imagecodecs.jpegls_encode(samples, level=near))
        return stream[stream.index(b"\xff\xd8\xff\xf7") :]  # without its SPIFF header


def _jpeg_2000(frame: _Frame, end: str) -> bytes:
    return imagecodecs.jpeg2k_encode(
        frame.signed,
        level=0,
        codecformat="j2k",
        bitspersample=frame.depth,
        reversible=end == ".4.90",
        mct=frame.is_rgb,
        resolutions=1,
    )


def _htj2k(frame: _Frame, end: str) -> bytes:
    step = 1 / 1024 if end == ".4.203" else None
    return imagecodecs.htj2k_encode(
        frame.signed, step, reversible=step is None, rgb=frame.is_rgb, tlm=end == ".4.202"
    )


def _jpeg_xl(frame: _Frame, end: str) -> bytes:
    return imagecodecs.jpegxl_encode(
        frame.narrow,
        lossless=end == ".4.110",
        distance=None if end == ".4.110" else 0.5,
        bitspersample=frame.depth,
        usecontainer=bool(frame.seed % 2),
    )


_ENCODERS = {
    **dict.fromkeys((".4.50", ".4.51"), _jpeg),
    ".4.111": _recompressed,
    **dict.fromkeys((".4.57", ".4.70"), _jpeg_lossless),
    **dict.fromkeys((".4.80", ".4.81"), _jpeg_ls),
    **dict.fromkeys((".4.90", ".4.91"), _jpeg_2000),
    **dict.fromkeys(_WORDS_ALONE, _htj2k),
    **dict.fromkeys((".4.110", ".4.112"), _jpeg_xl),
}


def photometric_of(image: Image, end: str) -> str:
    """Photometric Interpretation of the image once it is encoded."""
    if image.photometric == "RGB" and end in (".4.90", ".4.201", ".4.202"):
        return "YBR_RCT"
    if image.photometric == "RGB" and end in (".4.91", ".4.203"):
        return "YBR_ICT"
    if image.samples == 3 and end in (".4.50", ".4.51", ".4.111"):
        return "YBR_FULL"
    return image.photometric


def _without_rgb_ids(stream: bytes) -> bytes:
    """Name the components 1, 2 and 3; of others than RGB the encoder would drop samples."""
    named = bytearray(stream)
    frame, scan = named.index(b"\xff\xc3"), named.index(b"\xff\xda")
    for component in range(3):
        named[frame + 10 + 3 * component] = named[scan + 5 + 2 * component] = component + 1
    return bytes(named)


def _rle(image: Image, index: int) -> bytes:
    """Write segments by sample, the most significant byte first (PS3.5 Annex G)."""
    size = image.allocated // 8
    words = image.words[index].astype(f"<u{size}")
    segments = []
    for sample in range(image.samples):
        plane = np.ascontiguousarray(words[..., sample]).view(np.uint8).reshape(-1, size)
        for byte in range(size - 1, -1, -1):
            packed = bytes(imagecodecs.packbits_encode(plane[:, byte].tobytes()))
            segments.append(packed + bytes(len(packed) % 2))
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    header = struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments)))
    return header + b"".join(segments)
