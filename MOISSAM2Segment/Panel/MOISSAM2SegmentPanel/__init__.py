"""The module's panel, with one class for each section of it.

Nothing here computes. A section knows its widgets, turns what is pressed into commands of the
workspace, and shows the workspace's state. The package uses Qt as Slicer's Python offers it, so it
can only be imported in Slicer, or with the stand-ins that the tests have.
"""
