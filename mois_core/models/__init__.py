"""Weights that ship with the project, and how they were measured. See `README.md` beside this."""
