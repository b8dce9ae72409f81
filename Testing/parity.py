"""Check that our network computes what the published ones do: ``Testing/parity.py FOLDER``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.parity import main

if __name__ == "__main__":
    sys.exit(main())
