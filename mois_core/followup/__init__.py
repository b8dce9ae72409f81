"""Several scans of one patient: which lesion is which, and what became of it."""
