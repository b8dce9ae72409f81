"""``mois weights``: list checkpoints, and bring them onto this computer."""

from __future__ import annotations

import argparse

from mois_core import weights
from mois_core.cli.progress_bar import progress_bar
from mois_core.weights.store import FOLDER_VARIABLE, ListedCheckpoint, megabytes

DESCRIPTION = """\
Lists, downloads, imports and removes model weights. Nothing is ever downloaded
unless 'mois weights download' is called. A name from the list can be given to
--model of the other commands once its weights are here."""

EPILOG = f"""\
examples:
  mois weights list
      what is published, how large it is, under which licence, what is here
  mois weights download sam2.1-t
      a download that was cut or stopped goes on where it was; what arrives is
      verified before it gets its name
  mois weights import model.zip --name mois-sam2-b+
      for a computer without a network: carry the file there and import it
  mois weights path sam2.1-t
      where the file is, for other programs

environment:
  {FOLDER_VARIABLE}  the folder of the weights, if not your data folder
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY  the way to the network
  HF_HUB_OFFLINE=1  no downloads at all
  HF_ENDPOINT, MOIS_ZENODO_ENDPOINT  mirrors of the two servers"""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command and its five actions."""
    parser = commands.add_parser(
        "weights",
        help="list, download, import and remove model weights",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="what is published and what is here")

    download = actions.add_parser("download", help="get published weights from their server")
    download.add_argument("name", metavar="NAME", help="a name from 'mois weights list'")
    download.add_argument(
        "--force", action="store_true", help="download again what is already here"
    )

    importing = actions.add_parser("import", help="take weights from a file on this computer")
    importing.add_argument("file", metavar="FILE", help=".pt, .pth, .safetensors, or a .zip of one")
    importing.add_argument(
        "--name", help="what to call it (without: the published name, or that of the file)"
    )
    importing.add_argument("--member", help="which checkpoint of a zip that holds several")

    remove = actions.add_parser("remove", help="delete weights, and unfinished downloads of them")
    remove.add_argument("name", metavar="NAME")

    path = actions.add_parser("path", help="print where the file is")
    path.add_argument("name", metavar="NAME")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the action that was chosen."""
    if args.action == "list":
        _print_list(weights.list_entries())
    elif args.action == "download":
        with progress_bar(megabytes) as progress:
            path = weights.download(args.name, progress, force=args.force)
        print(f"{args.name} is in {path}")
    elif args.action == "import":
        with progress_bar(megabytes) as progress:
            path = weights.import_file(args.file, args.name, progress, member=args.member)
        print(f"{args.file} is now '{path.stem}' in {path}")
    elif args.action == "remove":
        for path in weights.remove(args.name):
            print(f"removed {path}")
    elif args.action == "path":
        print(weights.resolve(args.name))


def _print_list(entries: list[ListedCheckpoint]) -> None:
    rows = [("NAME", "SIZE", "LICENCE", "HERE", "WHAT")]
    rows += [
        (
            entry.name,
            megabytes(entry.size) if entry.size else "see page",
            entry.licence or "see page",
            _state(entry),
            f"{entry.title} ({entry.page})" if entry.page else entry.title,
        )
        for entry in entries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join([*(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False)), row[4]]))
    print(f"\nFolder: {weights.store_dir()}")


def _state(entry: ListedCheckpoint) -> str:
    if entry.path:
        return "yes"
    return f"{megabytes(entry.partial)} of it" if entry.partial else "no"
