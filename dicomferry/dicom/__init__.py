"""DICOM headers: what identifies an instance, and its Metadata. No Beam, no storage."""
