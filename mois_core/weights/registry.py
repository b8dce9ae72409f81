"""The published checkpoints: where they are, how large, and under which licence.

A checkpoint that nobody has published is not listed: SLM-SAM 2 comes as code that is to be trained
from SAM 2.1, so ``slm-sam2-t`` has a preset but no entry here. A file that someone trained is
brought in with `mois_core.weights.import_file`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mois_core.errors import BadInput


@dataclass(frozen=True)
class HuggingFace:
    """A file in a repository of the Hugging Face hub."""

    repo: str
    file: str

    @property
    def page(self) -> str:
        """Address where a person finds the file, its licence and its description."""
        return f"https://huggingface.co/{self.repo}"


@dataclass(frozen=True)
class Zenodo:
    """A checkpoint inside a zip file of a Zenodo record."""

    record: int
    file: str
    member: str
    """File name of the checkpoint in the zip, preferred if the zip holds several."""

    @property
    def page(self) -> str:
        """Address where a person finds the file, its licence and its description."""
        return f"https://zenodo.org/records/{self.record}"


@dataclass(frozen=True)
class PublishedCheckpoint:
    """One published checkpoint. What its publisher does not tell is None, never a guess."""

    name: str
    preset: str
    title: str
    source: HuggingFace | Zenodo
    licence: str | None
    size: int | None
    """Size of the download in bytes."""
    sha256: str | None
    """Checksum of the checkpoint itself, also where it comes inside a zip."""


def _sam2(letter: str, word: str, size: int, sha256: str) -> PublishedCheckpoint:
    source = HuggingFace(
        repo=f"facebook/sam2.1-hiera-{word.replace('_', '-')}", file=f"sam2.1_hiera_{word}.pt"
    )
    name = f"sam2.1-{letter}"
    return PublishedCheckpoint(
        name, name, f"SAM 2.1 Hiera {letter.upper()}", source, "Apache-2.0", size, sha256
    )


# Sizes and checksums of SAM 2.1: the file pages of the hub (the Git LFS pointers, which are SHA-256
# of the content), and copies of them elsewhere on the hub that agree.
# MOIS-SAM2: its repository names the record, and its app the file inside. Licence, size and
# checksum are in the record itself and are asked for at the time of a download.
ENTRIES: tuple[PublishedCheckpoint, ...] = (
    PublishedCheckpoint(
        name="mois-sam2-b+",
        preset="mois-sam2-b+",
        title="MOIS-SAM2 for neurofibromas in whole-body MRI",
        source=Zenodo(record=16273967, file="model.zip", member="checkpoint.pt"),
        licence=None,
        size=None,
        sha256=None,
    ),
    _sam2("t", "tiny", 156_008_466,
          "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _sam2("s", "small", 184_416_285,
          "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _sam2("b+", "base_plus", 323_606_802,
          "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _sam2("l", "large", 898_083_611,
          "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
)  # fmt: skip


def names() -> list[str]:
    """Return the names of all published checkpoints."""
    return [entry.name for entry in ENTRIES]


def lookup(name: str) -> PublishedCheckpoint | None:
    """Return the published checkpoint of this name, or None."""
    return next((entry for entry in ENTRIES if entry.name == name), None)


def get(name: str) -> PublishedCheckpoint:
    """Return the published checkpoint of this name, or raise `BadInput` with the known names."""
    entry = lookup(name)
    if entry is None:
        raise BadInput(
            f"there is no published checkpoint called '{name}'; there are: {', '.join(names())}"
        )
    return entry


def published_as(file_name: str) -> PublishedCheckpoint | None:
    """Return the checkpoint whose download has this file name, or None.

    This recognises a file that was brought here from another computer.
    """
    return next((entry for entry in ENTRIES if entry.source.file == file_name), None)
