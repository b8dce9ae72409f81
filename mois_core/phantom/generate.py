"""Make phantoms: from a seed to a scan and its truth, all in memory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.phantom.appearance import ATTRIBUTES, Appearance, check_attributes, draw_appearances
from mois_core.phantom.body import paint_body
from mois_core.phantom.grid import Grid
from mois_core.phantom.lesions import paint_lesions
from mois_core.phantom.patient import Patient, draw_patient
from mois_core.phantom.plan import Coverage, LesionPlan, plan_lesions
from mois_core.phantom.posture import bent, draw_posture
from mois_core.phantom.scanner import Scanner, acquire, find_scanner

HELD_OUT_FROM = 100_000
"""Seeds from here on are for testing only; the training code refuses them."""

_LESIONS, _SLICES, _HEIGHT_CM = (2, 400), (1, 51), (100.0, 200.0)
_ROWS, _COLUMNS = (64, 2048), (32, 2048)
_VOXELS_PER_LESION = 400
"""Air and healthy tissue included: with fewer, lesions would have no voxel of their own."""


def is_held_out(seed: int) -> bool:
    """Return whether a phantom with this seed must never be trained on."""
    return seed >= HELD_OUT_FROM


@dataclass(frozen=True)
class PhantomSettings:
    """Everything about a phantom that is not drawn from its seed."""

    lesions: int = 30
    slices: int | None = None
    """Number of slices; None for as many as the scanner's site usually takes."""
    size: tuple[int, int] = (1024, 320)
    """Rows and columns. The field of view stays, the voxels grow or shrink."""
    vendor: str = "siemens"
    field_tesla: float = 3.0
    attributes: tuple[str, ...] = ATTRIBUTES
    """What tells appearances apart; a single one makes a harder benchmark."""
    appearances: int = 4
    burden_cm3: float | None = None
    """What the volumes of all lesions, distractors too, are scaled to; None: as drawn."""
    height_cm: float = 160.0
    noise: float = 1.0
    """Factors on the scanner's own noise, bias field and seams."""
    bias: float = 1.0
    seams: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", check_attributes(self.attributes))
        _check("lesions", self.lesions, _LESIONS)
        if self.slices is not None:
            _check("slices", self.slices, _SLICES)
        _check("rows", self.size[0], _ROWS)
        _check("columns", self.size[1], _COLUMNS)
        _check("appearances", self.appearances, (2, 4))
        _check("the height in cm", self.height_cm, _HEIGHT_CM)
        if self.burden_cm3 is not None:
            _check("the burden in cm3", self.burden_cm3, (0.2, 5000))
        voxels = self.size[0] * self.size[1] * self.scanner.slices
        if voxels < _VOXELS_PER_LESION * self.lesions:
            raise BadInput(
                f"{self.size[0]}x{self.size[1]} with {self.scanner.slices} slices is too small "
                f"for {self.lesions} lesions; choose a larger size or fewer lesions"
            )
        for name in ("noise", "bias", "seams"):
            _check(f"the factor on {name}", getattr(self, name), (0, 10))

    @property
    def scanner(self) -> Scanner:
        """The scanner's preset with this phantom's own factors and slice count."""
        preset = find_scanner(self.vendor, self.field_tesla)
        return dataclasses.replace(
            preset,
            slices=preset.slices if self.slices is None else self.slices,
            noise=preset.noise * self.noise,
            bias=preset.bias * self.bias,
            seams=preset.seams * self.seams,
        )


def _check(what: str, value: float, allowed: tuple[float, float]) -> None:
    low, high = allowed
    if not low <= value <= high:
        raise BadInput(f"{what} must be from {low:g} to {high:g}, not {value:g}")


@dataclass(frozen=True)
class PhantomLesion:
    """The truth about one lesion of a phantom, measured on the painted labels."""

    id: int
    appearance: int
    target: bool
    shape: str
    centroid_ras: tuple[float, float, float]
    """In mm, moved to the nearest voxel centre inside the lesion."""
    volume_cm3: float
    voxels: int
    slices: int


@dataclass(frozen=True)
class PhantomPlan:
    """A patient with lesions, drawn but not yet painted."""

    seed: int
    settings: PhantomSettings
    patient: Patient
    coverage: Coverage
    appearances: tuple[Appearance, ...]
    target: int
    """Index of the appearance to be found."""
    lesions: tuple[LesionPlan, ...]


@dataclass(frozen=True)
class Phantom:
    """A synthetic scan and its truth.

    Arrays are indexed [k, j, i], like those of a `Volume`: slices run to posterior, rows to
    superior (upwards), columns to the patient's left.
    """

    plan: PhantomPlan
    scan: np.ndarray
    """int16"""
    instances: np.ndarray
    """uint16; a lesion's id, or 0."""
    ijk_to_ras: np.ndarray
    spacing: tuple[float, float, float]
    lesions: tuple[PhantomLesion, ...]

    @property
    def seed(self) -> int:
        """The seed that the phantom was drawn from."""
        return self.plan.seed

    @property
    def appearances(self) -> tuple[Appearance, ...]:
        """The appearances that lesions of this phantom have."""
        return self.plan.appearances

    @property
    def target(self) -> int:
        """Index of the appearance to be found."""
        return self.plan.target

    def labels_of(self, appearance: int) -> np.ndarray:
        """Return a uint8 array that is 1 in every lesion of one appearance."""
        chosen = np.zeros(int(self.instances.max()) + 1, dtype=np.uint8)
        chosen[[lesion.id for lesion in self.lesions if lesion.appearance == appearance]] = 1
        return chosen[self.instances]

    @property
    def semantic(self) -> np.ndarray:
        """A uint8 array that is 1 in every lesion of the target appearance."""
        return self.labels_of(self.target)


