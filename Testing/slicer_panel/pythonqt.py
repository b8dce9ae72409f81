"""Qt as Slicer's Python (PythonQt) offers it, over PySide6.

In Slicer ``button.text`` is a property and ``button.connect("clicked()", f)`` connects. The names
of each class are in ``data/qt-api.json``, as they were seen in a real Slicer. Any other name raises
AttributeError, and is added to `violations` too: the panel turns errors into messages, and a test
has to fail nevertheless.
"""

from __future__ import annotations

import json
import re
import types
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

from paths import DATA
from PySide6 import QtCore, QtGui, QtWidgets

API = DATA / "qt-api.json"

violations: list[str] = []
"""Names that code asked for and that do not exist in Slicer."""

_METHOD = re.compile(r"X\.(\w+)\(")
_SLOT = re.compile(r"(?:[\w:<>*]+ )?(\w+)\(")
_wrappers: weakref.WeakValueDictionary[int, Wrapper] = weakref.WeakValueDictionary()


def refuse(text: str) -> AttributeError:
    """Return an error, and note it in `violations` in case it is caught."""
    violations.append(text)
    return AttributeError(text)


@cache
def _documents() -> dict[str, dict]:
    content = json.loads(API.read_text(encoding="utf-8"))
    return {**content["classes"], **content["not observed"]["classes"]}


def record_of(name: str) -> dict | None:
    """Return what was seen of one class itself; None if it was not looked at."""
    found = _documents()
    return found.get(name) or found.get(f"qt_{name}")


@cache
def offered(name: str) -> tuple[frozenset[str], dict[str, str], frozenset[str]]:
    """Return names, properties and signals' signatures of a class and of its base classes."""
    own = record_of(name)
    if own is None:
        raise refuse(f"{name} is not in {API.name}")
    names: set[str] = set()
    properties: dict[str, str] = {}
    signals: set[str] = set()
    chain = own.get("chain") or [name]
    for one in reversed(chain):
        record = own if one == name else record_of(one)
        if record is None:
            continue
        properties |= record.get("properties", {})
        signals.update(record.get("signals") or ())
        for entry in record.get("callable", ()):
            method = _METHOD.match(entry)
            names.add(method[1] if method else entry)
        names |= {_SLOT.match(slot)[1] for slot in record.get("slots") or () if _SLOT.match(slot)}
    return frozenset(names | set(properties)), properties, frozenset(signals)


def class_of(real: Any) -> str:
    """Return the name that the class of an object has in Slicer."""
    for kind in type(real).__mro__:
        name = kind.__name__
        if record_of(name) is not None and name not in ("QObject", "QWidget"):
            return name
    return "QWidget" if isinstance(real, QtWidgets.QWidget) else "QObject"


class Wrapper:
    """A Qt object as Slicer's Python shows it."""

    __slots__ = ("__weakref__", "real")

    def __init__(self, real: Any) -> None:
        object.__setattr__(self, "real", real)

    def __getattr__(self, name: str) -> Any:
        real = self.real
        kind = class_of(real)
        names, properties, _ = offered(kind)
        if name == "name" and isinstance(real, QtCore.QObject):
            return real.objectName()
        if name == "connect":
            return lambda signature, slot: connect(real, signature, slot)
        if name == "className":
            return lambda: kind
        if name == "inherits":
            return real.inherits
        if name not in names:
            if name.startswith("__"):
                raise AttributeError(name)
            raise refuse(f"{kind} has no attribute named '{name}'")
        if name in properties or _is_property(real, name):
            return wrap(real.property(name))
        attribute = getattr(real, name)
        if isinstance(attribute, QtCore.SignalInstance):
            return attribute
        if isinstance(attribute, Callable):
            return lambda *arguments: wrap(attribute(*map(unwrap, arguments)))
        return attribute

    def __setattr__(self, name: str, value: Any) -> None:
        real = self.real
        kind = class_of(real)
        if name == "name":
            real.setObjectName(value)
            return
        names, properties, _ = offered(kind)
        is_property = name in properties or (name in names and _is_property(real, name))
        if not is_property or "read only" in properties.get(name, ""):
            raise refuse(f"{kind} has no attribute named '{name}' that can be set")
        value = unwrap(value)
        if not _fits(real.property(name), value):
            raise refuse(f"{kind}.{name} cannot be {value!r}")
        real.setProperty(name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapper) and self.real == other.real

    def __hash__(self) -> int:
        return hash(self.real)

    def __bool__(self) -> bool:
        return True


