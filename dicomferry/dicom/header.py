"""The header of an instance: its identifiers and its Metadata. The hot path of an import."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from dicomferry.dicom.byte_window import ByteWindow, InflatedWindow, open_window
from dicomferry.dicom.elements import Element, ElementReader
from dicomferry.dicom.frame_count import parse_frame_count
from dicomferry.dicom.json_model import encode
from dicomferry.dicom.part10_reader import MEDIA_STORAGE_DIRECTORY, DataSetStart, open_data_set
from dicomferry.dicom.pixel_data_check import check_pixel_data
from dicomferry.dicom.range_reader import RangeReader
from dicomferry.dicom.tags import (
    DIRECTORY_RECORD_SEQUENCE,
    MODALITY,
    NUMBER_OF_FRAMES,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
)
from dicomferry.dicom.uids import parse_class_uid, parse_uid
from dicomferry.errors import InstanceError, Reason

_WANTED = frozenset(
    {
        STUDY_INSTANCE_UID,
        SERIES_INSTANCE_UID,
        SOP_INSTANCE_UID,
        SOP_CLASS_UID,
        MODALITY,
        NUMBER_OF_FRAMES,
        DIRECTORY_RECORD_SEQUENCE,
    }
)
_CODE_STRING = re.compile(rb"[A-Z0-9_ ]{1,16}")  # CS, PS3.5 Table 6.2-1


class Header(NamedTuple):
    """The attributes of an instance that an import indexes.

    Attributes:
        study_instance_uid: (0020,000D), of the data set as all that follow.
        series_instance_uid: (0020,000E).
        sop_instance_uid: (0008,0018).
        sop_class_uid: (0008,0016), empty if absent or not a UID.
        transfer_syntax_uid: (0002,0010); if absent or not a transfer syntax, that of the native
            encoding found.
        modality: (0008,0060), empty if absent or not a code string.
        number_of_frames: (0028,0008), 1 if absent or not a positive number.
        metadata: the data set in the DICOM JSON model (PS3.18 Annex F), UTF-8; see
            `dicomferry.dicom.json_model`.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    number_of_frames: int
    metadata: bytes


def read_header(file: RangeReader) -> Header:
    """Read the header of a file; of its pixel data only whether it is complete.

    Raises:
        InstanceError: the file holds no instance that can be imported; for a DICOMDIR, which is on
            every medium and has no instance of its own, with the code DICOMDIR.
    """
    walk = _Walk(file)
    metadata, values = encode(walk.start.file_meta, walk, walk.start.encoding.order, _WANTED)
    sop_class_uid = parse_class_uid(values.get(SOP_CLASS_UID, b""))
    if DIRECTORY_RECORD_SEQUENCE in values or sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        raise InstanceError(Reason.DICOMDIR)
    start, pixel_data = walk.start, walk.reader.pixel_data
    if pixel_data is not None:
        check_pixel_data(file, start.window, pixel_data, start.encoding)
    if isinstance(start.window, InflatedWindow):
        start.window.check_end()
    return Header(
        study_instance_uid=_identity(values, STUDY_INSTANCE_UID, "STUDY_INSTANCE_UID"),
        series_instance_uid=_identity(values, SERIES_INSTANCE_UID, "SERIES_INSTANCE_UID"),
        sop_instance_uid=_identity(values, SOP_INSTANCE_UID, "SOP_INSTANCE_UID"),
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=start.transfer_syntax_uid,
        modality=_modality(values.get(MODALITY, b"")),
        number_of_frames=parse_frame_count(values.get(NUMBER_OF_FRAMES, b""), start.encoding.order)
        or 1,
        metadata=metadata,
    )


class _Walk:
    """Walks over the elements of a file.

    Attributes:
        start: the file, open at its data set.
        reader: of the last walk.
    """

    def __init__(self, file: RangeReader) -> None:
        self._file = file
        self.start = open_header(file)
        self.reader = ElementReader(self.start.window)
        self._begun = False

    def __call__(self) -> Iterator[Element]:
        """Return the elements from the first one on."""
        if self._begun:  # a window moves only forward
            self.start = open_header(self._file)
            self.reader = ElementReader(self.start.window)
        self._begun = True
        return self.reader.read(self.start.offset, self.start.encoding)


def open_header(file: RangeReader) -> DataSetStart[ByteWindow]:
    """Find the data set of a file; no more is read or inflated than is looked at.

    Raises:
        InstanceError: as `open_data_set`.
    """
    window: ByteWindow = open_window(file)
    return open_data_set(window, lambda offset: InflatedWindow(file, offset))


def _identity(values: dict[int, bytes], tag: int, name: str) -> str:
    """Return one of the three UIDs without which an instance has no place in a store."""
    value = values.get(tag, b"")
    if not value.strip(b"\0 "):
        raise InstanceError(Reason(f"MISSING_{name}"))
    uid = parse_uid(value)
    if not uid:
        raise InstanceError(Reason(f"INVALID_{name}"))
    return uid


def _modality(value: bytes) -> str:
    value = value.strip(b"\0 ")
    return value.decode("ascii") if _CODE_STRING.fullmatch(value) else ""
