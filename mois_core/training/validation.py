"""Measures a network in training with the session, as a user would use it.

On phantoms of the training range that are not trained on, the question is whether the search
looks at its exemplars: right ones are compared with wrong ones and with none. What the search
itself marks is compared, without the lesions that were clicked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.io.atomic import atomic_write
from mois_core.network.exemplar import MoisSam2
from mois_core.network.model import Sam2
from mois_core.phantom import Phantom, is_held_out, make_phantom
from mois_core.results.scores import dice
from mois_core.session import NewClick, Session
from mois_core.session.components import deepest_point
from mois_core.session.intensity import normalise
from mois_core.session.masks import Mask
from mois_core.training.config import ValidationConfig
from mois_core.training.scans import phantom_settings
from mois_core.training.training_case import AS_PREPARED, TrainingCase


def validation_phantoms(how: ValidationConfig) -> list[Phantom]:
    """Return the phantoms of a run's validation; held-out ones are refused."""
    seeds = range(how.first_phantom, how.first_phantom + how.phantoms)
    if any(is_held_out(seed) for seed in seeds):
        raise BadInput("phantoms that are held out for testing must not be used in training")
    return [make_phantom(seed, phantom_settings(seed)) for seed in seeds]


def measure(
    model: Sam2, phantoms: Sequence[Phantom], exemplars: int, pictures: Path | None = None
) -> dict[str, float]:
    """Return the mean Dice of clicked lesions, and of searches with right, wrong and no exemplars.

    ``pictures`` is a folder for one slice of each phantom as it comes out.
    """
    rows = [_measure_phantom(model, phantom, exemplars, pictures) for phantom in phantoms]
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {**means, "score": means["right"] - 0.5 * means["wrong"] + 0.5 * means["clicked"]}


def measure_cases(model: Sam2, cases: Sequence[TrainingCase], exemplars: int) -> dict[str, float]:
    """Return the scan-wise Dice of prepared cases and that of clicked lesions.

    The largest lesions are clicked, then the scan is searched. A model without exemplars is
    measured on the clicked lesions alone.
    """
    rows = [_measure_case(model, case, exemplars) for case in cases]
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {**means, "score": means["scan"]}


def _measure_case(model: Sam2, case: TrainingCase, exemplars: int) -> dict[str, float]:
    session = Session(model, case.volume(), AS_PREPARED)
    clicks = []
    for true_id in range(1, min(exemplars, int(case.labels.max())) + 1):
        mask = Mask.from_stack(case.labels == true_id)
        place = deepest_point(mask, session.stack.pixel_spacing)
        clicks.append(NewClick(session.stack.point_to_ras(*place)))
    clicked = [
        dice(session.mask(lesion_id), case.labels == true_id)
        for true_id, lesion_id in enumerate(session.clicks(clicks), start=1)
    ]
    if isinstance(model, MoisSam2) and session.exemplars_for(0):
        session.find_similar()
    scan = dice(session.labels() > 0, case.labels > 0)
    return {"scan": scan, "clicked": float(np.mean(clicked))}


def _measure_phantom(
    model: Sam2, phantom: Phantom, exemplars: int, pictures: Path | None
) -> dict[str, float]:
    volume = Volume(phantom.scan, phantom.ijk_to_ras)
    truth = phantom.semantic > 0
    session = Session(model, volume)
    found, clicked = _click_and_search(session, phantom, phantom.target, exemplars)
    if pictures is not None:
        _draw(pictures / f"sample-{phantom.seed}.png", session, phantom)
    session.find_similar(use_exemplars=False)
    alone = session.stack.to_volume(session.semantic)
    others = [lesion.appearance for lesion in phantom.lesions if not lesion.target]
    commonest = max(set(others), key=lambda appearance: (others.count(appearance), -appearance))
    while session.undo():
        pass
    wrong, _ = _click_and_search(session, phantom, commonest, exemplars)
    return {
        "right": dice(found, truth),
        "wrong": dice(wrong, truth),
        "none": dice(alone, truth),
        "none all": dice(alone, phantom.instances > 0),
        "clicked": clicked,
    }


def _click_and_search(
    session: Session, phantom: Phantom, appearance: int, exemplars: int
) -> tuple[np.ndarray, float]:
    """What a search finds after clicks on lesions of an appearance, and the Dice of these."""
    same = [lesion for lesion in phantom.lesions if lesion.appearance == appearance]
    lesions = same[:exemplars]
    lesion_ids = session.clicks([NewClick(lesion.centroid_ras) for lesion in lesions])
    clicked = [
        dice(session.mask(lesion_id), phantom.instances == lesion.id)
        for lesion_id, lesion in zip(lesion_ids, lesions, strict=True)
    ]
    if not any(session.exemplars_for(n) for n in range(session.stack.count)):
        return np.zeros(phantom.instances.shape, dtype=bool), float(np.mean(clicked))
    session.find_similar()
    return session.stack.to_volume(session.semantic), float(np.mean(clicked))


def _draw(path: Path, session: Session, phantom: Phantom) -> None:
    """Draw the slice with most to find: found filled red, target outlined green, others blue."""
    truth = session.stack.from_volume(phantom.semantic > 0)
    slice_index = int(truth.sum(axis=(1, 2)).argmax())
    image = session.stack.from_volume(normalise(phantom.scan))[slice_index]
    others = session.stack.from_volume(phantom.instances > 0)[slice_index] & ~truth[slice_index]
    picture = np.repeat(image[:, :, None], 3, axis=2)
    picture[session.semantic[slice_index], 0] += 90
    for mask, colour in ((truth[slice_index], (0, 255, 0)), (others, (80, 120, 255))):
        picture[mask & ~ndimage.binary_erosion(mask)] = colour
    with atomic_write(path) as temporary:
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(temporary)
