"""Bulk import and export for DICOM archives, as Apache Beam jobs."""
