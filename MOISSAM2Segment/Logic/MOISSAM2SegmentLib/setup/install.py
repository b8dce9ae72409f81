"""Installation of the packages that the engine needs and Slicer does not bring along.

Nothing happens before the user agreed, and no package that Slicer brings along is replaced:
packages that are there are held at their version while the others are installed. torch comes
through Slicer's PyTorch extension, which knows the build that suits the graphics card.

Missing packages are looked up anew every time. So a restart in between, a failed download or
packages that somebody copied by hand need no bookkeeping.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import slicer

from MOISSAM2SegmentLib.messages import tr as _

Ask = Callable[[str], bool]
Report = Callable[[str], None]

EXTENSION = "PyTorch"
REQUESTER = "MOISSAM2"

QUESTION = _(
    "MOISSAM2 needs packages that are not part of Slicer: {names}. They are downloaded from the "
    "Internet and installed into this Slicer only.{size} Install them now?"
)
SIZE_OF_TORCH = _(" With torch this can take ten minutes and several gigabytes on disk.")
ASK_FOR_EXTENSION = _(
    "torch is installed by Slicer's extension PyTorch, which is not there yet. Download and "
    "install that extension now? Slicer has to be restarted afterwards."
)
INTEL_MAC = _(
    "MOISSAM2 cannot work in this Slicer: it is built for Macs with Intel processors. torch ends "
    "with version 2.2 for these, and {oldest} is needed. Use Slicer on Windows or Linux, or one "
    "built for Apple silicon once there is one. On such a Mac mois can be used without Slicer."
)
DECLINED = _("Nothing was installed. MOISSAM2 cannot segment without these packages.")
NO_DICOM = _("Nothing was installed, and no DICOM file was written.")
OLD_PYDICOM = _(
    "DICOM files need pydicom {oldest}, and this Slicer works with pydicom {version}, which is not "
    "replaced. Use Slicer 5.12 or newer, which brings along what is needed."
)
NO_PICTURE = _("Nothing was installed, and no picture was saved. Tables need no further package.")
INSTALLING = _("Installing {names}...")
INSTALLING_EXTENSION = _("Installing the extension PyTorch...")
INSTALLED = _("{name} {version} is installed.")
RESTART = _(
    "Restart Slicer now, then open this module again: packages that were in use were replaced."
)
RESTART_FOR_EXTENSION = _(
    "The extension PyTorch is installed. Restart Slicer, then open this module again to go on."
)
READY = _("Everything that MOISSAM2 needs is installed.")
GET_EXTENSION = _(
    "The extension PyTorch could not be installed from here{reason}. Open View > Extensions "
    "Manager, install PyTorch, restart Slicer and open this module again."
)
OFFLINE = _(
    'Without the Internet: on a computer of the same kind, run "{python}" -m pip download --dest '
    'FOLDER {names}, bring the folder here, and run "{python}" -m pip install --no-index '
    "--find-links FOLDER {names}. Both are commands for a terminal, with Slicer closed."
)
FAILED = _("Installing {names} did not work: {reason}. {offline}")
NO_VERSION = _("there is no version afterwards")
OLD_VERSION = _("there is {version} afterwards")
STILL_MISSING = _("After the installation this is still missing: {names}. {offline}")
NOT_WORKING = _(
    "{name} is installed but cannot be used: {reason}. Restart Slicer and try again; if that does "
    "not help, remove it with the extension PyTorch Utils and install it anew."
)


class InstallFailed(Exception):
    """An installation that failed. The message says what went wrong and what to do about it."""


class Requirement(NamedTuple):
    """A package that the engine needs."""

    package: str
    """Name for pip."""
    module: str
    """Name for `import`."""
    oldest: str
    """The oldest version that works."""
    is_bundled: bool = False
    """Whether Slicer brings it along; its version is not checked then."""

    @property
    def specifier(self) -> str:
        """The requirement as pip reads it."""
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
PYDICOM = Requirement("pydicom", "pydicom", "3.0.1", is_bundled=True)
HIGHDICOM = Requirement("highdicom", "highdicom", "0.27")
"""What writes DICOM files. Not needed for the work itself, so asked for when these are wanted;
Slicer brings it along from 5.12 on; with the pydicom and the numpy of 5.10 none works."""
MATPLOTLIB = Requirement("matplotlib", "matplotlib", "3.8")
"""Not needed for the work itself, so asked for when a picture is wanted."""


def missing_packages() -> list[str]:
    """Return the names of packages that have to be installed before the engine can be used."""
    return [requirement.package for requirement in _missing()]


def install(ask: Ask, report: Report) -> bool:
    """Install missing packages, if the user agrees.

    ``ask`` is given a question to be answered with yes or no, ``report`` the outcome of each step.
    Returns True if the engine can be used now; False if the user declined or Slicer has to be
    restarted first. Raises `InstallFailed` if a step fails.
    """
    missing = _missing()
    if missing:
        if TORCH in missing and _is_intel_mac():
            raise InstallFailed(INTEL_MAC.format(oldest=TORCH.oldest))
        size = SIZE_OF_TORCH if TORCH in missing else ""
        if not ask(QUESTION.format(names=", ".join(_names(missing)), size=size)):
            report(DECLINED)
            return False
        before = _versions()
        if TORCH in missing and not _install_torch(ask, report):
            return False
        rest = [requirement for requirement in _missing() if requirement is not TORCH]
        if rest:
            _install_rest(rest, report)
        left = _missing()
        if left:
            names = _names(left)
            raise InstallFailed(
                STILL_MISSING.format(names=", ".join(names), offline=_offline(names))
            )
        if _replaced_while_in_use(before):
            report(RESTART)
            return False
    _try_imports()
    if missing:
        report(READY)
    return True


def install_for_dicom(ask: Ask, report: Report) -> bool:
    """Return whether DICOM files can be written; install what that needs if the user agrees.

    Raises `InstallFailed` if it cannot be installed.
    """
    version = installed_version(PYDICOM.package)
    if version is not None and _numbers(version) < _numbers(PYDICOM.oldest):
        raise InstallFailed(OLD_PYDICOM.format(oldest=PYDICOM.oldest, version=version))
    return _install_one(HIGHDICOM, NO_DICOM, ask, report)


def install_for_pictures(ask: Ask, report: Report) -> bool:
    """Return whether pictures can be drawn; install what that needs if the user agrees.

    Raises `InstallFailed` if it cannot be installed.
    """
    return _install_one(MATPLOTLIB, NO_PICTURE, ask, report)


def _install_one(requirement: Requirement, declined: str, ask: Ask, report: Report) -> bool:
    importlib.invalidate_caches()
    if _is_there(requirement):
        return True
    if not ask(QUESTION.format(names=requirement.package, size="")):
        report(declined)
        return False
    _install_rest([requirement], report)
    if not _is_there(requirement):
        offline = _offline([requirement.package])
        raise InstallFailed(STILL_MISSING.format(names=requirement.package, offline=offline))
    return True


# ---- installed packages --------------------------------------------------------------------


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
    """Return the version in a package's record; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except (importlib.metadata.PackageNotFoundError, FileNotFoundError):
        # The second comes of a record whose files are gone, where importlib_metadata is loaded.
        return None


