"""Does the search look at its exemplars? Right ones against wrong ones and none, by the session.

Measured on phantoms of the training range that are not trained on. What the search itself marks
is compared, without the lesions that were clicked.
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
from mois_core.training.cases import TrainingCase
from mois_core.training.config import Validation
from mois_core.training.scans import phantom_settings


def validation_phantoms(how: Validation) -> list[Phantom]:
    """The phantoms of a run's validation."""
    seeds = range(how.first_phantom, how.first_phantom + how.phantoms)
    if any(is_held_out(seed) for seed in seeds):
        raise BadInput("phantoms that are held out for testing must not be used in training")
    return [make_phantom(seed, phantom_settings(seed, is_whole=False)) for seed in seeds]


def measure(
    model: Sam2, phantoms: Sequence[Phantom], exemplars: int, pictures: Path | None = None
) -> dict[str, float]:
    """Mean Dice of the search with right, wrong and no exemplars, and of clicked lesions.

    ``pictures`` is a folder for one slice of each phantom as it comes out.
    """
    rows = [_measure_one(model, phantom, exemplars, pictures) for phantom in phantoms]
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {**means, "score": means["right"] - 0.5 * means["wrong"] + 0.5 * means["clicked"]}


def measure_cases(model: Sam2, cases: Sequence[TrainingCase], exemplars: int) -> dict[str, float]:
    """Scan-wise Dice over prepared cases: the largest lesions are clicked, then all is searched.

    A model without exemplars is measured on the clicked lesions alone.
    """
    rows = [_measure_case(model, case, exemplars) for case in cases]
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {**means, "score": means["scan"]}


def _measure_case(model: Sam2, case: TrainingCase, exemplars: int) -> dict[str, float]:
    session = Session(model, case.volume())
    clicks = []
    for lesion in range(1, min(exemplars, int(case.labels.max())) + 1):
        mask = Mask.from_stack(case.labels == lesion)
        place = deepest_point(mask, session.stack.pixel_spacing)
        clicks.append(NewClick(session.stack.point_to_ras(*place)))
    numbers = session.clicks(clicks)
    clicked = [
        dice(session.mask(number), case.labels == lesion)
        for lesion, number in enumerate(numbers, start=1)
    ]
    if isinstance(model, MoisSam2) and session.exemplars_for(0):
        session.find_similar()
    scan = dice(session.labels() > 0, case.labels > 0)
    return {"scan": scan, "clicked": float(np.mean(clicked))}


def _measure_one(
    model: Sam2, phantom: Phantom, exemplars: int, pictures: Path | None
) -> dict[str, float]:
    volume = Volume(phantom.scan, phantom.ijk_to_ras)
    truth = phantom.semantic > 0
    session = Session(model, volume)
    found, clicked = _search(session, phantom, phantom.target, exemplars)
    if pictures is not None:
        _draw(pictures / f"sample-{phantom.seed}.png", session, phantom)
    session.find_similar(use_exemplars=False)
    alone = session.stack.to_volume(session.semantic)
    looks = [lesion.appearance for lesion in phantom.lesions if not lesion.target]
    other = max(set(looks), key=lambda look: (looks.count(look), -look))
    while session.undo():
        pass
    wrong, _ = _search(session, phantom, other, exemplars)
    return {
        "right": dice(found, truth),
        "wrong": dice(wrong, truth),
        "none": dice(alone, truth),
        "none all": dice(alone, phantom.instances > 0),
        "clicked": clicked,
    }


def _search(
    session: Session, phantom: Phantom, look: int, exemplars: int
) -> tuple[np.ndarray, float]:
    lesions = [lesion for lesion in phantom.lesions if lesion.appearance == look][:exemplars]
    numbers = session.clicks([NewClick(lesion.centroid_ras) for lesion in lesions])
    clicked = [
        dice(session.mask(number), phantom.instances == lesion.id)
        for number, lesion in zip(numbers, lesions, strict=True)
    ]
    if not any(session.exemplars_for(n) for n in range(session.stack.count)):
        return np.zeros(phantom.instances.shape, dtype=bool), float(np.mean(clicked))
    session.find_similar()
    return session.stack.to_volume(session.semantic), float(np.mean(clicked))


def _draw(path: Path, session: Session, phantom: Phantom) -> None:
    """The slice with most to find: found filled red, the target outlined green, others blue."""
    truth = session.stack.from_volume(phantom.semantic > 0)
    number = int(truth.sum(axis=(1, 2)).argmax())
    image = session.stack.from_volume(normalise(phantom.scan))[number]
    others = session.stack.from_volume(phantom.instances > 0)[number] & ~truth[number]
    picture = np.repeat(image[:, :, None], 3, axis=2)
    picture[session.semantic[number], 0] += 90
    for mask, colour in ((truth[number], (0, 255, 0)), (others, (80, 120, 255))):
        picture[mask & ~ndimage.binary_erosion(mask)] = colour
    with atomic_write(path) as temporary:
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(temporary)
