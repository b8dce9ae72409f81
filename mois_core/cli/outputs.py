"""Output files: checked before hours of work, and written all together or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mois_core.cli.interruptions import held
from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_folder, atomic_write, check_folder_is_free


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
        _try_to_write(option, path)


def check_output_folder(option: str, path: Path, source: Path) -> None:
    """Refuse a folder that could not be made at the end, or would become part of ``source``."""
    try:
        check_folder_is_free(path)
    except BadInput as error:
        raise BadInput(f"{option} {error}") from error
    if source.is_dir() and path.resolve().is_relative_to(source.resolve()):
        raise BadInput(
            f"{option} {path} lies in the folder of the scan and would be read as part of it; "
            "choose another folder"
        )
    _try_to_write(option, path)


def _try_to_write(option: str, path: Path) -> None:
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
def all_or_none(files: Sequence[Path], folders: Sequence[Path] = ()) -> Iterator[list[Path]]:
    """Give a block temporary paths, and move everything to its place when the block ends.

    The first takes its place last: whoever waits for that file finds the others beside it.
    """
    paths = [*files, *folders]
    with ExitStack() as stack:
        temporary = [stack.enter_context(atomic_write(path)) for path in files]
        temporary += [stack.enter_context(atomic_folder(path)) for path in folders]
        try:
            yield temporary
        except BadInput as error:
            text = str(error)
            for written, path in zip(temporary, paths, strict=True):
                text = text.replace(str(written), str(path))
            raise BadInput(text) from error
        with held():
            stack.close()
