"""A folder for matplotlib, where the user's own cannot be written.

On import matplotlib looks for a folder for its settings and its list of fonts. With a home that is
read-only, as on many hospital and cluster machines, it says so in several lines on stderr.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

_VARIABLE = "MPLCONFIGDIR"


def provide_matplotlib_folder() -> None:
    """Point matplotlib to a temporary folder if it could not write to its own.

    To be called before matplotlib is first imported.
    """
    if os.environ.get(_VARIABLE) or all(_is_writable(folder) for folder in _own_folders()):
        return
    try:
        folder = tempfile.mkdtemp(prefix="mois-matplotlib-")
    except OSError:  # then matplotlib says itself what it needs
        return
    os.environ[_VARIABLE] = folder
    # In an empty folder the list of fonts is made anew; on slow machines matplotlib says so too.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _own_folders() -> list[Path]:
    """Return the folders that matplotlib uses by itself, or none that exists without a home."""
    try:
        home = Path.home()
    except RuntimeError:
        home = Path(os.devnull)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return [Path(local, "matplotlib") if local else home / ".matplotlib"]
    if sys.platform == "darwin":
        return [home / ".matplotlib"]
    return [
        Path(os.environ.get(variable) or home / usual, "matplotlib")
        for variable, usual in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache"))
    ]


def _is_writable(folder: Path) -> bool:
    """Try what matplotlib will do: asking for permissions alone is answered wrongly by some."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
