"""The effect's source; Slicer loads it by its path."""
