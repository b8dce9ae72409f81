"""Check that our network computes what the published ones compute.

    python Testing/parity.py FOLDER [--device cuda]

FOLDER is a golden folder: sets of figures (``.npz``) with their facts (``.json``). Prints a row
for every array and exits with 1 if one fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

# Run as a file, Python looks for imports beside it and not in the project's root.
sys.path.insert(0, str(Path(__file__).parents[1]))

from mois_core.errors import BadInput
from mois_core.network.loading import usable_device
from tools.golden_bounds import Row, compare
from tools.golden_sets import Recipe, read_sets

HEADER = f"{'array':<56} {'max abs':>10} {'max rel':>10}  {'tolerance':<34} verdict"


def format_row(row: Row) -> str:
    """Return a row as it is printed."""
    return (
        f"{row.name:<56} {row.max_abs:>10.3g} {row.max_rel:>10.3g}  {row.bound:<34} {row.verdict}"
    )


def main(argv: list[str] | None = None) -> int:
    """Compare every set of a folder and return the exit code, 0 if all passed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="a golden folder")
    parser.add_argument("--only", metavar="SET", nargs="*", help="names of sets, without .npz")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (cpu)")
    parser.add_argument("--failures", action="store_true", help="print only rows that fail")
    args = parser.parse_args(argv)
    try:
        device = usable_device(args.device)
    except BadInput as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    # The figures are those of float32; by default a GPU rounds it in convolutions.
    torch.backends.cudnn.allow_tf32 = False
    sets = [g for g in read_sets(args.folder) if not args.only or g.name in args.only]
    if not sets:
        print(f"no golden sets in {args.folder}", file=sys.stderr)
        return 2
    failed = total = 0
    for golden in sets:
        start = time.perf_counter()
        rows = list(compare(golden, Recipe(golden, device).run()))
        total += len(rows)
        bad = [row for row in rows if not row.passed]
        failed += len(bad)
        print(
            f"\n{golden.name} ({golden.facts['kind']}): {len(rows) - len(bad)} of {len(rows)} rows"
        )
        print(HEADER)
        for row in bad if args.failures else rows:
            print(format_row(row))
        print(f"{golden.name}: {time.perf_counter() - start:.1f} s")
    print(f"\n{total - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
