"""Published checkpoints: which there are, where they lie on this computer, how they get there.

Nothing here downloads unless `download` is called.
"""

from mois_core.weights.download import download
from mois_core.weights.importing import import_file
from mois_core.weights.store import Listed, checksum, list_entries, remove, resolve, store_dir

__all__ = [
    "Listed",
    "checksum",
    "download",
    "import_file",
    "list_entries",
    "remove",
    "resolve",
    "store_dir",
]
