"""What hostile bytes are fed to, each with a few sound inputs to start from.

A target takes any bytes. It returns, or raises `InstanceError` or a refusal of its own kind; that
is seen to here. Any other exception, a crash, a hang or memory without bounds is a find.
"""

import itertools
import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pydicom.data

from dicomferry.api.errors import ApiError
from dicomferry.api.label_filter import parse_filter
from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.encoding import IMPLICIT_LITTLE
from dicomferry.dicom.header import Header, read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from dicomferry.pixels.codecs.registry import codec
from dicomferry.pixels.convert import transcode
from dicomferry.pixels.formats import parse_format
from dicomferry.pixels.frames import EncapsulatedFrames
from dicomferry.pixels.image_pixel import read_image
from dicomferry.pixels.quality import DEFAULT_QUALITY
from dicomferry.resource_names import parse_dataset, parse_store
from dicomferry.sources.pattern import SourceError
from dicomferry.sources.uri import parse_source
from dicomferry.store.instance_filter import _parse as parse_resource_paths
from dicomferry.tables.bigquery_table import BIGQUERY
from dicomferry.tables.destination import parse_destination, parse_disposition
from dicomferry.tables.flattened import FlattenedRows
from dicomferry.tables.json_schema import JsonRows
from tests.dicom.factories import (
    DEFLATED,
    IMPLICIT,
    Ranges,
    element,
    identity,
    item,
    part10,
    sequence,
)
from tests.pixels.instances import PREFIX, color, data_set, gray, to_dicom
from tests.pixels.instances import part10 as picture_file
from tests.pixels.test_pitfalls import first_stream

FINDS = Path(__file__).parent / "finds"
_MAX_SEED = 4_000
# Every decoder path: the families, and within them what is decoded by other parameters.
DECODED = {
    "jpeg": (".4.50", ".4.51", ".4.57", ".4.70"),
    "jpegls": (".4.80", ".4.81"),
    "jpeg2000": (".4.90", ".4.91"),
    "htj2k": (".4.201", ".4.203"),
    "jpegxl": (".4.110", ".4.112"),
    "rle": (".5",),
    "deflate": (".8.1",),
}