def _is_property(real: Any, name: str) -> bool:
    return isinstance(real, QtCore.QObject) and real.metaObject().indexOfProperty(name) >= 0


def _fits(now: Any, value: Any) -> bool:
    # PythonQt refuses a number for a text and a text for a number.
    if isinstance(now, str) or isinstance(value, str):
        return isinstance(now, str) == isinstance(value, str) or now is None
    return True


def wrap(value: Any) -> Any:
    """Wrap objects of Qt and return everything else as it is; lists become tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(wrap(one) for one in value)
    if isinstance(value, QtCore.QObject) or type(value).__name__ in _VALUES:
        known = _wrappers.get(id(value))
        if known is not None and known.real is value:
            return known
        wrapper = Wrapper(value)
        _wrappers[id(value)] = wrapper
        return wrapper
    return value


_VALUES = {
    "QTableWidgetItem",
    "QModelIndex",
    "QPalette",
    "QFontMetrics",
    "QColor",
    "QIcon",
    "QPixmap",
    "QKeySequence",
}


def unwrap(value: Any) -> Any:
    """Return an object as PySide6 takes it."""
    if isinstance(value, Wrapper):
        return value.real
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(one) for one in value)
    return value


def connect(real: QtCore.QObject, signature: str, slot: Callable) -> bool:
    """Connect a signal to a slot that gets as many arguments as the signature has."""
    kind = class_of(real)
    names, _, signals = offered(kind)
    name, _, inside = signature.partition("(")
    arguments = [part for part in inside.rstrip(")").split(",") if part]
    is_listed = signature in signals or (name in names and _has_signal(real, signature))
    if not is_listed or "(" not in signature:
        raise refuse(f"{kind} has no signal {signature}")
    # Qt gives a slot as many arguments as it takes, so it has to be seen how many these take.
    takers = (
        lambda: slot(),
        lambda first: slot(wrap(first)),
        lambda first, second: slot(wrap(first), wrap(second)),
    )
    getattr(real, name).connect(takers[len(arguments)])
    return True


def _has_signal(real: QtCore.QObject, signature: str) -> bool:
    # For base classes that were not looked at; `clicked(bool)` can be connected as `clicked()` too.
    meta = real.metaObject()
    signatures = {
        meta.method(index).methodSignature().data().decode()
        for index in range(meta.methodCount())
        if meta.method(index).methodType() == QtCore.QMetaMethod.MethodType.Signal
    }
    return signature in signatures or any(
        one.partition("(")[0] == signature.partition("(")[0] and signature.endswith("()")
        for one in signatures
    )


class _Class:
    """A class of `qt`, which makes objects and has enumerations and functions."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __call__(self, *arguments: Any) -> Wrapper:
        offered(self._kind.__name__)
        return wrap(self._kind(*map(unwrap, arguments)))

    def __getattr__(self, name: str) -> Any:
        if name not in offered(self._kind.__name__)[0]:
            raise refuse(f"{self._kind.__name__} has no attribute named '{name}'")
        attribute = getattr(self._kind, name)
        if isinstance(attribute, (types.BuiltinFunctionType, types.FunctionType)):
            return lambda *arguments: wrap(attribute(*map(unwrap, arguments)))
        return attribute


class QtModule(types.ModuleType):
    """The module `qt`."""

    Qt = QtCore.Qt

    def __init__(self, **replaced: Any) -> None:
        super().__init__("qt")
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        for module in (QtCore, QtGui, QtWidgets) if name.startswith("Q") else ():
            if hasattr(module, name):
                kind = _Class(getattr(module, name))
                self.__dict__[name] = kind
                return kind
        raise AttributeError(name)