def random_stream(seed: int, purpose: str, visit: int = 0) -> np.random.Generator:
    """Return random numbers for one purpose, independent of those for all others.

    So another scanner, say, or another number of lesions leaves the patient as it is.
    """
    sequence = np.random.SeedSequence([seed, visit, *purpose.encode()])
    return np.random.Generator(np.random.PCG64(sequence))


def make_phantom(seed: int, settings: PhantomSettings | None = None, **changes: object) -> Phantom:
    """Make the phantom of a seed. `changes` override single fields of the settings."""
    return render(draw_plan(seed, dataclasses.replace(settings or PhantomSettings(), **changes)))


def draw_plan(seed: int, settings: PhantomSettings) -> PhantomPlan:
    """Draw patient, appearances and lesions."""
    if seed < 0:
        raise BadInput(f"the seed must not be negative, but is {seed}")
    scanner = settings.scanner
    coverage = Coverage(scanner.slices, scanner.slice_mm)
    patient = draw_patient(
        random_stream(seed, "patient"),
        settings.height_cm * 10,
        max(scanner.slices, 20) * scanner.slice_mm,
    )
    looks = random_stream(seed, "appearances")
    appearances = draw_appearances(looks, settings.attributes, settings.appearances)
    target = int(looks.integers(len(appearances)))
    lesions = plan_lesions(
        random_stream(seed, "lesions"),
        patient,
        coverage,
        appearances,
        target,
        settings.lesions,
        settings.burden_cm3,
    )
    return PhantomPlan(
        seed, settings, patient, coverage, tuple(appearances), target, tuple(lesions)
    )


def render(
    plan: PhantomPlan, visit: int = 0, slice_mm: float | None = None, posture: float = 0
) -> Phantom:
    """Paint and scan a planned phantom.

    At a later visit the same patient lies a little differently, and ``posture`` is a factor on how
    far back and arms are bent then. ``slice_mm`` is another thickness of slices than the scanner's;
    there are as many as cover the same depth.
    """
    rows, columns = plan.settings.size
    scanner = plan.settings.scanner
    thickness = scanner.slice_mm if slice_mm is None else slice_mm
    slices = round(scanner.slices * scanner.slice_mm / thickness)
    grid = Grid(rows, columns, slices, plan.patient.height, thickness)
    body, inside = paint_body(
        random_stream(plan.seed, "body"),
        random_stream(plan.seed, "today", visit),
        grid,
        plan.patient,
        scanner.fat_failure,
    )
    instances = paint_lesions(grid, body, inside, plan.lesions, plan.appearances)
    if visit:
        body, instances = _moved(random_stream(plan.seed, "position", visit), grid, body, instances)
    if posture:
        drawn = draw_posture(random_stream(plan.seed, "posture", visit), posture)
        body, instances = bent(grid, drawn, body, instances)
    scan = acquire(random_stream(plan.seed, "scan", visit), grid, body, scanner)
    return Phantom(
        plan=plan,
        scan=scan,
        instances=instances,
        ijk_to_ras=grid.ijk_to_ras,
        spacing=grid.spacing,
        lesions=tuple(_measure(grid, instances, plan)),
    )


def _moved(rng, grid: Grid, *volumes: np.ndarray) -> list[np.ndarray]:
    """Shift volumes by up to a few mm in the plane; what leaves the field of view is air."""
    up, across = rng.uniform(-7, 7), rng.uniform(-4, 4)
    shift = (0, round(up / grid.spacing[1]), round(across / grid.spacing[0]))
    return [np.roll(volume, shift, axis=(0, 1, 2)) for volume in volumes]


def _measure(grid: Grid, instances: np.ndarray, plan: PhantomPlan) -> list[PhantomLesion]:
    boxes = ndimage.find_objects(instances)
    voxel_cm3 = grid.spacing[0] * grid.spacing[1] * grid.spacing[2] / 1000
    lesions = []
    for planned in plan.lesions:
        box = boxes[planned.id - 1]
        inside = np.argwhere(instances[box] == planned.id)
        offset = (inside - inside.mean(axis=0)) * np.array(grid.spacing[::-1])
        nearest = inside[np.argmin((offset * offset).sum(axis=1))]
        k, j, i = (int(n) + cut.start for n, cut in zip(nearest, box, strict=True))
        ras = (grid.ijk_to_ras * np.array([i, j, k, 1.0])).sum(axis=1)[:3]
        lesions.append(
            PhantomLesion(
                id=planned.id,
                appearance=planned.appearance,
                target=planned.appearance == plan.target,
                shape=planned.shape,
                centroid_ras=tuple(round(float(mm), 3) for mm in ras),
                volume_cm3=round(len(inside) * voxel_cm3, 4),
                voxels=len(inside),
                slices=len(np.unique(inside[:, 0])),
            )
        )
    return lesions
