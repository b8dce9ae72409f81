"""Do thousands of random operations on sessions, and check everything after each.

    python Testing/session_fuzz.py [--operations N] [--presets NAME ...] [--seed N]
        [--length N] [--minutes N]

Each seed is the life of one session: a scan, settings, and what somebody does with it. A preset
has the weights that ship with it, or else synthetic ones; ``stub`` is a network that sees what
anyone would see. What is printed for a seed can be repeated with ``--seed SEED --operations 1``
and the same preset. Exits with 1 if anything that must hold did not.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

TESTING = Path(__file__).parent
sys.path[:0] = [str(TESTING / "support"), str(TESTING.parent)]

import torch  # noqa: E402
from fuzz_life import Life  # noqa: E402
from small_networks import lively  # noqa: E402
from stub_network import any_stub  # noqa: E402

from mois_core import models  # noqa: E402
from mois_core.network.config import PRESETS, preset  # noqa: E402
from mois_core.network.loading import load_model  # noqa: E402
from mois_core.network.model import Sam2  # noqa: E402

STUB = "stub"
LENGTH, LENGTH_IF_LARGE = 60, 20
"""Operations of one life, if nothing else is asked for."""


def network(name: str, seed: int) -> Sam2:
    """Return the network of a preset, or the stub."""
    if name == STUB:
        return any_stub(seed)
    return load_model(name) if models.shipped_weights(name) else lively(preset(name))


def live(name: str, seed: int, length: int | None) -> tuple[Life, bool]:
    """Live one life and print how it went; return it, and whether all went well."""
    began = time.monotonic()
    model = network(name, seed)
    life = Life(seed, model)
    try:
        life.live(length or (LENGTH_IF_LARGE if life.is_large else LENGTH))
        went_well = True
    except AssertionError:
        traceback.print_exc(file=sys.stdout)
        went_well = False
    counts = ", ".join(f"{count} {what}" for what, count in sorted(life.outcomes.items()))
    verdict = "" if went_well else "VIOLATED "
    seconds = time.monotonic() - began
    print(
        f"{verdict}{name} seed {seed}: {len(life.done)} operations, {counts}, {seconds:.0f} s",
        flush=True,
    )
    return life, went_well


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operations", type=int, default=1000, help="at least so many per preset")
    parser.add_argument("--presets", nargs="+", default=[STUB], choices=[STUB, *PRESETS])
    parser.add_argument("--seed", type=int, default=0, help="the first seed; the next ones follow")
    parser.add_argument("--length", type=int, help="operations of one life; 60, or 20 if slow")
    parser.add_argument(
        "--minutes", type=float, help="begin no further life after that, per preset"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    violations = 0
    for name in arguments.presets:
        began, seed, total = time.monotonic(), arguments.seed, Counter()
        operations = 0
        while operations < arguments.operations:
            if arguments.minutes and time.monotonic() - began > 60 * arguments.minutes:
                break
            life, went_well = live(name, seed, arguments.length)
            operations += len(life.done)
            violations += not went_well
            total += life.outcomes
            seed += 1
        counts = ", ".join(f"{count} {what}" for what, count in sorted(total.items()))
        print(f"{name}: seeds {arguments.seed} to {seed - 1}, {operations} operations, {counts}")
    print(f"{violations} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
