"""Which module decodes and encodes the frames of a transfer syntax; loaded when first needed."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import NamedTuple

from dicomferry.dicom.transfer_syntaxes import SYNTAXES
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.samples import Decoded, Pixels


class Codec(NamedTuple):
    """The functions of a codec module.

    Attributes:
        decode: (stream, attributes, syntax) to a frame.
        plan: (attributes, syntax) to the attributes after encoding; refuses images that do not fit.
        encode: (frame, attributes, planned attributes, syntax, quality) to a stream.
        method: Lossy Image Compression Method (0028,2114); '' if never lossy.
        setting: the field of `Quality` that its lossy streams depend on; '' if never lossy.
        decoder: the library that reads the frames, for people.
        starts: what its code streams begin with; () if that is not known.
        loss: (stream, syntax) to the method (0028,2114) by which the stream lost information; ''
            if it did not, or does not show it.
    """

    decode: Callable[[bytes, ImagePixel, str], Decoded]
    plan: Callable[[ImagePixel, str], ImagePixel]
    encode: Callable[[Pixels, ImagePixel, ImagePixel, str, Quality], bytes]
    method: str
    setting: str
    decoder: str
    starts: tuple[bytes, ...]
    loss: Callable[[bytes, str], str]


@cache
def codec(transfer_syntax: str) -> Codec:
    """Return the codec of an encapsulated transfer syntax."""
    module = import_module(f"dicomferry.pixels.codecs.{SYNTAXES[transfer_syntax].family}")
    return Codec(
        module.decode,
        module.plan,
        module.encode,
        module.METHOD,
        module.SETTING,
        module.DECODER,
        module.STARTS,
        module.loss,
    )
