"""Tests of the installation of packages, with doubles of Slicer's two ways to install them."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import slicer
from MOISSAM2SegmentLib.setup import install
from paths import ROOT

BUNDLED = {"numpy": "1.26.4", "scipy": "1.13.1", "SimpleITK": "2.4.0"}
COMPLETE = {
    **BUNDLED,
    "torch": "2.7.1+cu128",
    "safetensors": "0.5.0",
    "huggingface_hub": "0.30.0",
    "filelock": "3.18.0",
    "pillow": "11.0.0",
}
DICOM = {"highdicom": "0.27.0"}


class Computer:
    """A computer with installed packages, and a log of questions, messages and installations.

    Packages are records in a folder that Python looks for packages in.
    """

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.messages: list[str] = []
        self.installed: list[str] = []
        self.constraints = ""
        self.answer = True
        self.monkeypatch = monkeypatch
        discover = importlib.metadata.Distribution.discover

        def only_here(**context):
            return discover(**context, path=[str(folder)])

        # Not one finder alone: a library that is imported may have added one of its own.
        monkeypatch.setattr(importlib.metadata.Distribution, "discover", staticmethod(only_here))
        monkeypatch.setattr(install, "is_importable", lambda module: False)

    def has(self, **versions: str) -> None:
        for name, version in versions.items():
            for old in self.folder.glob(f"{name}-*.dist-info"):
                (old / "METADATA").unlink()
                old.rmdir()
            record = self.folder / f"{name}-{version}.dist-info"
            record.mkdir()
            (record / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
            )

    def ask(self, text: str) -> bool:
        self.asked.append(text)
        return self.answer

    def install(self) -> bool:
        return install.install(self.ask, self.messages.append)

    def _pip(self, wanted, constraints: Path) -> None:
        self.constraints = constraints.read_text(encoding="utf-8")
        self.installed += wanted
        names = [re.split("[>=]", line)[0] for line in wanted]
        self.has(**{name: {**COMPLETE, **DICOM}[name] for name in names})

    def is_slicer_5_12(self, skips: bool = False) -> None:
        def pip_ensure(
            requirements,
            constraints=None,
            skip_packages=None,
            prompt_install=True,
            prompt_restart=True,
            requester=None,
            skip_in_testing=True,
            show_progress=True,
        ) -> None:
            assert not prompt_install
            assert requester == "MOISSAM2"
            if not skips:
                self._pip(requirements, constraints)

        packaging = ModuleType("slicer.packaging")
        packaging.pip_ensure = pip_ensure
        self.monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)

    def is_slicer_5_10(self) -> None:
        def pip_install(requirements) -> None:
            option, path, *wanted = requirements
            assert option == "--constraint"
            self._pip(wanted, Path(path))

        self.monkeypatch.setitem(sys.modules, "slicer.packaging", None)
        self.monkeypatch.setattr(slicer.util, "pip_install", pip_install, raising=False)

    def has_pytorch_extension(self, version: str = "2.7.1+cu128", error=None) -> None:
        def install_torch(
            logic, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None
        ) -> None:
            if error:
                raise error
            assert torchVersionRequirement == ">=2.5"
            self.installed.append("torch")
            self.has(torch=version)

        module = ModuleType("PyTorchUtils")
        module.PyTorchUtilsLogic = type("PyTorchUtilsLogic", (), {"installTorch": install_torch})
        self.monkeypatch.setitem(sys.modules, "PyTorchUtils", module)

    def has_extensions_manager(self, works: bool = True) -> SimpleNamespace:
        model = SimpleNamespace(interactive=True, calls=[])

        def install_from_server(name, restart=True, update=True) -> bool:
            model.calls.append((name, restart, model.interactive))
            return works

        model.installExtensionFromServer = install_from_server
        app = SimpleNamespace(extensionsManagerModel=lambda: model)
        self.monkeypatch.setattr(slicer, "app", app, raising=False)
        return model


@pytest.fixture
def a_computer(tmp_path, monkeypatch):
    """A computer with nothing but the packages that Slicer brings along."""
    computer = Computer(tmp_path, monkeypatch)
    computer.has(**BUNDLED)
    monkeypatch.setattr(slicer, "app", SimpleNamespace(), raising=False)
    return computer


@pytest.fixture(params=["5.10", "5.12"])
def either_slicer(request, a_computer):
    (a_computer.is_slicer_5_10 if request.param == "5.10" else a_computer.is_slicer_5_12)()
    return a_computer


@pytest.fixture
def imports_work(monkeypatch):
    """Make every package importable; gives a list of the attempts."""
    tried = []
    monkeypatch.setattr(install, "_try_imports", lambda: tried.append(True))
    return tried


def test_what_is_needed_is_what_the_project_asks_for():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert sorted(r.specifier for r in install.REQUIREMENTS) == sorted(project["dependencies"])


def test_here_nothing_is_missing_and_nobody_is_asked():
    assert install.missing_packages() == []
    assert install.install(pytest.fail, pytest.fail)


def test_only_what_slicer_lacks_is_missing(a_computer):
    assert install.missing_packages() == [
        "torch",
        "safetensors",
        "huggingface_hub",
        "filelock",
        "pillow",
    ]


def test_what_slicer_brings_along_is_taken_at_any_version(a_computer):
    a_computer.has(**{**COMPLETE, "numpy": "1.20.0", "scipy": "1.0"})

    assert install.missing_packages() == []


def test_a_bundled_package_without_a_record_counts_if_it_can_be_imported(a_computer, monkeypatch):
    a_computer.has(**{name: v for name, v in COMPLETE.items() if name not in BUNDLED})
    for record in a_computer.folder.glob("SimpleITK-*"):
        (record / "METADATA").unlink()
    assert install.missing_packages() == ["SimpleITK"]

    monkeypatch.setattr(install, "is_importable", lambda module: module == "SimpleITK")

    assert install.missing_packages() == []


def test_an_older_version_counts_as_missing_and_a_local_build_does_not(a_computer):
    a_computer.has(**{**COMPLETE, "torch": "2.4.1", "safetensors": "0.10.0"})
    assert install.missing_packages() == ["torch"]

    a_computer.has(torch="2.13.0+cpu")

    assert install.missing_packages() == []


def test_one_who_declines_gets_nothing(either_slicer):
    either_slicer.has_pytorch_extension()
    either_slicer.answer = False

    assert not either_slicer.install()

    assert len(either_slicer.asked) == 1
    assert "torch, safetensors" in either_slicer.asked[0]
    assert either_slicer.installed == []
    assert either_slicer.messages == [install.DECLINED]


@pytest.mark.parametrize(("machine", "is_refused"), [("x86_64", True), ("arm64", False)])
def test_a_slicer_for_intel_macs_is_told_that_there_is_no_torch(
    a_computer, monkeypatch, machine, is_refused
):
    monkeypatch.setattr(install.sys, "platform", "darwin")
    monkeypatch.setattr(install.platform, "machine", lambda: machine)
    asked = []

    def ask(question):
        asked.append(question)
        return False

    if is_refused:
        with pytest.raises(install.InstallFailed, match=r"Intel.*2\.5 is needed"):
            install.install(ask, pytest.fail)
    else:
        install.install(ask, lambda _: None)
    assert bool(asked) != is_refused


def test_everything_is_installed_after_one_question(either_slicer, imports_work):
    either_slicer.has_pytorch_extension()

    assert either_slicer.install()

    assert len(either_slicer.asked) == 1
    assert either_slicer.installed == [
        "torch",
        "safetensors>=0.4",
        "huggingface_hub>=0.23",
        "filelock>=3.12",
        "pillow>=10",
    ]
    assert "torch 2.7.1+cu128 is installed." in either_slicer.messages
    assert "filelock 3.18.0 is installed." in either_slicer.messages
    assert either_slicer.messages[-1] == install.READY
    assert imports_work


@pytest.mark.usefixtures("imports_work")
def test_what_works_already_is_held_at_its_version(either_slicer):
    either_slicer.has_pytorch_extension()
    either_slicer.has(pillow="10.4.0")

    assert either_slicer.install()

    held = either_slicer.constraints.split()
    assert {"numpy==1.26.4", "scipy==1.13.1", "SimpleITK==2.4.0", "pillow==10.4.0"} == set(held)


@pytest.mark.usefixtures("imports_work")
def test_after_a_restart_only_the_rest_is_installed(either_slicer):
    """Slicer was closed when torch was there and the other packages were not."""
    either_slicer.has(torch="2.7.1+cu128", filelock="3.18.0")

    assert either_slicer.install()

    assert "torch" not in either_slicer.installed
    assert not [wanted for wanted in either_slicer.installed if wanted.startswith("filelock")]
    assert "torch" not in either_slicer.asked[0]


@pytest.mark.usefixtures("imports_work")
def test_another_torch_than_the_one_in_memory_needs_a_restart(either_slicer, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", sys.modules.get("torch") or ModuleType("torch"))
    either_slicer.has(torch="2.1.0")
    either_slicer.has_pytorch_extension()

    assert not either_slicer.install()

    assert either_slicer.messages[-1] == install.RESTART


def test_a_failure_tells_the_reason_and_the_way_without_internet(either_slicer):
    either_slicer.has_pytorch_extension(error=RuntimeError("no route to host\nmore"))

    with pytest.raises(install.InstallFailed) as failure:
        either_slicer.install()

    assert "no route to host" in str(failure.value)
    assert "more" not in str(failure.value)
    assert "pip download --dest FOLDER torch" in str(failure.value)
    assert "--no-index" in str(failure.value)


def test_a_failure_of_pip_is_explained(a_computer, monkeypatch):
    a_computer.has(torch="2.7.1")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)

    def fails(requirements) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(slicer.util, "pip_install", fails, raising=False)

    with pytest.raises(install.InstallFailed, match="disk full.*Without the Internet"):
        a_computer.install()


def test_an_installation_that_was_skipped_is_noticed(a_computer):
    """Slicer's own function does nothing in testing mode, without an error."""
    a_computer.has_pytorch_extension()
    a_computer.is_slicer_5_12(skips=True)

    with pytest.raises(install.InstallFailed, match="still missing: safetensors"):
        a_computer.install()


