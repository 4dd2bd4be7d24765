"""What must hold of a file and of all that is made of it."""

import base64
import io
import json
from datetime import UTC, datetime
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image as Picture
from pydicom import Dataset

from dicomferry.dicom.header import Header, read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from dicomferry.pixels.convert import transcode
from dicomferry.pixels.formats import FORMATS, JPEG, OCTET_STREAM, PNG, Format
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.render.thumbnail import thumbnail
from dicomferry.tables.bigquery_table import BIGQUERY
from dicomferry.tables.flattened import FlattenedRows
from dicomferry.tables.json_schema import JsonRows
from tests.generated.case import PREFIX, SERIES, SOP, STUDY, Case, value_bits
from tests.generated.refusals import allowed
from tests.generated.written import native_words, read_written
from tests.generated.written_checks import check_written

Array = npt.NDArray[Any]
FORMS = {form.mime_type: form for form in FORMATS}
QUALITY = Quality()


def check(case: Case, forms: list[str]) -> None:
    """Import a file and export it; every failure is one of the file alone, and of a known kind."""
    data = case.file()
    check_import(case, data)
    check_thumbnail(case, data)
    for name in forms:
        check_export(case, data, FORMS[name])


def imported(data: bytes) -> Header | None:
    """Read a header as an import does, and write both rows of it; None if it is refused."""
    try:
        header = read_header(BytesReader(data))
    except InstanceError:
        return None
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
        json.loads(writer.row(instance).line)
    return header


def check_import(case: Case, data: bytes) -> None:
    """The header says the same, however it is encoded."""
    header = imported(data)
    if case.fault is not None or (header is None and not case.capsule.delimiter):
        return
    assert header is not None
    assert header.sop_instance_uid == SOP
    assert (header.study_instance_uid, header.series_instance_uid) == (STUDY, SERIES)
    assert header.number_of_frames == case.image.frames
    plain = imported(case.file(plain=True))
    assert plain is not None
    assert _comparable(header) == _comparable(plain)


# Their VR is one of several, and which, Implicit VR and UN do not tell (PS3.6).
_AMBIGUOUS = ("00281101", "00281102", "00281103", "00283002", "00283006", "7FE00010")


def _comparable(header: Header) -> Any:
    """Metadata without where bulk data is, group lengths, and VRs that are a reader's choice."""

    def strip(found: Any) -> Any:
        if isinstance(found, dict):
            return {
                key: strip(value)
                for key, value in found.items()
                if key != "BulkDataURI" and not key.endswith("0000") and key not in _AMBIGUOUS
            }
        return [strip(each) for each in found] if isinstance(found, list) else found

    return strip(json.loads(header.metadata))


def check_thumbnail(case: Case, data: bytes) -> None:
    """A preview is a picture of the instance, or refused."""
    try:
        small = thumbnail(BytesReader(data), 16)
    except InstanceError as failure:
        assert may_fail(case, FORMS[PNG], failure.code), failure.code
        return
    opened = Picture.open(io.BytesIO(base64.b64decode(small.jpeg)))
    assert max(opened.size) <= 16
    if case.fault is None:
        assert (small.rows, small.columns) == (case.image.rows, case.image.columns)


def may_fail(case: Case, form: Format, code: str) -> bool:
    """Whether a file may fail with a code: one with a fault with any but that of our own faults."""
    if case.fault is not None:
        return code != "INTERNAL_ERROR"
    if code in ("FRAMES_NOT_FOUND", "CODE_STREAM_INVALID") and case.streams:
        # Nothing tells where the frames begin or end, or what tells is wrong; the first bytes of a
        # code stream occur within one, too.
        table, cuts = case.capsule.table, case.capsule.cuts
        unclear = (table == "none" and cuts > 1) or table == "shifted"
        return (case.image.frames > 1 and unclear) or not case.capsule.delimiter
    return code in allowed(case, form)


