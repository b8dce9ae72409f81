"""Getting the packages that the engine needs and Slicer does not bring along.

Nothing happens before the user agreed, and nothing that Slicer brings along is exchanged: what is
there is held at its version while the rest is installed. torch comes through Slicer's PyTorch
extension, which knows the build that suits the graphics card.

What is missing is found out anew every time, from what is installed. So a restart in between, a
failed download or packages that somebody copied by hand need no bookkeeping.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import slicer

Ask = Callable[[str], bool]
Say = Callable[[str], None]

EXTENSION = "PyTorch"
REQUESTER = "MOISSAM2"

QUESTION = (
    "MOISSAM2 needs packages that are not part of Slicer: {names}. They are downloaded from the "
    "Internet and installed into this Slicer only.{size} Install them now?"
)
SIZE_OF_TORCH = " With torch this can take ten minutes and several gigabytes on disk."
ASK_FOR_EXTENSION = (
    "torch is installed by Slicer's extension PyTorch, which is not there yet. Download and "
    "install that extension now? Slicer has to be restarted afterwards."
)
DECLINED = "Nothing was installed. MOISSAM2 cannot segment without these packages."
RESTART = (
    "Restart Slicer now, then open this module again: packages that were in use were replaced."
)
RESTART_FOR_EXTENSION = (
    "The extension PyTorch is installed. Restart Slicer, then open this module again to go on."
)
READY = "Everything that MOISSAM2 needs is installed."
GET_EXTENSION = (
    "The extension PyTorch could not be installed from here{reason}. Open View > Extensions "
    "Manager, install PyTorch, restart Slicer and open this module again."
)
OFFLINE = (
    'Without the Internet: on a computer of the same kind, run "{python}" -m pip download --dest '
    'FOLDER {names}, bring the folder here, and run "{python}" -m pip install --no-index '
    "--find-links FOLDER {names}. Both are commands for a terminal, with Slicer closed."
)
FAILED = "Installing {names} did not work: {reason}. {offline}"
STILL_MISSING = "After the installation this is still missing: {names}. {offline}"
NOT_WORKING = (
    "{name} is installed but cannot be used: {reason}. Restart Slicer and try again; if that does "
    "not help, remove it with the extension PyTorch Utils and install it anew."
)


class InstallFailed(Exception):
    """Its text says what went wrong and what to do about it."""


class Requirement(NamedTuple):
    """A package as pip calls it, as Python imports it, and the oldest version that will do."""

    package: str
    module: str
    oldest: str
    is_bundled: bool = False
    """Slicer brings it along; whatever version it has is taken as it is."""

    @property
    def specifier(self) -> str:
        """As pip is asked for it."""
        return f"{self.package}>={self.oldest}"


REQUIREMENTS = (
    Requirement("torch", "torch", "2.5"),
    Requirement("safetensors", "safetensors", "0.4"),
    Requirement("huggingface_hub", "huggingface_hub", "0.23"),
    Requirement("filelock", "filelock", "3.12"),
    Requirement("pillow", "PIL", "10"),
    Requirement("numpy", "numpy", "1.26", is_bundled=True),
    Requirement("scipy", "scipy", "1.11", is_bundled=True),
    Requirement("SimpleITK", "SimpleITK", "2.3", is_bundled=True),
)
TORCH = REQUIREMENTS[0]


def missing_packages() -> list[str]:
    """The names of packages that have to be installed yet; none if the engine can be used."""
    return [requirement.package for requirement in _missing()]


def install(ask: Ask, say: Say) -> bool:
    """Install what is missing, if the user agrees.

    ``ask`` is given a question, ``say`` what came of each step. True if the engine can be used
    now; False if the user declined or Slicer has to be restarted first. `InstallFailed` tells
    what did not work.
    """
    missing = _missing()
    if missing:
        size = SIZE_OF_TORCH if TORCH in missing else ""
        if not ask(QUESTION.format(names=", ".join(_names(missing)), size=size)):
            say(DECLINED)
            return False
        before = _versions()
        if TORCH in missing and not _install_torch(ask, say):
            return False
        rest = [requirement for requirement in _missing() if requirement is not TORCH]
        if rest:
            _install_rest(rest, say)
        left = _missing()
        if left:
            names = _names(left)
            raise InstallFailed(
                STILL_MISSING.format(names=", ".join(names), offline=_offline(names))
            )
        if _replaced_while_in_use(before):
            say(RESTART)
            return False
    _try_out()
    if missing:
        say(READY)
    return True


# ---- what is there -------------------------------------------------------------------------


def _missing() -> list[Requirement]:
    importlib.invalidate_caches()
    return [requirement for requirement in REQUIREMENTS if not _is_there(requirement)]


def _is_there(requirement: Requirement) -> bool:
    version = installed_version(requirement.package)
    if version is None:
        # What was built together with Slicer may have no record among the packages.
        return requirement.is_bundled and is_importable(requirement.module)
    return requirement.is_bundled or _numbers(version) >= _numbers(requirement.oldest)


def installed_version(package: str) -> str | None:
    """As its record says; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def is_importable(module: str) -> bool:
    """Whether Python finds a module. It is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, so that 2.13.0+cu128 is more than 2.5."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _names(requirements: Sequence[Requirement]) -> list[str]:
    return [requirement.package for requirement in requirements]


def _versions() -> dict[str, str | None]:
    return {r.package: installed_version(r.package) for r in REQUIREMENTS}


def _replaced_while_in_use(before: dict[str, str | None]) -> bool:
    """Whether a package that is in memory is another version on disk now."""
    return any(
        before[r.package] is not None
        and installed_version(r.package) != before[r.package]
        and r.module in sys.modules
        for r in REQUIREMENTS
    )


# ---- torch ---------------------------------------------------------------------------------


def _install_torch(ask: Ask, say: Say) -> bool:
    """False if there is no way on without a restart, or without the user."""
    logic = _pytorch_logic()
    if logic is None:
        return _install_extension(ask, say)
    is_old_in_use = installed_version(TORCH.package) and TORCH.module in sys.modules
    say("Installing torch...")
    try:
        logic.installTorch(torchVersionRequirement=f">={TORCH.oldest}")
    except Exception as error:
        raise _failure([TORCH], error) from error
    importlib.invalidate_caches()
    version = installed_version(TORCH.package)
    if version is None or not _is_there(TORCH):
        raise _failure([TORCH], f"there is {version or 'none'} afterwards")
    say(f"torch {version} is installed.")
    if is_old_in_use:
        say(RESTART)
        return False
    return True


def _pytorch_logic() -> Any:
    try:
        return importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
    except ModuleNotFoundError as error:
        if error.name != "PyTorchUtils":
            raise
        return None


def _install_extension(ask: Ask, say: Say) -> bool:
    """Get the PyTorch extension; always ends without torch, because a restart comes first."""
    model = getattr(slicer.app, "extensionsManagerModel", lambda: None)()
    if model is None or not hasattr(model, "installExtensionFromServer"):
        raise InstallFailed(f"{GET_EXTENSION.format(reason='')} {_offline([TORCH.package])}")
    if not ask(ASK_FOR_EXTENSION):
        say(DECLINED)
        return False
    say("Installing the extension PyTorch...")
    was_interactive = model.interactive
    # We have asked already, and say ourselves what has to be done next.
    model.interactive = False
    try:
        # The second argument would restart at once, without a chance to save the scene.
        done = model.installExtensionFromServer(EXTENSION, False)
    except Exception as error:
        raise InstallFailed(GET_EXTENSION.format(reason=f" ({error})")) from error
    finally:
        model.interactive = was_interactive
    if not done:
        raise InstallFailed(f"{GET_EXTENSION.format(reason='')} {_offline([TORCH.package])}")
    say(RESTART_FOR_EXTENSION)
    return False


# ---- the rest ------------------------------------------------------------------------------


def _install_rest(missing: Sequence[Requirement], say: Say) -> None:
    names = ", ".join(_names(missing))
    say(f"Installing {names}...")
    wanted = [requirement.specifier for requirement in missing]
    try:
        with _held_versions() as constraints:
            ensure = _pip_ensure()
            if ensure is not None:
                # The question was asked already; whether to restart we find out ourselves.
                ensure(
                    wanted,
                    constraints=constraints,
                    requester=REQUESTER,
                    prompt_install=False,
                    prompt_restart=False,
                )
            else:
                slicer.util.pip_install(["--constraint", str(constraints), *wanted])
    except Exception as error:
        raise _failure(missing, error) from error
    importlib.invalidate_caches()
    for requirement in missing:
        version = installed_version(requirement.package)
        if version is not None:
            say(f"{requirement.package} {version} is installed.")


def _pip_ensure() -> Callable[..., Any] | None:
    """Slicer's own way from 5.12 on; None before that."""
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:
        return None
    return getattr(packaging, "pip_ensure", None)


