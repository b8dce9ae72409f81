"""Nodes of the MRML scene: points, segments, transforms, regions, stored sessions; without Qt."""
