"""Synthetic whole-body scans with known lesions, for training, tests and demonstration."""

from mois_core.phantom.appearance import ATTRIBUTES, OPTIONS, Appearance
from mois_core.phantom.cohorts import COHORTS, cohort_settings
from mois_core.phantom.follow_up import LesionChange, make_follow_up
from mois_core.phantom.generate import (
    HELD_OUT_FROM,
    Phantom,
    PhantomLesion,
    PhantomSettings,
    is_held_out,
    make_phantom,
)
from mois_core.phantom.write import describe, write_phantom

__all__ = [
    "ATTRIBUTES",
    "COHORTS",
    "HELD_OUT_FROM",
    "OPTIONS",
    "Appearance",
    "LesionChange",
    "Phantom",
    "PhantomLesion",
    "PhantomSettings",
    "cohort_settings",
    "describe",
    "is_held_out",
    "make_follow_up",
    "make_phantom",
    "write_phantom",
]
