"""The module's panel: what the user sees and presses. One class for each part of it.

Nothing here computes. A part knows the widgets of its section, turns what is pressed into a step
of the workspace, and shows what the workspace tells. All of it speaks Qt the way Slicer's Python
does, so it can only be imported in Slicer (or over the adapter that the tests have).
"""
