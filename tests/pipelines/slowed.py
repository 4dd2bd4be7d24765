"""A job that takes its time, for tests that look on; run as a program with the flags of a job."""

import sys

import dicomferry.transforms.export_files
import dicomferry.transforms.export_table
import dicomferry.transforms.read_and_store
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.pipelines.entry_point import exit_with
from tests.pipelines import slow

PART_FILES = 30

if __name__ == "__main__":
    import_dicom.PART_FILES = PART_FILES
    dicomferry.transforms.read_and_store.ingest_all = slow.ingest_slowly
    dicomferry.transforms.export_files.write_all = slow.write_slowly
    dicomferry.transforms.export_table.write_parts = slow.write_parts_slowly
    is_import = any(flag.startswith("--source=") for flag in sys.argv)
    exit_with(import_dicom.main if is_import else export_dicom.main)
