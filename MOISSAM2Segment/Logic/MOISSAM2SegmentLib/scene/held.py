"""Segments that someone else writes: an effect of the Segment Editor, with its masks and undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MOISSAM2SegmentLib.scene.shared_labelmap import image_of
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion
from MOISSAM2SegmentLib.worker.label_updates import Box, Patch

if TYPE_CHECKING:
    from mois_core.session.masks import Mask


@dataclass(frozen=True, eq=False)
class Picture:
    """A mask that is to become a segment's content."""

    ijk_to_ras: np.ndarray
    box: Box
    """Around what is in the mask and what is in the segment until now."""
    mask: np.ndarray
    """Inside the box."""
    present: np.ndarray
    """What is in the segment until now, inside the box too."""

    def image(self, allowed: np.ndarray | None = None) -> Any:
        """As an image as small as it may be. Where a change is not allowed, what is there stays,
        as with all masks of the Segment Editor."""
        mask = self.mask if allowed is None else np.where(allowed, self.mask, self.present)
        return image_of(self.ijk_to_ras, self.box, mask)


Write = Callable[[str, Picture], None]
"""Makes a picture a segment's content as far as masks allow."""


@dataclass(eq=False)
class Hold:
    """One segment and the lesion in it."""

    segment: str
    lesion: FreshLesion
    write: Write
    shown: Patch | None = None
    """What was handed to `write` last; what became of it may be less."""
    mask: Mask | None = None
    """The lesion's mask that this was. A step that leaves the lesion alone keeps the very same."""


class Holds:
    """All of them. A lesion that has not begun has no number yet and is found by its segment."""

    def __init__(self) -> None:
        self.have_written = False
        """Whether a segment was written since somebody looked: editors may have changed others
        along with it."""
        self._by_segment: dict[str, Hold] = {}

    def add(self, segment: str, lesion: FreshLesion, write: Write) -> None:
        """Hold a segment from now on."""
        self._by_segment[segment] = Hold(segment, lesion, write)

    def of_segment(self, segment: str) -> Hold | None:
        """The hold on a segment, if there is one."""
        return self._by_segment.get(segment)

    def clear(self) -> None:
        """Let go of all."""
        self._by_segment.clear()

    def items(self) -> list[tuple[int, Hold]]:
        """Lesion numbers and holds, of the lesions that have begun."""
        # A copy: the worker asks while the main thread may hold another one.
        holds = list(self._by_segment.values())
        return [(hold.lesion.number, hold) for hold in holds if hold.lesion.number is not None]

    def numbers(self) -> set[int]:
        """The lesions that are held. May be asked on any thread."""
        return {number for number, _ in self.items()}

    def __getitem__(self, number: int) -> Hold:
        return dict(self.items())[number]

    def __contains__(self, number: int) -> bool:
        return number in self.numbers()

    def __len__(self) -> int:
        return len(self._by_segment)
