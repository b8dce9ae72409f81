"""The command line ``mois``: one module per command, one place for exit codes.

A command is a module of this package with two functions: ``add_parser(commands)`` declares its
arguments, ``run(args)`` does the work and returns nothing. Bad input is raised as `BadInput`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from mois_core import __version__
from mois_core.cli import interruptions
from mois_core.cli.arguments import with_joined_windows
from mois_core.errors import BadInput, Cancelled

EXIT_DONE = 0
EXIT_BAD_INPUT = 2

COMMANDS = (
    "demo", "segment", "compare", "weights", "phantom", "prepare", "train", "train_baseline",
    "evaluate", "bench",
)  # fmt: skip
"""Modules of this package, in the order in which ``mois --help`` lists them."""


class _Parser(argparse.ArgumentParser):
    """A parser whose help does not get lost in silence.

    argparse passes over errors of printing, and what it printed is then gone from the stream.
    Descriptions and examples keep their lines.
    """

    def __init__(self, *words: Any, **how: Any) -> None:
        super().__init__(*words, formatter_class=argparse.RawDescriptionHelpFormatter, **how)

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:
        if message:
            (file or sys.stderr).write(message)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command; it is apart from `main` so that tests can use it."""
    parser = _Parser(
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
    """Run one command and return its exit code; without ``argv`` this is the whole program."""
    is_program = argv is None
    if is_program:
        interruptions.provide_streams()
    with interruptions.watched(for_good=is_program) as watch:
        code, said = _run(argv, watch)
    return _delivered(code, said)


def _run(argv: Sequence[str] | None, watch: interruptions.Watch) -> tuple[int, str]:
    """Run one command; return its exit code, and what is left to say about its end."""
    who = "mois"
    try:
        words = sys.argv[1:] if argv is None else argv
        args = build_parser().parse_args(with_joined_windows(words))
        who = f"mois {args.command}"
        args.run(args)
    except SystemExit:  # by argparse, which has said why
        if interruptions.flush_streams() is None:
            raise
        return interruptions.NOBODY_READS
    except BaseException as error:
        outcome = watch.outcome or _outcome(error)
        if outcome is None:
            raise
        code, said = outcome
        return code, said and f"{who}: {said}"
    return EXIT_DONE, ""


def _outcome(error: BaseException) -> tuple[int, str] | None:
    """Return the exit code for an error, and what is said; None for a defect of the program."""
    if isinstance(error, BadInput):
        return EXIT_BAD_INPUT, str(error)
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        return interruptions.CANCELLED
    if isinstance(error, OSError) and interruptions.is_closed_pipe(error):
        return interruptions.NOBODY_READS
    return None


def _delivered(code: int, said: str) -> int:
    """Print what is left to say; return the exit code, another one if printing failed."""
    with suppress(OSError):
        if said:
            print(said, file=sys.stderr)
    refusal = interruptions.flush_streams()
    if refusal is None or code != EXIT_DONE:
        return code
    if interruptions.is_closed_pipe(refusal):
        return interruptions.NOBODY_READS[0]
    with suppress(OSError):
        print(f"mois: what was to be printed is lost ({refusal.strerror})", file=sys.stderr)
    return EXIT_BAD_INPUT