class ImportTarget(NamedTuple):
    """Something that takes bytes.

    Attributes:
        run: raises nothing, or there is a find.
        seeds: gives sound inputs.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def _header(data: bytes) -> None:
    """Header and its JSON, from memory and by ranges alike; then the rows of both schemas."""
    results: list[Header | str] = []
    for readable in (BytesReader(data), Ranges(data)):
        try:
            results.append(read_header(readable))
        except InstanceError as error:
            results.append(error.code)
    assert results[0] == results[1], "read by ranges it is another"
    header = results[0]
    if isinstance(header, str):
        return
    json.loads(header.metadata)
    instance = {
        "StudyInstanceUID": header.study_instance_uid,
        "SeriesInstanceUID": header.series_instance_uid,
        "SOPInstanceUID": header.sop_instance_uid,
        "Metadata": header.metadata.decode(),
        "StructuredStorageSize": len(header.metadata),
        "BlobStorageSize": len(data),
        "LastUpdated": datetime(2026, 1, 1, tzinfo=UTC),
    }
    for writer in (FlattenedRows(BIGQUERY), JsonRows(BIGQUERY)):
        line = writer.row(instance).line
        assert b"\n" not in line
        json.loads(line)


def _header_seeds() -> list[bytes]:
    folder = Path(pydicom.data.__file__).parent
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    small = [path.read_bytes() for path in files if path.stat().st_size <= _MAX_SEED]
    nested = identity() + sequence(
        0x00400260,
        item(sequence(0x00400260, item(element(0x00080100, "SH", "A")), undefined=True)),
        undefined=True,
    )
    implicit = identity(encoding=IMPLICIT_LITTLE)
    return [*small, part10(nested), part10(nested, DEFLATED), part10(implicit, IMPLICIT)]


def _whole_file(data: bytes) -> None:
    """Everything that an export does with a file."""
    for mime_type in (f"application/dicom; transfer-syntax={PREFIX}.1", "image/png"):
        try:
            for output in transcode(BytesReader(data), parse_format(mime_type), DEFAULT_QUALITY):
                for _ in output.chunks:
                    pass
        except InstanceError:
            continue


def _whole_file_seeds() -> list[bytes]:
    native = picture_file(data_set(gray((8, 8), 12), 12))
    palette = picture_file(data_set(color((8, 8)), samples=3))
    return [native, palette, *(to_dicom(native, end) for end in (".4.90", ".4.80", ".5", ".8.1"))]


_PIXELS = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)


def _encapsulated_head() -> bytes:
    header = data_set(gray((8, 8), 8))
    del header.PixelData
    return picture_file(header, f"{PREFIX}.5")


_HEAD = _encapsulated_head()


def _offsets(data: bytes) -> None:
    """Offset tables and fragments: a byte for the number of frames, then the pixel data."""
    if not data:
        return
    file = open_file(BytesReader(_HEAD + _PIXELS + data[1:]))
    image = read_image(file)._replace(frames=1 + data[0] % 16)
    frames = EncapsulatedFrames(file, image)
    try:
        assert sum(1 for _ in frames) == image.frames
    except InstanceError:
        return


def _offsets_seeds() -> list[bytes]:
    def fragments(*lengths: int) -> bytes:
        whole = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, n) + b"\xff\xd8" * n for n in lengths)
        return whole + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)

    def table(*offsets: int) -> bytes:
        return struct.pack(f"<HHL{len(offsets)}L", 0xFFFE, 0xE000, 4 * len(offsets), *offsets)

    return [
        b"\0" + table() + fragments(8),
        b"\1" + table(0, 24) + fragments(8, 8),
        b"\1" + table() + fragments(8, 8, 8),
        b"\2" + table(0, 16, 32) + fragments(8, 8, 8),
    ]


def _decoder(family: str) -> ImportTarget:
    """A code stream for a decoder: a byte chooses syntax and kind of picture."""
    ways = list(itertools.product(DECODED[family], (False, True)))

    def source(end: str, is_color: bool) -> bytes:
        bits = 8 if is_color or end in (".4.50", ".4.112") else 12
        pixels = color((12, 10)) if is_color else gray((12, 10), bits)
        return to_dicom(picture_file(data_set(pixels, bits, samples=3 if is_color else 1)), end)

    files = [source(*way) for way in ways if _fits(*way)]
    opened = [open_file(BytesReader(file)) for file in files]
    images = [(read_image(file), file.syntax.uid) for file in opened]

    def run(data: bytes) -> None:
        if not data:
            return
        image, uid = images[data[0] % len(images)]
        try:
            decoded = codec(uid).decode(data[1:], image, uid)
        except InstanceError:
            return
        assert decoded.pixels.nbytes <= 8 * image.rows * image.columns * 4

    def seeds() -> list[bytes]:
        return [bytes([n]) + first_stream(file) for n, file in enumerate(files)]

    return ImportTarget(run, seeds)


def _fits(end: str, is_color: bool) -> bool:
    return not (is_color and end == ".4.51")  # 12 bits, and color has 8


def _texts(data: bytes) -> None:
    """Whatever people and programs write as text: MIME types, patterns, names, filters."""
    text = data.decode("utf-8", "surrogateescape")
    for parse, refusals in (
        (parse_format, ValueError),
        (parse_source, SourceError),
        (parse_store, ValueError),
        (parse_dataset, ValueError),
        (parse_destination, ValueError),
        (parse_disposition, ValueError),
        (parse_filter, ApiError),
    ):
        try:
            parse(text)
        except refusals:
            continue


def _texts_seeds() -> list[bytes]:
    return [
        b"application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90",
        b'image/jpeg; transfer-syntax="1.2.840.10008.1.2.4.50"',
        b"gs://bucket/a/*/b?.dcm",
        b"/data/**.dcm",
        b"projects/p/locations/l/datasets/d/dicomStores/s",
        b"duckdb:f.duckdb#s.t",
        b"bq://p.d.t",
        b"delta:gs://b/t",
        b'labels.a="b c" AND NOT (labels.b=c OR labels.c:*)',
    ]


def _resource_paths(data: bytes) -> None:
    """The lines of a filter file."""
    try:
        for uids in parse_resource_paths(data.splitlines(keepends=True), "/filter.txt"):
            assert uids is not None
    except ValueError:
        return


def _resource_paths_seeds() -> list[bytes]:
    return [b"/studies/1.2\n/studies/1.2/series/3.4\r\n/studies/1/series/2/instances/3\n"]


TARGETS: dict[str, Callable[[], ImportTarget]] = {
    "header": lambda: ImportTarget(_header, _header_seeds),
    "whole-file": lambda: ImportTarget(_whole_file, _whole_file_seeds),
    "offsets": lambda: ImportTarget(_offsets, _offsets_seeds),
    "texts": lambda: ImportTarget(_texts, _texts_seeds),
    "resource-paths": lambda: ImportTarget(_resource_paths, _resource_paths_seeds),
    **{family: (lambda family=family: _decoder(family)) for family in DECODED},
}


def finds(name: str) -> Iterator[Path]:
    """Inputs that once were finds."""
    folder = FINDS / name
    yield from sorted(folder.iterdir()) if folder.is_dir() else ()