def test_without_the_pytorch_extension_it_is_offered(either_slicer):
    model = either_slicer.has_extensions_manager()

    assert not either_slicer.install()

    assert len(either_slicer.asked) == 2
    assert model.calls == [("PyTorch", False, False)]
    assert model.interactive
    assert either_slicer.messages[-1] == install.RESTART_FOR_EXTENSION
    assert either_slicer.installed == []


def test_where_the_extension_cannot_be_installed_the_message_says_how(either_slicer):
    with pytest.raises(install.InstallFailed, match="Extensions Manager"):
        either_slicer.install()

    either_slicer.has_extensions_manager(works=False)
    with pytest.raises(install.InstallFailed, match="Extensions Manager"):
        either_slicer.install()


def test_a_package_that_cannot_be_imported_is_named(a_computer, monkeypatch):
    a_computer.has(**COMPLETE)
    real = install.importlib.import_module

    def broken(name):
        if name == "torch":
            raise OSError("c10.dll could not be loaded")
        return real(name)

    monkeypatch.setattr(install.importlib, "import_module", broken)

    with pytest.raises(install.InstallFailed, match="torch is installed.*c10.dll"):
        a_computer.install()


# ---- what only DICOM results need ----------------------------------------------------------


def for_dicom(computer) -> bool:
    return install.install_for_dicom(computer.ask, computer.messages.append)