def is_importable(module: str) -> bool:
    """Return whether Python finds a module, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, so that 2.13.0+cu128 is more than 2.5."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _names(requirements: Sequence[Requirement]) -> list[str]:
    return [requirement.package for requirement in requirements]


def _versions() -> dict[str, str | None]:
    return {r.package: installed_version(r.package) for r in REQUIREMENTS}


def _replaced_while_in_use(before: dict[str, str | None]) -> bool:
    """Return whether a package that is in memory has another version on disk now."""
    return any(
        before[r.package] is not None
        and installed_version(r.package) != before[r.package]
        and r.module in sys.modules
        for r in REQUIREMENTS
    )


# ---- torch ---------------------------------------------------------------------------------


def _install_torch(ask: Ask, report: Report) -> bool:
    """Install torch; return False if a restart has to come first or the user declined."""
    logic = _pytorch_logic()
    if logic is None:
        return _install_extension(ask, report)
    is_old_in_use = installed_version(TORCH.package) and TORCH.module in sys.modules
    report(INSTALLING.format(names=TORCH.package))
    try:
        logic.installTorch(torchVersionRequirement=f">={TORCH.oldest}")
    except Exception as error:
        raise _failure([TORCH], error) from error
    importlib.invalidate_caches()
    version = installed_version(TORCH.package)
    if version is None or not _is_there(TORCH):
        raise _failure([TORCH], OLD_VERSION.format(version=version) if version else NO_VERSION)
    report(INSTALLED.format(name=TORCH.package, version=version))
    if is_old_in_use:
        report(RESTART)
        return False
    return True


def _is_intel_mac() -> bool:
    """Return whether this program is one for Intel Macs, on whichever Mac it runs."""
    return sys.platform == "darwin" and platform.machine() == "x86_64"


def _pytorch_logic() -> Any:
    try:
        return importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
    except ModuleNotFoundError as error:
        if error.name != "PyTorchUtils":
            raise
        return None


def _install_extension(ask: Ask, report: Report) -> bool:
    """Install Slicer's extension PyTorch; return False, because torch needs a restart first."""
    model = getattr(slicer.app, "extensionsManagerModel", lambda: None)()
    if model is None or not hasattr(model, "installExtensionFromServer"):
        raise InstallFailed(f"{GET_EXTENSION.format(reason='')} {_offline([TORCH.package])}")
    if not ask(ASK_FOR_EXTENSION):
        report(DECLINED)
        return False
    report(INSTALLING_EXTENSION)
    was_interactive = model.interactive
    # The user was asked already, and is told below to restart.
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
    report(RESTART_FOR_EXTENSION)
    return False


