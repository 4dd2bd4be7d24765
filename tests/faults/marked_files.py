"""Files whose every text is a mark, sound ones and such that fail in each of the ways there are."""

import gzip
import io
import warnings
import zipfile

import numpy as np
import pydicom
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

# Not as one word: a traceback may quote this file.
MARK = "Mark" + "of" + "Jane"
_TEXTS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
# Values that do not fit: what is said of them must not be the values.
_UNFIT = {"AS", "DA", "DS", "DT", "IS", "TM"}
# Without these there is no picture to export; Modality is a code that notifications have to name.
_KEPT = {"Modality", "PhotometricInterpretation", "NumberOfFrames", "SpecificCharacterSet"}
_SMALL_GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0032, 0x0038, 0x0040, 0x0088, 0x2050)


def _text(vr):
    return {"PN": f"{MARK}^{MARK}", "CS": MARK.upper()[:16], "AE": MARK}.get(vr, MARK)


def marked(sop="1.2.1.1.1", **changes):
    """A picture with the mark in every text element of the groups that pictures have."""
    ds = Dataset()
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 in _SMALL_GROUPS and vr in _TEXTS | _UNFIT and keyword not in _KEPT:
            ds.add_new(tag, vr, "") if vr in _UNFIT else ds.add_new(tag, vr, _text(vr))
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 in _SMALL_GROUPS and vr in _UNFIT and keyword not in _KEPT:
            # Written as they are: pydicom would not take them as numbers or dates.
            ds.add_new(tag, "LO", MARK)
    item = Dataset()
    item.PatientName, item.CodeMeaning, item.TextValue = _text("PN"), MARK, MARK
    ds.ContentSequence = Sequence([item])
    block = ds.private_block(0x0029, MARK, create=True)
    block.add_new(0x10, "LO", MARK)
    block.add_new(0x11, "SQ", Sequence([item]))
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.1", "1.2.1.1", sop
    ds.Modality, ds.PhotometricInterpretation = "CT", "MONOCHROME2"
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation, ds.SamplesPerPixel = 0, 1
    ds.PixelData = np.arange(256, dtype=np.uint16).tobytes()
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def to_bytes(ds, syntax=ExplicitVRLittleEndian):
    """A file, its File Meta Information marked too."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "1.2")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2")
    ds.file_meta.ImplementationVersionName = MARK
    ds.file_meta.SourceApplicationEntityTitle = MARK
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return with_dictionary_vrs(buffer.getvalue())


def with_dictionary_vrs(data):
    """Give elements that were written as LO the VR of the dictionary, whatever their value."""
    for tag, (vr, *_) in DicomDictionary.items():
        if vr in _UNFIT:
            head = bytes([tag >> 16 & 0xFF, tag >> 24, tag & 0xFF, tag >> 8 & 0xFF])
            data = data.replace(head + b"LO", head + vr.encode())
    return data


def files():
    """Name to bytes of everything that an import can meet."""
    settings = pydicom.config.settings
    before = settings.writing_validation_mode
    settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _files()
    finally:
        settings.writing_validation_mode = before


def _files():
    sound = to_bytes(marked("1.2.1.1.1"))
    second = to_bytes(marked("1.2.1.1.2"))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.dcm", sound)
    # What says which instance it is, but holds the mark.
    replaced = {
        "study": (b"1.2.1\0", MARK[:6].encode()),
        "sop": (b"1.2.1.1.2\0", MARK[:10].encode()),
        "syntax": (b"1.2.840.10008.1.2.1\0", MARK.encode().ljust(20, b"\0")),
        "class": (b"1.2.840.10008.5.1.4.1.1.2\0", MARK.encode().ljust(26, b"\0")),
    }
    return {
        "a-sound.dcm": sound,
        "b-sound.dcm": second,
        "c-deflated.dcm": to_bytes(marked("1.2.1.1.3"), DeflatedExplicitVRLittleEndian),
        "d-copy.dcm": sound,
        "e-conflict.dcm": to_bytes(marked("1.2.1.1.1", PatientName=f"{MARK}^Other")),
        "f-huge-row.dcm": to_bytes(marked("1.2.1.1.4", ImageComments=MARK * 150_000)),
        "g-no-picture.dcm": to_bytes(marked("1.2.1.1.5", PhotometricInterpretation=MARK)),
        "h-no-rows.dcm": to_bytes(marked("1.2.1.1.6", Rows=0)),
        "i-cut-in-header.dcm": sound[: len(sound) // 2],
        "j-cut-in-pixels.dcm": sound[:-100],
        "k-no-study.dcm": to_bytes(marked("1.2.1.1.7", StudyInstanceUID="")),
        "l-malformed.dcm": sound.replace(MARK.encode() + b" ", b"\xff" * 13, 3),
        "m-text.txt": (MARK * 100).encode(),
        "n-packed.gz": gzip.compress(sound),
        "o-packed.zip": archive.getvalue(),
        "p-broken-deflate.dcm": to_bytes(marked("1.2.1.1.8"), DeflatedExplicitVRLittleEndian)[:-90],
        **{f"q-{name}.dcm": second.replace(*change) for name, change in replaced.items()},
    }
