"""The search for similar lesions with its regions and examples, or what is in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.message_line import MessageLine


class SearchSection:
    """The button *Find similar lesions*, and the section with regions and examples.

    With a network that cannot search there is *Propagate through the volume* instead.

    ``found`` is called with the ids of the findings of each search.
    """

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        message_line: MessageLine,
        found: Callable[[Sequence[int]], None],
    ) -> None:
        self._ui = ui
        self._workspace = workspace
        self._message_line = message_line
        self._found = found
        for box in (ui.insideBox, ui.outsideBox):
            box.connect("currentNodeChanged(vtkMRMLNode*)", message_line.guard(self._region_chosen))
        ui.searchButton.connect("clicked()", message_line.guard_and_clear(self.search))
        ui.propagateButton.connect("clicked()", message_line.guard_and_clear(self.search))
        ui.addExamplesButton.connect("clicked()", message_line.guard_and_clear(self._add))
        ui.clearExamplesButton.connect("clicked()", message_line.guard(self._clear))

    def search(self) -> None:
        """Search the scan inside the regions that are chosen, or propagate if that cannot be."""
        workspace = self._workspace
        if not workspace.is_open:
            return
        if not workspace.commands.can_search:
            self._propagate()
            return
        if not workspace.commands.has_exemplars:
            text = _("Click into at least one lesion first: the search looks for what is like it.")
            self._message_line.show(text)
            return
        inside, outside = self._ui.insideBox.currentNode(), self._ui.outsideBox.currentNode()
        workspace.commands.find_similar(
            inside=[inside] if inside is not None else [],
            outside=[outside] if outside is not None else [],
            then=self._show_findings,
        )

    def _propagate(self) -> None:
        if self._workspace.commands.can_propagate:
            self._workspace.commands.propagate()
        else:
            text = _("Click into or paint a lesion on one slice first: it is followed from there.")
            self._message_line.show(text)

    def show(self) -> None:
        """Update the buttons and the label from the workspace."""
        is_open = self._workspace.is_open
        count = len(self._workspace.state.imported) if is_open else 0
        can_search = not is_open or self._workspace.commands.can_search
        self._ui.searchButton.visible = self._ui.whereButton.visible = can_search
        self._ui.propagateButton.visible = not can_search
        self._ui.searchButton.enabled = is_open
        self._ui.addExamplesButton.enabled = is_open
        self._ui.clearExamplesButton.enabled = count > 0
        one, several = (
            _("1 slice with brought-in examples is used."),
            _("{count} slices with brought-in examples are used."),
        )
        text = one if count == 1 else several.format(count=count)
        self._ui.exampleLabel.text = text if count else ""
        self._ui.exampleLabel.visible = count > 0
        self._show_where(count)

    def _region_chosen(self, node: Any) -> None:
        self.show()

    def _show_where(self, examples: int) -> None:
        """Let the button beside the search say what is chosen."""
        inside, outside = self._ui.insideBox.currentNode(), self._ui.outsideBox.currentNode()
        if inside is not None or outside is not None:
            text = _("In a region")
        else:
            text = _("Everywhere")
        if examples:
            text = _("{where} +{count}").format(where=text, count=examples)
        self._ui.whereButton.text = f"{text}..."

    def _show_findings(self, lesion_ids: Sequence[int]) -> None:
        if lesion_ids:
            count = len(lesion_ids)
            text = _("1 finding") if count == 1 else _("{count} findings").format(count=count)
            message = _("{findings}. Look at each: accept, reject or refine it.")
            self._message_line.show(message.format(findings=text))
        else:
            self._message_line.show(_("Nothing similar was found that is not in the list already."))
        self._found(lesion_ids)

    def _add(self) -> None:
        segmentation = self._ui.exampleBox.currentNode()
        if segmentation is None:
            self._message_line.show(_("Choose a segmentation with outlined lesions first."))
            return
        earlier = self._ui.exampleScanBox.currentNode()
        if earlier is self._workspace.volume_node:
            earlier = None
        self._workspace.commands.add_exemplars(segmentation, earlier_node=earlier)

    def _clear(self) -> None:
        self._workspace.commands.clear_exemplars()
