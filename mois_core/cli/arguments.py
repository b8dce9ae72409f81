"""Types of command-line arguments that several commands share."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence


def matrix_size(text: str) -> tuple[int, int]:
    """Read the size of a matrix written as ROWSxCOLUMNS."""
    rows, _, columns = text.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise argparse.ArgumentTypeError(f"write it as ROWSxCOLUMNS, like 512x160, not {text!r}")
    return int(rows), int(columns)


def network_input_size(text: str) -> tuple[int, int]:
    """Read the size of a network's input: ROWSxCOLUMNS, or the side of a square."""
    return (int(text),) * 2 if text.isdecimal() else matrix_size(text)


def grey_window(text: str) -> tuple[float, float]:
    """Read a grey window written as LOW,HIGH."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise argparse.ArgumentTypeError(f"write it as LOW,HIGH, like -160,240, not {text!r}")
    return low, high


class WindowOrSlices(argparse.Action):
    """``--window`` where it has two meanings: LOW,HIGH, or as of old a number of slices."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str,
        option_string: str | None = None,
    ) -> None:
        is_count = re.fullmatch(r"[+-]?\d+", values) is not None
        try:
            value = int(values) if is_count else grey_window(values)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from error
        setattr(namespace, "propagation_slices" if is_count else self.dest, value)


_BEGINS_WITH_MINUS = re.compile(r"-[\d.][^=]*,.*")


def with_joined_windows(words: Sequence[str]) -> list[str]:
    """Return a command line in which ``--window -160,240`` is one word.

    argparse knows what a negative number looks like, and takes a pair of them for an option.
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--window" and _BEGINS_WITH_MINUS.fullmatch(word):
            joined[-1] = f"--window={word}"
        else:
            joined.append(word)
    return joined


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


def seed(text: str) -> int:
    """Read what random numbers are drawn from: a whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"give a whole number from 0 on, not {text!r}")
    return int(text)


NO_SERIES = "-"


def series_uids(text: str) -> tuple[str, ...]:
    """Read the series that make one scan, written as UID or UID+UID; none of them as ``-``."""
    return () if text == NO_SERIES else tuple(part for part in text.split("+") if part)
