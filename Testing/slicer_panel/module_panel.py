"""A stand-in for the part of Slicer's window that holds a module's panel, in Slicer's measures.

The structure is that of ``qSlicerModulePanel.ui``: a scroll area with *Help & Acknowledgement*, the
module's widget, and a spacer. The sizes were measured in Slicer 5.12.3 with *Data Probe* open.
"""

from __future__ import annotations

from typing import NamedTuple

from PySide6 import QtCore, QtGui, QtWidgets
from stand_ins import ctkCollapsibleButton


class Size(NamedTuple):
    """Room of the module's panel and of its help, in pixels."""

    width: int
    height: int


LOWER_ROWS = 20
"""Qt 5.15 makes a line or a button a pixel higher than Qt 6 does, and there are about twenty."""

LAPTOP = Size(355, 485 - LOWER_ROWS)
"""In a window of 1280 x 800."""
DESKTOP = Size(355, 685 - LOWER_ROWS)
"""In a window of 1600 x 1000."""

FONT, FONT_PIXELS = "DejaVu Sans", 14
"""A pixel larger than what Slicer had there, so that its texts of 9 points surely fit."""


def slicer_font() -> QtGui.QFont:
    """Return the font that the panel is laid out with."""
    font = QtGui.QFont(FONT)
    font.setPixelSize(FONT_PIXELS)
    return font


class ModulePanel(QtWidgets.QWidget):
    """A window that shows one module's panel and scrolls it where it is too high."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.area = QtWidgets.QScrollArea()
        self.area.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidgetResizable(True)
        outer = QtWidgets.QGridLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.area)
        contents = QtWidgets.QWidget()
        layout = QtWidgets.QVBoxLayout(contents)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.setSizeConstraint(QtWidgets.QLayout.SizeConstraint.SetMinAndMaxSize)
        policy = QtWidgets.QSizePolicy.Policy
        help_button = ctkCollapsibleButton()
        help_button.setText("Help && Acknowledgement")
        help_button.setSizePolicy(policy.Ignored, policy.Fixed)
        QtWidgets.QVBoxLayout(help_button).addWidget(QtWidgets.QTextBrowser())
        help_button.setProperty("collapsed", True)
        layout.addWidget(help_button)
        self.module_widget = QtWidgets.QWidget()
        QtWidgets.QVBoxLayout(self.module_widget).setContentsMargins(0, 0, 0, 0)
        self.module_widget.setSizePolicy(policy.Minimum, policy.Preferred)
        layout.addWidget(self.module_widget, 1)
        spacer = QtWidgets.QSpacerItem(0, 0, policy.Minimum, policy.MinimumExpanding)
        layout.addSpacerItem(spacer)
        self.area.setWidget(contents)
        self.resize(*size)

    @property
    def scrolls(self) -> bool:
        """Whether the panel is higher or wider than its room."""
        bars = (self.area.verticalScrollBar(), self.area.horizontalScrollBar())
        return any(bar.maximum() > 0 for bar in bars)

    def shows(self, widget: QtWidgets.QWidget) -> bool:
        """Return whether a widget is wholly visible without scrolling."""
        if not widget.isVisible():
            return False
        view = self.area.viewport()
        corner = widget.mapTo(view, QtCore.QPoint(0, 0))
        return view.rect().contains(QtCore.QRect(corner, widget.size()))