@contextmanager
def _held_versions() -> Iterator[Path]:
    """A file for pip that holds everything of ours that works already at its version."""
    there = [r for r in REQUIREMENTS if _is_there(r)]
    held = [(r.package, installed_version(r.package)) for r in there]
    # A local build such as 2.13.0+cu128 is no version that pip could compare with an index.
    lines = [f"{name}=={version}" for name, version in held if version and "+" not in version]
    with tempfile.TemporaryDirectory(prefix="MOISSAM2-") as folder:
        path = Path(folder, "constraints.txt")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield path


# ---- the end -------------------------------------------------------------------------------


def _try_out() -> None:
    """A package can be there and not work, such as torch without Microsoft's C++ libraries."""
    for requirement in REQUIREMENTS:
        try:
            importlib.import_module(requirement.module)
        except Exception as error:
            logging.exception("MOISSAM2: %s cannot be imported", requirement.module)
            raise InstallFailed(
                NOT_WORKING.format(name=requirement.package, reason=_words(error))
            ) from error


def _failure(missing: Sequence[Requirement], reason: BaseException | str) -> InstallFailed:
    names = _names(missing)
    logging.error("MOISSAM2: installing %s failed: %s", names, reason)
    text = FAILED.format(names=", ".join(names), reason=_words(reason), offline=_offline(names))
    return InstallFailed(text)


def _words(reason: BaseException | str) -> str:
    text = str(reason).strip() or type(reason).__name__
    return text.splitlines()[0].rstrip(".")


def _offline(names: Sequence[str]) -> str:
    return OFFLINE.format(python=sys.executable or "PythonSlicer", names=" ".join(names))
