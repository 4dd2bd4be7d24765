"""One small picture of an instance: its middle frame, for people to glance at."""

import base64
import io
from typing import NamedTuple

from PIL import Image

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.range_reader import RangeReader
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels import formats
from dicomferry.pixels.codecs.registry import codec
from dicomferry.pixels.decode import decoded_frames
from dicomferry.pixels.frames import EncapsulatedFrames
from dicomferry.pixels.image_pixel import check_frame_size, read_image
from dicomferry.pixels.quality import DEFAULT_QUALITY
from dicomferry.pixels.render.renderer import Renderer


class Thumbnail(NamedTuple):
    """A picture that fits a square.

    Attributes:
        jpeg: base64 of a JPEG file.
        rows: of the whole frame.
        columns: of the whole frame.
    """

    jpeg: str
    rows: int
    columns: int


def thumbnail(file: RangeReader, pixels: int) -> Thumbnail:
    """Render the middle frame, rendered as image/jpeg is, to at most `pixels` a side.

    Raises:
        InstanceError: it has no pixels, or they cannot be displayed.
    """
    opened = open_file(file)
    if opened.pixels is None:
        raise InstanceError(Reason.NO_PIXEL_DATA)
    image = read_image(opened)
    check_frame_size(image)
    renderer = Renderer(opened, image, formats.JPEG, DEFAULT_QUALITY)
    middle = image.frames // 2
    if opened.syntax.encapsulated:
        # Only the streams before it are read, not decoded.
        frames = enumerate(EncapsulatedFrames(opened, image))
        stream = next(stream for index, stream in frames if index == middle)
        frame = codec(opened.syntax.uid).decode(stream, image, opened.syntax.uid)
    else:
        decoded = enumerate(decoded_frames(opened, image))
        frame = next(frame for index, frame in decoded if index == middle)
    small = Image.fromarray(renderer.render(frame, middle))
    small.thumbnail((pixels, pixels))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return Thumbnail(base64.b64encode(buffer.getvalue()).decode(), image.rows, image.columns)
