"""Training on crops of slices at the scale at which whole slices are seen.

A crop costs a fraction of a slice and has as many lesions. The network is told that the crop
is a part of a whole slice: a click's coordinates then mean the same distance in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from mois_core.network.config import STRIDE
from mois_core.network.model import Sam2


@contextmanager
def window(model: Sam2, size: int, row: int = 0, column: int = 0) -> Iterator[None]:
    """Let the network work on squares of ``size`` pixels that lie at (row, column) of a slice.

    Points are given in pixels of the whole slice. Row and column are multiples of the stride.
    """
    whole, encoder = model.config, model.sam_prompt_encoder
    if size == whole.image_size:
        yield
        return
    exemplars = whole.exemplars
    if exemplars:
        exemplars = replace(exemplars, no_exemplar_tokens=whole.no_exemplar_tokens)
    first_row, first_column, side = row // STRIDE, column // STRIDE, size // STRIDE

    def positions() -> Tensor:
        grid = encoder.pe_layer.grid(whole.map_size)
        rows = slice(first_row, first_row + side)
        return grid[:, rows, first_column : first_column + side].unsqueeze(0)

    model.config = replace(whole, image_size=size, exemplars=exemplars)
    encoder.map_size = side
    encoder.positions = positions
    try:
        yield
    finally:
        model.config = whole
        encoder.map_size = whole.map_size
        del encoder.positions
