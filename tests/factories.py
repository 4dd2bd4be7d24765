"""Builders for test data: name only what the test is about."""

import io

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicomferry.resource_names import INDEX_FOLDER
from dicomferry.store.index_files import log_path
from dicomferry.transforms.records import Instance


def living(data):
    """A data folder with what tells that its store was not deleted."""
    data.write(f"{INDEX_FOLDER}/{log_path(0)}", b"")
    return data


def make_instance(**overrides):
    fields = {
        "study_instance_uid": "1.2.1",
        "series_instance_uid": "1.2.1.1",
        "sop_instance_uid": "1.2.1.1.1",
        "sop_class_uid": CTImageStorage,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
        "modality": "CT",
        "number_of_frames": 1,
        "metadata": b"",
        "structured_size": 2,
        "blob": "instances/1.2.1/1.2.1.1/1.2.1.1.1/aa.dcm",
        "size": 10,
        "sha256": "aa",
        "crc32c": 7,
        "source_uri": "/in/a.dcm",
        "source_version": "1",
    }
    return Instance(**{**fields, **overrides})


def dicom_bytes(sop="1.2.1.1.1", study="1.2.1", series="1.2.1.1", pixels=b"\0" * 32, **elements):
    """A small CT image as Part 10 bytes; keywords of other elements become attributes."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = sop
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = series
    dataset.Modality = "CT"
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
