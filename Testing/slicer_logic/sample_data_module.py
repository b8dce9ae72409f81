"""A stand-in for Slicer's module Sample Data, as strict with entries as Slicer 5.10 to 5.13 is.

From `Modules/Scripted/SampleData/SampleData.py` of v5.10.0, v5.12.3 and main:

- `registerCustomSampleDataSource` has these parameters and no others, all with defaults; but
  `SampleDataSource` takes the lengths of ``uris``, ``fileNames``, ``nodeNames``, ``loadFiles``,
  ``loadFileTypes`` and ``checksums``, so None in place of ``uris`` is a TypeError, and lists of
  different lengths are a ValueError. Where ``uris`` is a list, only the last four and ``nodeNames``
  may be left out.
- What the button is called that the module shows for an entry follows from ``sampleName``.
- The button calls ``customDownloader(source)`` and shows nothing if that raises; without one it
  downloads. `downloadSample` and `downloadSamples` never call ``customDownloader``.
"""

# The names are Slicer's own.
# ruff: noqa: N802
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

PER_FILE = ("uris", "fileNames", "nodeNames", "loadFiles", "loadFileTypes", "checksums")


class SampleDataSource:
    """One entry."""

    def __init__(
        self,
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFileProperties: Any = None,
    ) -> None:
        self.sampleName, self.sampleDescription = sampleName, sampleName
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        given = (uris, fileNames, nodeNames, loadFiles, loadFileTypes, checksums)
        values = dict(zip(PER_FILE, given, strict=True))
        if isinstance(uris, str):
            values = {name: [value] for name, value in values.items()}
        elif isinstance(uris, (list, tuple)):
            for name in ("nodeNames", "loadFiles", "loadFileTypes", "checksums"):
                is_one_for_all = name == "loadFileTypes" and isinstance(values[name], str)
                if values[name] is None or is_one_for_all:
                    values[name] = [values[name]] * len(uris)
        self.__dict__.update(values)
        if len({len(value) for value in values.values()}) != 1:
            raise ValueError("All fields of sample data source must have the same length")

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return repr(sorted(vars(self).items()))


class SampleDataLogic:
    """The part of the logic that registers entries and finds them again."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = {},  # noqa: B006 - as in Slicer
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileType if loadFileTypes is None else loadFileTypes,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
            customDownloader=customDownloader,
        )
        sources = _sources().setdefault(category, [])
        if source not in sources:
            sources.append(source)

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        for sources in _sources().values():
            for source in sources:
                if source.sampleName == sampleName:
                    return source
        return None

    def downloadSamples(self, sampleName: str) -> list:
        source = self.sourceForSampleName(sampleName)
        assert source is None or not source.uris, "there is no network in the tests"
        return []

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]


def _sources() -> dict[str, list[SampleDataSource]]:
    if not hasattr(slicer.modules, "sampleDataSources"):
        slicer.modules.sampleDataSources = {}
    return slicer.modules.sampleDataSources
