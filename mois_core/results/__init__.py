"""Results of a session: the lesion report, pictures, DICOM files, and scores against a truth."""
