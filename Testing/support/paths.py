"""Where things lie in the project, for tests that read files."""

from __future__ import annotations

from pathlib import Path

TESTING = Path(__file__).parents[1]
ROOT = TESTING.parent
SUPPORT = TESTING / "support"
DATA = TESTING / "data"
GOLDEN = DATA / "golden"
MODULE = ROOT / "MOISSAM2Segment"
LOGIC = MODULE / "Logic"
PANEL = MODULE / "Panel"
