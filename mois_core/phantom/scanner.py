"""Scanners, and their effects: contrast, coil shading, station seams, noise and integers.

The presets mirror the paper's domain shifts (Siemens 3 T; Siemens 1.5 T; Philips 3 T at another
site) in kind. Their numbers are ours, chosen so that the shift is plain to see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.phantom.grid import Grid, smooth_noise


@dataclass(frozen=True)
class Scanner:
    """Look of the images of one vendor at one field strength."""

    vendor: str
    field_tesla: float
    slices: int
    """How many slices this site usually takes."""
    slice_mm: float
    noise: float
    """Standard deviation before scaling; fluid is 1."""
    bias: float
    """How strongly the coils' sensitivity varies over the body."""
    seams: float
    """How much the gain steps from one station to the next."""
    stations: int
    fat_failure: float
    """How patchy the fat suppression is; below 0.3 it never fails."""
    contrast: float
    """0 keeps the tissues' brightness; positive darkens the middle greys, negative lifts them."""
    blur_mm: float
    scale: float
    """Integer value of fluid."""


_PRESETS = (
    Scanner("siemens", 3.0, 32, 7.8, 0.018, 0.16, 0.08, 5, 0.55, 0.0, 1.0, 620),
    Scanner("siemens", 1.5, 28, 7.8, 0.038, 0.10, 0.12, 5, 0.35, -0.25, 2.2, 340),
    Scanner("philips", 3.0, 46, 5.5, 0.028, 0.24, 0.15, 4, 0.75, 0.30, 1.4, 1750),
    Scanner("philips", 1.5, 42, 5.5, 0.048, 0.15, 0.18, 4, 0.45, 0.05, 2.4, 980),
)
VENDORS = tuple(dict.fromkeys(preset.vendor for preset in _PRESETS))
FIELDS = tuple(dict.fromkeys(preset.field_tesla for preset in _PRESETS))


def find_scanner(vendor: str, field_tesla: float) -> Scanner:
    """Return the preset of a vendor and field strength."""
    for preset in _PRESETS:
        if (preset.vendor, preset.field_tesla) == (vendor, field_tesla):
            return preset
    raise BadInput(
        f"no scanner {vendor!r} with {field_tesla:g} T; vendors are {', '.join(VENDORS)}, "
        f"fields {', '.join(f'{field:g}' for field in FIELDS)}"
    )


def acquire(rng: np.random.Generator, grid: Grid, body: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return the scan as int16. The body is used up: its memory is worked in."""
    signal = body
    if scanner.contrast:
        signal += np.float32(scanner.contrast) * signal * (signal - 1)
        np.maximum(signal, 0, out=signal)
    _blur(signal, grid, scanner.blur_mm)
    coils = smooth_noise(rng, grid.bounds, grid.axes(), (160, 260, 170))
    coils *= np.float32(scanner.bias)
    coils += 1
    signal *= np.clip(coils, 0.4, 1.8, out=coils)
    signal *= _stations(rng, grid, scanner)
    scale = scanner.scale * rng.uniform(0.85, 1.2)
    return _digitise(rng, signal, scanner.noise, scale)


def _blur(signal: np.ndarray, grid: Grid, blur_mm: float) -> None:
    """Apply the point spread in the plane, and the cross-talk of neighbouring slices."""
    for axis, spacing in ((1, grid.spacing[1]), (2, grid.spacing[0])):
        sigma = blur_mm / spacing
        if sigma > 0.2:
            ndimage.gaussian_filter1d(signal, sigma, axis=axis, output=signal, truncate=3)
    before = signal[:1]
    for k in range(len(signal)):
        own = signal[k : k + 1].copy()
        after = signal[k + 1 : k + 2] if k + 1 < len(signal) else own
        signal[k : k + 1] = np.float32(0.76) * own + np.float32(0.12) * (before + after)
        before = own


def _stations(rng: np.random.Generator, grid: Grid, scanner: Scanner) -> np.ndarray:
    """Return the gain of every row: a step between stations, each weaker towards its ends."""
    count = scanner.stations
    gains = 1 + scanner.seams * rng.uniform(-1, 1, size=count)
    shift = rng.uniform(-0.25, 0.25)
    low, high = grid.bounds[1]
    _, y, _ = grid.axes()
    position = np.clip((y.astype(np.float64) - low) / (high - low) * count + shift, 0, count - 1e-6)
    station = position.astype(int)
    off_centre = 2 * (position - station) - 1
    off_centre *= off_centre
    falloff = 1 - 0.7 * scanner.seams * off_centre * off_centre
    return (gains[station] * falloff).astype(np.float32)


def _digitise(
    rng: np.random.Generator, signal: np.ndarray, noise: float, scale: float
) -> np.ndarray:
    """Return the magnitude image as integers, with its Rician noise.

    Such noise is never negative, and air is not quite zero.
    """
    scan = np.empty(signal.shape, dtype=np.int16)
    for k, own in enumerate(signal):
        real = own + np.float32(noise) * rng.standard_normal(own.shape, dtype=np.float32)
        imaginary = np.float32(noise) * rng.standard_normal(own.shape, dtype=np.float32)
        magnitude = np.sqrt(real * real + imaginary * imaginary) * np.float32(scale)
        scan[k] = np.rint(np.minimum(magnitude, 32000))
    return scan
