"""Systems that MOIS-SAM2 is compared with, each in a file of its own.

A further one is a file with a class that derives from a `Segmenter`, and a line in `BASELINES`. Its
file may import what only it needs: who does not ask for it does not load it, and where a package is
not installed the user is told so. ``docs/baselines.md`` says what each is faithful to.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from mois_core.evaluation.segmenters import Missing, Segmenter


@dataclass(frozen=True)
class Baseline:
    """Title in tables and figures, and where the class is: FILE:CLASS within this package."""

    title: str
    place: str

    def load(self) -> type[Segmenter]:
        """Import the class; say what to install where it cannot be imported."""
        file, _, name = self.place.partition(":")
        try:
            module = importlib.import_module(f"{__name__}.{file}")
        except ModuleNotFoundError as error:
            if not error.name or error.name.partition(".")[0] == "mois_core":
                raise
            raise Missing(
                f"it needs the Python package '{error.name}', which is not installed; install it "
                "with: pip install 'mois-core[baselines]'"
            ) from error
        return getattr(module, name)


BASELINES: Mapping[str, Baseline] = {
    "region-growing": Baseline("Region growing", "region_growing:RegionGrowing"),
    "masks": Baseline("Finished masks", "finished_masks:FinishedMasks"),
    "unet": Baseline("3-D U-Net", "unet3d:UNet3D"),
    "dins": Baseline("DINs", "dins:Dins"),
    "sw-fastedit": Baseline("SW-FastEdit", "sw_fastedit:SwFastEdit"),
    "nnunet": Baseline("nnU-Net", "nnunet:NnUnet"),
    "nninteractive": Baseline("nnInteractive", "nninteractive:NnInteractive"),
    "simpleclick-stcn": Baseline("SimpleClick + STCN", "simpleclick_stcn:SimpleClickStcn"),
    "vista3d": Baseline("VISTA3D", "vista3d:Vista3d"),
    "vista3d-automatic": Baseline("VISTA3D, automatic", "vista3d:Vista3dAutomatic"),
}
"""Every baseline by the word that the command line knows it by."""