# ---- other packages ------------------------------------------------------------------------


def _install_rest(missing: Sequence[Requirement], report: Report) -> None:
    names = ", ".join(_names(missing))
    report(INSTALLING.format(names=names))
    wanted = [requirement.specifier for requirement in missing]
    try:
        with _held_versions() as constraints:
            ensure = _pip_ensure()
            if ensure is not None:
                # The user was asked already, and whether a restart is needed is checked later.
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
            report(INSTALLED.format(name=requirement.package, version=version))


def _pip_ensure() -> Callable[..., Any] | None:
    """Return Slicer's own function to install packages; None before Slicer 5.12."""
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:
        return None
    return getattr(packaging, "pip_ensure", None)


@contextmanager
def _held_versions() -> Iterator[Path]:
    """Give a constraints file for pip that holds our packages that are there at their versions."""
    there = [r for r in (*REQUIREMENTS, PYDICOM) if _is_there(r)]
    held = [(r.package, installed_version(r.package)) for r in there]
    # A local build such as 2.13.0+cu128 is no version that pip could compare with an index.
    lines = [f"{name}=={version}" for name, version in held if version and "+" not in version]
    with tempfile.TemporaryDirectory(prefix="MOISSAM2-") as folder:
        path = Path(folder, "constraints.txt")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield path


# ---- check and failure ---------------------------------------------------------------------


def _try_imports() -> None:
    """Import every package, since one can be there and not work.

    An example is torch without Microsoft's C++ libraries.
    """
    for requirement in REQUIREMENTS:
        try:
            importlib.import_module(requirement.module)
        except Exception as error:
            logging.exception("MOISSAM2: %s cannot be imported", requirement.module)
            raise InstallFailed(
                NOT_WORKING.format(name=requirement.package, reason=_first_line(error))
            ) from error


def _failure(missing: Sequence[Requirement], reason: BaseException | str) -> InstallFailed:
    names = _names(missing)
    logging.error("MOISSAM2: installing %s failed: %s", names, reason)
    offline = _offline(names)
    text = FAILED.format(names=", ".join(names), reason=_first_line(reason), offline=offline)
    return InstallFailed(text)


def _first_line(reason: BaseException | str) -> str:
    text = str(reason).strip() or type(reason).__name__
    return text.splitlines()[0].rstrip(".")


def _offline(names: Sequence[str]) -> str:
    return OFFLINE.format(python=sys.executable or "PythonSlicer", names=" ".join(names))
