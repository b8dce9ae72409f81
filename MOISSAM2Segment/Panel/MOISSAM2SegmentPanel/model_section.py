"""The section *Model*: choice, download, import and removal of networks' weights."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import qt
import slicer
from MOISSAM2SegmentLib.worker.devices import free_memory_gib
from MOISSAM2SegmentLib.worker.engine import Engine
from MOISSAM2SegmentLib.worker.jobs import Job
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.settings import read_setting, write_setting

FILES = "(*.pt *.pth *.safetensors *.zip)"
LONGEST_NAME = 64
CLICKS_ONLY = "sam2.1-"
"""Beginning of the names of published models that outline clicks, but were not made to search."""


class Model(NamedTuple):
    """A model that can be chosen, with its entry in the list."""

    name: str
    title: str
    path: str
    """Path of its weights; empty if they are not on this computer."""
    preset: str | None
    details: str
    is_removable: bool


def known_models() -> list[Model]:
    """Return the models that can be chosen: published, imported, and the one that is shipped."""
    from mois_core import weights
    from mois_core.models import SHIPPED, shipped_weights
    from mois_core.weights import registry
    from mois_core.weights.store import megabytes

    models = []
    for listed in weights.list_entries():
        entry = registry.lookup(listed.name)
        title = listed.title if entry else listed.name
        if listed.name.startswith(CLICKS_ONLY):
            title = _("{title} (outlines clicks only, cannot search)").format(title=title)
        size = megabytes(listed.size) if listed.size else _("size not known yet")
        details = _("{size}, licence: {licence}, from {page}").format(
            size=size, licence=listed.licence or _("see its page"), page=listed.page or _("a file")
        )
        path = str(listed.path or "")
        models.append(Model(listed.name, title, path, entry and entry.preset, details, bool(path)))
    shipped = shipped_weights()
    if shipped is not None:
        title = _("Demonstration, for the sample scan only")
        details = _("comes with the program")
        models.append(Model(SHIPPED, title, str(shipped), SHIPPED, details, False))
    return models


def storable_name(stem: str) -> str:
    """Return a file's name without what the store refuses, such as blanks and umlauts."""
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", plain).strip("-._+")[:LONGEST_NAME] or "model"


