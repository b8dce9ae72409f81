"""Checkpoints: which are published, where they lie on this computer, and how one is opened.

Nothing here downloads unless `download` is called.
"""

from mois_core.weights.download import download
from mois_core.weights.importing import import_file
from mois_core.weights.open_checkpoint import OpenedModel, network_of, open_checkpoint
from mois_core.weights.store import (
    ListedCheckpoint,
    NotHere,
    checksum,
    list_entries,
    remove,
    resolve,
    sha256_of,
    store_dir,
)

__all__ = [
    "ListedCheckpoint",
    "NotHere",
    "OpenedModel",
    "checksum",
    "download",
    "import_file",
    "list_entries",
    "network_of",
    "open_checkpoint",
    "remove",
    "resolve",
    "sha256_of",
    "store_dir",
]
