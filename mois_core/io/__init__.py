"""Files in and out: scans, label maps, clicks and segmentations."""

from mois_core.io.atomic import atomic_write
from mois_core.io.images import write_image
from mois_core.io.points import Click, click_label, read_points, write_points
from mois_core.io.scan import read_labels, read_scan
from mois_core.io.segmentation import check_segmentation_path, write_segmentation

__all__ = [
    "Click",
    "atomic_write",
    "check_segmentation_path",
    "click_label",
    "read_labels",
    "read_points",
    "read_scan",
    "write_image",
    "write_points",
    "write_segmentation",
]
