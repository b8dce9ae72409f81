"""DICOM series for tests, written slice by slice, whole or damaged."""

from __future__ import annotations

import numpy as np
import SimpleITK

ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0, 0, -1.0])
NORMAL = np.cross(ROW, COLUMN)
DISTANCE = 7.8
FIRST = np.array([-100.0, 60, 400])


def write_series(
    folder, uid, places, description="STIR", size=(12, 16), column=COLUMN, sideways=(0, 0, 0)
) -> list:
    """Write one coronal slice a file, slice n filled with n + 1, at `places` times the distance."""
    folder.mkdir(exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    files = []
    for n, place in enumerate(places):
        image = SimpleITK.GetImageFromArray(np.full((1, *size[::-1]), n + 1, dtype=np.int16))
        position = FIRST + place * DISTANCE * NORMAL + n * np.array(sideways)
        image.SetSpacing((0.7, 0.6, DISTANCE))
        tags = {
            "0008|0005": "ISO_IR 100",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"{uid}.{n + 1}",
            "0008|0060": "MR",
            "0008|103e": description,
            "0010|0010": "Geheim^Patient",
            "0018|0050": str(DISTANCE),
            "0020|000d": "1.2.826.1",
            "0020|000e": uid,
            "0020|0013": str(n + 1),
            "0020|0032": "\\".join(f"{mm:.5f}" for mm in position),
            "0020|0037": "\\".join(f"{part:.5f}" for part in (*ROW, *column)),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        # Names in an order of their own: the stacking order has to come from the positions.
        files.append(folder / f"{uid[-1]}_{(n * 7) % 10}{n}.dcm")
        writer.SetFileName(str(files[-1]))
        writer.Execute(image)
    return files