def test_highdicom_is_what_the_project_asks_for():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert install.HIGHDICOM.specifier in project["optional-dependencies"]["dicom"]
    assert install.HIGHDICOM not in install.REQUIREMENTS


def test_slicer_5_12_has_what_dicom_results_need(a_computer):
    a_computer.is_slicer_5_12()
    a_computer.has(**COMPLETE, pydicom="3.0.2", highdicom="0.27.0")
    assert for_dicom(a_computer)
    assert a_computer.asked == a_computer.installed == a_computer.messages == []


def test_highdicom_is_installed_after_a_question_and_nothing_is_replaced(either_slicer):
    either_slicer.has(**COMPLETE, pydicom="3.0.2")
    assert for_dicom(either_slicer)
    assert len(either_slicer.asked) == 1 and "highdicom" in either_slicer.asked[0]
    assert either_slicer.installed == ["highdicom>=0.27"]
    held = either_slicer.constraints.splitlines()
    assert {"pydicom==3.0.2", "numpy==1.26.4", "pillow==11.0.0"} <= set(held)
    assert for_dicom(either_slicer)
    assert len(either_slicer.asked) == 1


def test_one_who_declines_has_no_dicom_files_and_is_told(either_slicer):
    either_slicer.has(**COMPLETE, pydicom="3.0.2")
    either_slicer.answer = False
    assert not for_dicom(either_slicer)
    assert either_slicer.installed == []
    assert either_slicer.messages == [install.NO_DICOM]


def test_the_pydicom_of_slicer_5_10_is_not_replaced(a_computer):
    a_computer.is_slicer_5_10()
    a_computer.has(**COMPLETE, pydicom="2.4.4")
    with pytest.raises(install.InstallFailed, match=r"works with pydicom 2\.4\.4.*Slicer 5\.12"):
        for_dicom(a_computer)
    assert a_computer.asked == a_computer.installed == []


def test_without_the_internet_it_is_said_how_to_bring_highdicom(a_computer, monkeypatch):
    a_computer.is_slicer_5_12()
    a_computer.has(**COMPLETE, pydicom="3.0.2")

    def offline(*arguments, **how):
        raise RuntimeError("no connection\nmore")

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", offline)
    with pytest.raises(install.InstallFailed) as caught:
        for_dicom(a_computer)
    text = str(caught.value)
    assert "highdicom did not work: no connection." in text and "Without the Internet" in text
    assert "pip download --dest FOLDER highdicom" in text


def test_an_installation_of_highdicom_that_was_skipped_is_noticed(a_computer):
    a_computer.is_slicer_5_12(skips=True)
    a_computer.has(**COMPLETE, pydicom="3.0.2")
    with pytest.raises(install.InstallFailed, match="still missing: highdicom"):
        for_dicom(a_computer)
