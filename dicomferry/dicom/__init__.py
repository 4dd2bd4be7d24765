"""DICOM files as bytes: reading, the JSON model, re-encoding, writing. No pixels, no storage."""
