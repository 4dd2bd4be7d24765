"""What a DICOM store is on disk or in a bucket. No Beam."""
