"""The source of the Segment Editor's effect, which Slicer loads by its path."""
