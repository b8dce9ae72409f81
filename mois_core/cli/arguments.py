"""Types of command-line arguments that several commands share."""

from __future__ import annotations

import argparse
import math


def matrix_size(text: str) -> tuple[int, int]:
    """Read the size of a matrix written as ROWSxCOLUMNS."""
    rows, _, columns = text.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise argparse.ArgumentTypeError(f"write it as ROWSxCOLUMNS, like 512x160, not {text!r}")
    return int(rows), int(columns)


def network_input_size(text: str) -> tuple[int, int]:
    """Read the size of a network's input: ROWSxCOLUMNS, or the side of a square."""
    return (int(text),) * 2 if text.isdecimal() else matrix_size(text)


GIB = 2**30
MOST_GB = 1e6


def memory_size(text: str) -> int:
    """Read an amount of memory in GB; return it in bytes."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= MOST_GB:
        raise argparse.ArgumentTypeError(f"give an amount in GB, like 4 or 0.5, not {text!r}")
    return round(number * GIB)


def finite_number(text: str) -> float:
    """Read a number; infinity and NaN are refused."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"give a number, not {text!r}")
    return number


NO_SERIES = "-"


def series_uids(text: str) -> tuple[str, ...]:
    """Read the series that make one scan, written as UID or UID+UID; none of them as ``-``."""
    return () if text == NO_SERIES else tuple(part for part in text.split("+") if part)
