"""A hidden module that registers the effect MOISSAM2 with the Segment Editor."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule


class SegmentEditorMOISSAM2(ScriptedLoadableModule):
    """The module's entry in Slicer, without a panel; registers the effect when Slicer is ready."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Segment Editor MOISSAM2")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "MOISSAM2Segment"]
        parent.contributors = ["MOISSAM2 contributors"]
        parent.hidden = True
        parent.helpText = _("Adds the effect MOISSAM2 to the Segment Editor. For research only.")
        slicer.app.connect("startupCompleted()", register_effect)


def register_effect() -> None:
    """Register the effect, so that every Segment Editor offers it."""
    from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect

    # Slicer calls a module after the folder that the source lies in, and the class after the file.
    source = Path(__file__).parent / "SegmentEditorMOISSAM2Lib" / "SegmentEditorEffect.py"
    effect = qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(source.as_posix())
    effect.self().register()
