"""The command line ``mois``: one module per command, one place for exit codes.

A command is a module of this package with two functions: ``add_parser(commands)`` declares its
arguments, ``run(args)`` does the work and returns nothing. Bad input is raised as `BadInput`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from mois_core import __version__
from mois_core.errors import BadInput, Cancelled

EXIT_DONE = 0
EXIT_BAD_INPUT = 2
EXIT_CANCELLED = 130

COMMANDS = ("demo", "segment", "weights", "phantom", "prepare", "train", "evaluate", "bench")
"""Modules of this package, in the order in which ``mois --help`` lists them."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command; it is apart from `main` so that tests can use it."""
    parser = argparse.ArgumentParser(
        prog="mois",
        description="Interactive segmentation of many lesions in whole-body MRI from a few clicks.",
        epilog="'mois COMMAND --help' explains a command with examples. Research use only.",
    )
    parser.add_argument("--version", action="version", version=f"mois {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"mois_core.cli.{name}")
        module.add_parser(commands).set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = build_parser().parse_args(argv)
    try:
        args.run(args)
    except BadInput as error:
        print(f"mois {args.command}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except (Cancelled, KeyboardInterrupt):
        print(f"mois {args.command}: cancelled", file=sys.stderr)
        return EXIT_CANCELLED
    return EXIT_DONE
