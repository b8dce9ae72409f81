"""Loading torch's libraries, which takes a second or more, without stopping the whole program.

Python holds its lock while an ``import`` loads a library, whichever thread imports: the main thread
stands still, and Slicer's window with it. A foreign function that is called through `ctypes` gives
the lock back. So the system is asked to load the libraries before torch is imported, which then
finds them in memory. On Windows torch loads them in this way itself.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path


def load_libraries() -> list[str]:
    """Load torch's libraries if it is not imported yet; return the names of those that are loaded.

    Whatever cannot be loaded here is left to torch's own import, which tells what is wrong. Runs on
    the worker.
    """
    if "torch" in sys.modules or os.name != "posix":
        return []
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return []
    load = ctypes.CDLL(None).dlopen
    load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    # As torch loads them: the first one for all to see, with what a graphics card needs.
    wanted = {"libtorch_global_deps": os.RTLD_GLOBAL, "libtorch_python": os.RTLD_LOCAL}
    folder, ending = (
        Path(found.origin).parent / "lib",
        ".dylib" if sys.platform == "darwin" else ".so",
    )
    loaded = []
    for name, scope in wanted.items():
        library = folder / f"{name}{ending}"
        if library.is_file() and load(os.fsencode(library), os.RTLD_NOW | scope):
            loaded.append(name)
    return loaded
