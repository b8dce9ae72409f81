"""Write phantoms as files: the same phantom gives the same bytes, wherever it is written."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict

from mois_core.geometry import Volume
from mois_core.io.atomic import atomic_write, make_folder
from mois_core.io.images import write_image
from mois_core.phantom.follow_up import LesionChange
from mois_core.phantom.generate import Phantom, is_held_out


def write_phantom(
    phantom: Phantom, folder: str | os.PathLike[str], changes: Sequence[LesionChange] = ()
) -> None:
    """Write `scan.nii.gz`, `instances.nii.gz`, `semantic.nii.gz` and, last, `lesions.json`."""
    folder = make_folder(folder)
    volumes = {
        "scan": phantom.scan,
        "instances": phantom.instances,
        "semantic": phantom.semantic,
    }
    for name, array in volumes.items():
        write_image(folder / f"{name}.nii.gz", Volume(array, phantom.ijk_to_ras))
    table = json.dumps(describe(phantom, changes), indent=1) + "\n"
    with atomic_write(folder / "lesions.json") as temporary:
        temporary.write_bytes(table.encode())


def describe(phantom: Phantom, changes: Sequence[LesionChange] = ()) -> dict[str, object]:
    """Return the content of `lesions.json`, with changes since the baseline if there was one."""
    table: dict[str, object] = {
        "seed": phantom.seed,
        "held_out": is_held_out(phantom.seed),
        "settings": asdict(phantom.plan.settings),
        "target_appearance": phantom.target,
        "appearances": [
            {"id": index, "name": look.name, "target": index == phantom.target, **asdict(look)}
            for index, look in enumerate(phantom.appearances)
        ],
        "lesions": [asdict(lesion) for lesion in phantom.lesions],
    }
    if changes:
        # Without merged and split ones, the bytes are those of earlier versions.
        table["changes"] = [
            {key: value for key, value in asdict(change).items() if key != "other" or value}
            for change in changes
        ]
    return table
