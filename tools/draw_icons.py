"""Draw the buttons' icons: one stroke each, dark for light themes and light for dark ones.

    python tools/draw_icons.py

A test compares the committed files with what this draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "MOISSAM2Segment" / "Resources" / "Icons"

INK = {"light": "#33475b", "dark": "#d9e2ec"}
GREEN = {"light": "#1b7f4d", "dark": "#5fd39b"}
RED = {"light": "#b3361b", "dark": "#ff8f6b"}

STROKES = {
    "place": (INK, '<path d="M12 2v6M12 16v6M2 12h6M16 12h6"/>', GREEN, '<path d="M12 12h.01"/>'),
    "box": (INK, '<path d="M4 6h16v12H4z"/>'),
    "scribble": (INK, '<path d="M3 16c3-9 6-9 7-4s3 6 5 1 4-5 6-3"/>'),
    "undo": (INK, '<path d="M8 4L3 9l5 5"/><path d="M3 9h11a6 6 0 0 1 0 12h-4"/>'),
    "redo": (INK, '<path d="M16 4l5 5-5 5"/><path d="M21 9H10a6 6 0 0 0 0 12h4"/>'),
    "search": (
        INK,
        '<circle cx="10" cy="10" r="7"/><path d="M15.5 15.5L22 22"/>',
        GREEN,
        '<circle cx="10" cy="10" r="2.5"/>',
    ),
    "previous": (INK, '<path d="M15 4l-8 8 8 8"/>'),
    "next": (INK, '<path d="M9 4l8 8-8 8"/>'),
    "accept": (GREEN, '<path d="M4 13l5 6L20 5"/>'),
    "reject": (RED, '<path d="M5 5l14 14M19 5L5 19"/>'),
    "refine": (
        INK,
        '<path d="M4 20l1.2-5L16 4.2 19.8 8 9 18.8z"/>',
        GREEN,
        '<path d="M16 20h6"/>',
    ),
}


def icon_files() -> dict[str, str]:
    """Return the content of each icon's file by its name."""
    files = {}
    for name, strokes in STROKES.items():
        for theme in INK:
            shapes = "".join(
                f'<g stroke="{colour[theme]}">{shape}</g>'
                for colour, shape in zip(strokes[::2], strokes[1::2], strict=True)
            )
            files[f"{name}-{theme}.svg"] = (
                '<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24" '
                'viewBox="0 0 24 24" fill="none" stroke-width="2.2" stroke-linecap="round" '
                f'stroke-linejoin="round">{shapes}</svg>\n'
            )
    return files


def main() -> None:
    """Write all icons into the module's resources."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name, content in icon_files().items():
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
