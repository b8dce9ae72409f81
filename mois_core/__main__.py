"""The program ``mois``, which is also ``python -m mois_core``.

Its commands take a moment to import. Ctrl+C or SIGTERM in that moment ends the program as it would
later, and not with what Python prints of an import that was interrupted; so this comes first.
"""

from __future__ import annotations

import os
import sys
from _signal import SIG_DFL, SIGINT, SIGTERM, default_int_handler, getsignal, signal

# The module `signal` is left to later: to import it takes as long as Python needs to start.

_ENDINGS = {SIGINT: (130, b"mois: cancelled\n"), SIGTERM: (143, b"mois: terminated\n")}
"""As `cli.interruptions` has them, for a program that does not know its command yet."""


def _end(number: int, frame: object) -> None:
    """End the program, which has nothing to tidy up yet."""
    code, said = _ENDINGS[number]
    try:
        os.write(sys.__stderr__.fileno(), said)
    finally:  # even if there is nobody to say it to
        os._exit(code)


# A process that a command began on its own imports this again, and has nothing to say.
if "multiprocessing" not in sys.modules:
    for _number in _ENDINGS:
        # Signals that the program was started to ignore stay ignored.
        if getsignal(_number) in (SIG_DFL, default_int_handler):
            signal(_number, _end)

from mois_core.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
