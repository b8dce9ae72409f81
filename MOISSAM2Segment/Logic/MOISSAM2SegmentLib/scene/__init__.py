"""What is in the MRML scene: points, segments, transforms, regions, stored sessions. No Qt."""
