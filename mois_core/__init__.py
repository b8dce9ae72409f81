"""MOISSAM2's engine: from a scan and a few clicks to every lesion. No Slicer, no Qt."""

__version__ = "0.1.0"
