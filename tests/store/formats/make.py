"""Make the store that tests keep of a format, by the software of that time.

    PYTHONPATH=CHECKOUT python tests/store/formats/make.py FOLDER

It uses what is the same in all versions: three synthetic instances, two imports, one optimize
between them, so that the index has a file of a commit, a sorted one, and old versions.
"""

import io
import socket
import sys
from pathlib import Path

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

socket.gethostname = lambda: "host"  # stands in the records of operations

from dicomferry.pipelines import import_dicom  # noqa: E402
from dicomferry.resource_names import parse_store  # noqa: E402
from dicomferry.storage.registry import open_storage  # noqa: E402
from dicomferry.store.dicom_store import create_store  # noqa: E402
from dicomferry.store.maintenance import optimize  # noqa: E402


def write(path, number):
    """Write a CT image of 4 x 4 zeros, about nobody."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.1", "1.2.1.1"
    dataset.SOPInstanceUID = f"1.2.1.1.{number}"
    dataset.Modality = "CT"
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes(32)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())


def main(folder):
    """Make the root with the store `kept`, its sources in the folder `in` beside it."""
    sources = Path(folder) / "in"
    sources.mkdir(parents=True)
    root, name = open_storage(f"{folder}/root"), parse_store("kept")
    store = create_store(root, name, {"labels": {"site": "north"}})
    for numbers in ((1, 2), (3,)):
        for number in numbers:
            write(sources / f"{number}.dcm", number)
        flags = [f"--store={name.id}", f"--root={root.root}", "--workers=0"]
        assert import_dicom.main([*flags, f"--source={sources}/*.dcm"]) == 0
        if numbers == (1, 2):
            optimize(store)


if __name__ == "__main__":
    main(sys.argv[1])