def check_export(case: Case, data: bytes, form: Format) -> None:
    """The file becomes what it should, or fails alone."""
    try:
        found = [
            (each.frame, b"".join(each.chunks))
            for each in transcode(BytesReader(data), form, QUALITY)
        ]
    except InstanceError as failure:
        assert may_fail(case, form, failure.code), failure.code
        return
    if form.media_type == "application/dicom":
        [(frame, result)] = found
        assert frame is None
        check_dicom(case, result, form)
    elif case.fault is None:
        _check_frames(case, found, form)


def _check_frames(case: Case, found: list[tuple[int | None, bytes]], form: Format) -> None:
    image = case.image
    numbers = [None] if image.frames == 1 else list(range(1, image.frames + 1))
    assert [number for number, _ in found] == numbers
    for index, (_, data) in enumerate(found):
        if form.media_type == OCTET_STREAM:
            check_raw(case, data, index, form.transfer_syntax == "*")
        else:
            check_picture(case, data, index, form)


def check_raw(case: Case, data: bytes, index: int, as_stored: bool) -> None:
    """Bytes of a frame are its words, or its code stream."""
    image = case.image
    if case.streams and as_stored:
        stream = case.streams[index]
        assert is_stream(data, stream)
        return
    if not case.streams and not (as_stored and case.end == ".2"):
        assert data == image.frame_bytes(index)
    if case.streams and not image.is_float:
        ds = Dataset()
        ds.Rows, ds.Columns, ds.SamplesPerPixel = image.rows, image.columns, image.samples
        ds.BitsAllocated, ds.PhotometricInterpretation = image.allocated, case.color
        words = native_words(data, ds, 1, planar=0)
        assert np.array_equal(_values(case, words, image.high_bit)[0], case.values[index])


def _values(case: Case, words: Array, high_bit: int) -> Array:
    return value_bits(words, case.image.stored, high_bit, case.image.signed)


def is_stream(data: bytes, stream: bytes) -> bool:
    """Whether bytes are a code stream, padded to even length or not."""
    return data[: len(stream)] == stream and not data[len(stream) :].strip(b"\0")


def check_picture(case: Case, data: bytes, index: int, form: Format) -> None:
    """A picture is within one level of what the Standard's formulas make of the values."""
    if form.media_type == JPEG and case.end == ".4.50" and is_stream(data, case.streams[index]):
        return  # it already was the picture
    opened = Picture.open(io.BytesIO(data))
    actual = np.asarray(opened).astype(float)
    image = case.image
    with np.errstate(all="ignore"):
        expected = case.display.picture(image, case.values[index], case.color, index)
    shown = np.isfinite(expected)
    if image.is_float:
        shown &= np.isfinite(image.values[index][..., 0])  # what is no number is as it may be
    expected = np.where(shown, expected, 0)
    assert actual.shape == expected.shape
    if form.media_type == PNG:
        assert np.abs(actual - expected)[shown].max(initial=0) <= 1
        return
    if shown.all():
        color = expected.ndim == 3
        best = imagecodecs.jpeg8_decode(
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(np.floor(expected + 0.5).clip(0, 255).astype(np.uint8)),
                level=QUALITY.jpeg_quality,
                colorspace="rgb" if color else None,
                outcolorspace="ycbcr" if color else None,
                subsampling="422" if color else None,
            )
        )
        assert np.abs(actual - best).mean() <= 4


def check_dicom(case: Case, data: bytes, form: Format) -> None:
    """A written file can be read, says what it is, and holds what it should."""
    again = imported(data)
    if form.transfer_syntax == "*":
        assert data == case.file()
        return
    if case.fault is not None:
        assert again is not None or imported(case.file()) is None
        return
    if form.transfer_syntax == PREFIX + case.end:
        assert data == case.file()
        return
    assert again is not None and again.number_of_frames == case.image.frames
    assert again.sop_instance_uid == SOP
    written = read_written(data)
    assert written.end == form.transfer_syntax.removeprefix(PREFIX)
    check_written(case, written, QUALITY)
