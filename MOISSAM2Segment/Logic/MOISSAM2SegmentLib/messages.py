"""Texts for the user: their translation, and errors in plain words.

Constants are translated when their file is imported, which is before placeholders are filled in:
Slicer chooses the language before it loads any module, and a change of it needs a restart. What
the engine (`mois_core`) itself says stays in English.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from mois_core.errors import BadInput


def _untranslated(text: str) -> str:
    return text


tr: Callable[[str], str] = getattr(sys.modules.get("slicer.i18n"), "tr", _untranslated)
"""Slicer's own translation of a text, or none where there is no Slicer application.

Imported as `_`, as Slicer's tool that gathers texts for translators expects it. Nothing is imported
for it, so that what runs on the worker thread stays free of Slicer; our modules are loaded with
Slicer's translation in memory. It is not wrapped, because it tells texts apart by the file that
calls it.
"""

_ = tr

UNEXPECTED = _(
    "Something went wrong that should not have ({kind}). The details are in Slicer's error log."
)


def error_message(error: BaseException) -> str:
    """Return one or two sentences for the user; log a defect of ours with its traceback."""
    if isinstance(error, BadInput):
        text = str(error).strip()
        text = text[:1].upper() + text[1:]
        return text if text.endswith((".", "!", "?")) else f"{text}."
    logging.error("MOISSAM2: unexpected error", exc_info=error)
    return UNEXPECTED.format(kind=type(error).__name__)
