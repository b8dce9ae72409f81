"""Finding what looks like the lesions so far: where to look, and with which further examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.notice import Notice


class SearchBox:
    """The button *Find similar lesions* and what belongs to it."""

    def __init__(
        self, ui: Any, workspace: Workspace, notice: Notice, found: Callable[[Sequence[int]], None]
    ) -> None:
        self._ui = ui
        self._workspace = workspace
        self._notice = notice
        self._found = found
        ui.searchButton.connect("clicked()", notice.act(self.search))
        ui.addExamplesButton.connect("clicked()", notice.act(self._add))
        ui.clearExamplesButton.connect("clicked()", notice.guard(self._clear))

    def search(self) -> None:
        """Search the scan, as far as the regions allow."""
        workspace = self._workspace
        if not workspace.is_open:
            return
        if not self._has_examples():
            text = _("Click into at least one lesion first: the search looks for what is like it.")
            self._notice.say(text)
            return
        inside, outside = self._ui.insideBox.currentNode(), self._ui.outsideBox.currentNode()
        workspace.commands.find_similar(
            inside=[inside] if inside is not None else [],
            outside=[outside] if outside is not None else [],
            then=self._tell,
        )

    def show(self) -> None:
        """Bring this part up to date."""
        is_open = self._workspace.is_open
        seeds = len(self._workspace.state.imported) if is_open else 0
        self._ui.searchButton.enabled = is_open
        self._ui.addExamplesButton.enabled = is_open
        self._ui.clearExamplesButton.enabled = seeds > 0
        text = _("{count} slices with brought-in examples are used.").format(count=seeds)
        self._ui.exampleLabel.text = text if seeds else ""
        self._ui.exampleLabel.visible = seeds > 0

    def _has_examples(self) -> bool:
        """A search for nothing in particular marks anything bright: not what is meant here."""
        state = self._workspace.state
        usable = (lesion for lesion in state.lesions.values() if lesion.status.counts)
        return bool(state.imported) or any(lesion.mask for lesion in usable)

    def _tell(self, numbers: Sequence[int]) -> None:
        if numbers:
            count = len(numbers)
            text = _("1 finding") if count == 1 else _("{count} findings").format(count=count)
            told = _("{findings}. Look at each: accept, reject or refine it.")
            self._notice.say(told.format(findings=text))
        else:
            self._notice.say(_("Nothing similar was found that is not in the list already."))
        self._found(numbers)

    def _add(self) -> None:
        segmentation = self._ui.exampleBox.currentNode()
        if segmentation is None:
            self._notice.say(_("Choose a segmentation with outlined lesions first."))
            return
        earlier = self._ui.exampleScanBox.currentNode()
        if earlier is self._workspace.volume_node:
            earlier = None
        self._workspace.commands.add_exemplars(segmentation, earlier_node=earlier)

    def _clear(self) -> None:
        self._workspace.commands.clear_exemplars()
