"""Output files: checked before hours of work, and written all together or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mois_core.cli.interruptions import held
from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_write


def check_outputs(outputs: Mapping[str, Path], inputs: Sequence[Path]) -> None:
    """Refuse files that could not be written at the end; keys are the options, for messages."""
    seen = {os.path.realpath(path): "an input" for path in inputs}
    for option, path in outputs.items():
        same = seen.setdefault(os.path.realpath(path), option)
        if same != option:
            raise BadInput(f"{option} {path} is also {same}; give it a name of its own")
        if not path.parent.is_dir():
            raise BadInput(f"{option} {path} cannot be written: its folder does not exist")
        if path.is_dir():
            raise BadInput(f"{option} {path} cannot be written: it is a folder; give a file name")
        try:
            # Asking for permissions is not enough: network drives and Windows answer wrongly.
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise BadInput(
                f"{option} {path} cannot be written ({reason}); choose another folder"
            ) from error


@contextmanager
def all_or_none(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give a block temporary paths, and move all files to their places when the block ends.

    The first takes its place last: whoever waits for that file finds the others beside it.
    """
    with ExitStack() as stack:
        temporary = [stack.enter_context(atomic_write(path)) for path in paths]
        try:
            yield temporary
        except BadInput as error:
            text = str(error)
            for written, path in zip(temporary, paths, strict=True):
                text = text.replace(str(written), str(path))
            raise BadInput(text) from error
        with held():
            stack.close()