class ModelSection:
    """The section *Model*. ``before_unload`` is called before the network is unloaded."""

    def __init__(
        self, ui: Any, engine: Engine, message_line: MessageLine, before_unload: Callable[[], None]
    ) -> None:
        self._ui = ui
        self._before_unload = before_unload
        self._engine = engine
        self._message_line = message_line
        self._models: list[Model] = []
        self._is_filling = False
        self.device: str | None = None
        self.precision: str | None = None
        self._asked_for: tuple[str | None, str | None] | None = None
        """Device and precision of the network that was loaded, or is being loaded, from here."""
        ui.modelBox.connect("currentIndexChanged(int)", message_line.guard(self._chosen))
        ui.downloadButton.connect("clicked()", message_line.guard(self._download))
        ui.fileButton.connect("clicked()", message_line.guard(self._use_file))
        ui.removeButton.connect("clicked()", message_line.guard(self._remove))
        engine.changed.connect(self.show)

    @property
    def current(self) -> Model | None:
        """The model that is chosen; None if there is none."""
        index = self._ui.modelBox.currentIndex
        return self._models[index] if 0 <= index < len(self._models) else None

    def refresh(self, wanted: str = "") -> None:
        """List the models anew, and choose the one with a name, or the one chosen last time."""
        wanted = wanted or read_setting("Model")
        self._models = known_models()
        self._is_filling = True
        box = self._ui.modelBox
        box.clear()
        for model in self._models:
            box.addItem(model.title if model.path else f"{model.title} \u2193")
        names = [model.name for model in self._models]
        # The demonstration is never what a reader of real scans begins with.
        stored = [index for index, model in enumerate(self._models) if model.is_removable]
        box.setCurrentIndex(names.index(wanted) if wanted in names else (stored or [0])[0])
        self._is_filling = False
        self.show()

    @property
    def short_title(self) -> str:
        """What the loaded network is called where there is little room."""
        from mois_core.models import SHIPPED

        name = self.current.name if self.current else ""
        return _("Demonstration") if name == SHIPPED else name

    @property
    def short_device(self) -> str:
        """What the loaded network runs on, where there is little room."""
        return _("CPU") if self._engine.device == "cpu" else _("GPU")

    def use_demonstration(self) -> bool:
        """Choose the network that is shipped, for this time; return whether there is one."""
        from mois_core.models import SHIPPED

        names = [model.name for model in self._models]
        if SHIPPED not in names:
            return False
        if self.current.name != SHIPPED:
            self._is_filling = True
            self._ui.modelBox.setCurrentIndex(names.index(SHIPPED))
            self._is_filling = False
            self.unload()
            self.show()
        return True

    def load(self, then: Any) -> None:
        """Load the chosen model unless it is loaded as it is wanted now, then call a function."""
        model, how = self.current, (self.device, self.precision)
        if self._asked_for not in (None, how):
            # Device or precision were chosen while a scan was open, which kept what it had.
            self.unload()
        if self._engine.is_ready:
            then()
        elif model is None or not model.path:
            self._message_line.show(_("Download the model or use a file first."))
        else:
            self._asked_for = how
            self._engine.load(
                model.preset, model.path, self.device, then, self._message_line.show, self.precision
            )

    def unload(self) -> None:
        """Unload the network, also one that is still being loaded: it is not what was chosen.

        It is loaded again when it is needed, with the choices of then.
        """
        if self._engine.is_ready or self._asked_for is not None:
            self._asked_for = None
            self._before_unload()
            self._engine.unload()

    def show(self) -> None:
        """Update the buttons and the label from the engine."""
        model = self.current
        has_file = bool(model and model.path)
        self._ui.downloadButton.enabled = model is not None and not has_file
        self._ui.removeButton.enabled = has_file and model.is_removable
        self._ui.modelBox.toolTip = model.details if model else ""
        self._ui.modelLabel.text = self._state()

    def _state(self) -> str:
        model = self.current
        if self._engine.is_ready:
            return _("\u2713 Ready on: {device}").format(device=self._where())
        if model and model.path:
            return _("\u2713 On this computer. It is loaded when you start.")
        return _("\u2193 Not on this computer yet: download it, or use a file.")

    def _where(self) -> str:
        device = self._engine.device
        if device == "cpu":
            return _("processor (a graphics card is much faster)")
        free = free_memory_gib(device)
        if free is None:
            return _("graphics processor")
        return _("graphics card, {free:.0f} GB free").format(free=free)

    # ---- buttons ---------------------------------------------------------------------------

    def _chosen(self, index: int) -> None:
        if self._is_filling or self.current is None:
            return
        write_setting("Model", self.current.name)
        self.unload()
        self.show()

    def _download(self) -> None:
        from mois_core import weights

        model = self.current
        if model is None or not self._message_line.ask(
            _(
                "Download the weights of this model?\n\n{title}\n{details}\n\nThey are kept in "
                "{folder}, and nothing is sent but the request itself."
            ).format(title=model.title, details=model.details, folder=weights.store_dir())
        ):
            return
        self._fetch(
            _("Download"), lambda *how: weights.download(model.name, *how), lambda _: model.name
        )

    def _use_file(self) -> None:
        from mois_core import weights
        from mois_core.weights import registry

        caption, kind = _("Use the weights in a file"), _("Model weights")
        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), caption, "", f"{kind} {FILES}"
        )
        if not path:
            return
        entry = registry.published_as(Path(path).name)
        name = entry.name if entry else storable_name(Path(path).stem)
        known = any(model.name == name and model.path for model in self._models)
        question = _("A model called {name} is stored already. Replace it?").format(name=name)
        if known and not self._message_line.ask(question):
            return
        self._fetch(
            _("Use a file"),
            lambda *how: weights.import_file(path, name, *how),
            lambda stored: name,
        )

    def _fetch(self, what: str, work: Any, name_of: Any) -> None:
        def done(result: Any) -> None:
            name = name_of(result)
            write_setting("Model", name)
            self.unload()
            self.refresh(name)
            self._message_line.show(_("The model is on this computer now."))

        def cancelled() -> None:
            show(_("Stopped. The next try goes on where this one ended."))

        show = self._message_line.show
        self._engine.worker.submit(Job(what, work, done, show, cancelled, owner=self))

    def _remove(self) -> None:
        from mois_core import weights

        model = self.current
        question = _("Delete the stored weights of {title} from this computer?\n\n{path}")
        if model is None or not self._message_line.ask(
            question.format(title=model.title, path=model.path)
        ):
            return
        self.unload()
        weights.remove(model.name)
        self.refresh(model.name)
