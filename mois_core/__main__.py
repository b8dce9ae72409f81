"""``python -m mois_core`` is ``mois``, for launchers that start modules."""

import sys

from mois_core.cli import main

sys.exit(main())
