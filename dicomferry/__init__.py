"""Bulk import and export for DICOM archives, as Apache Beam jobs."""

__version__ = "0.1.0"
