"""Errors in the words of the person who reads them."""

from __future__ import annotations

import logging

from mois_core.errors import BadInput

UNEXPECTED = (
    "Something went wrong that should not have ({kind}). Nothing was lost; the details are in "
    "Slicer's error log."
)


def words_for(error: BaseException) -> str:
    """One or two sentences; what is a defect of ours goes to the log with its traceback."""
    if isinstance(error, BadInput):
        text = str(error).strip()
        text = text[:1].upper() + text[1:]
        return text if text.endswith((".", "!", "?")) else f"{text}."
    logging.error("MOISSAM2: unexpected error", exc_info=error)
    return UNEXPECTED.format(kind=type(error).__name__)
