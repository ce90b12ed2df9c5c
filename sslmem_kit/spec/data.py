"""The `data` section of a study: which images, at which size, what is held out."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from sslmem_kit.errors import UserError, near
from sslmem_kit.spec.paths import expanded
from sslmem_kit.spec.section import Section

BUILTIN = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "stl10", "food101", "flowers102")
"""Names of the data sets that are known by name; :mod:`sslmem_kit.data.datasets.builtin` reads them."""
PATH_KINDS = ("folder", "npz")
"""Kinds of data that are named by a path: ``folder:PATH`` and ``npz:PATH``."""


class DataSpec(Section):
    """Which data, and how it is brought to one size.

    Parameters
    ----------
    name
        A built-in name (a key of `BUILTIN`), ``folder:PATH`` or ``npz:PATH``.
    image_size
        Exact side of the square images in pixels. None: the median of the images' shorter sides, at most ``max_image_size``.
    max_image_size
        Upper bound of a derived side, in pixels.
    test_fraction
        Share of every class that is held out, where the data has no test side of its own.
    on_error
        Image files that cannot be decoded: refuse the data, or skip them (recorded in `Dataset.skipped`).
    root
        Folder of the downloaded data sets; None is ``~/.cache/sslmem_kit``.
    download
        Whether a missing data set may be downloaded.
    memory_limit_mb
        Sets whose final uint8 images need at most this many MiB are held in memory; larger ones are decoded on every read.
    """

    name: str
    image_size: int | None = Field(None, ge=1, le=4096)
    max_image_size: int = Field(224, ge=1, le=4096)
    test_fraction: float = Field(0.2, ge=0, lt=1)
    on_error: Literal["refuse", "skip"] = "refuse"
    root: str | None = None
    download: bool = True
    memory_limit_mb: int = Field(2048, ge=0)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        kind, colon, path = name.partition(":")
        if name not in BUILTIN and not (kind in PATH_KINDS and colon and path.strip()):
            allowed = ", ".join([*BUILTIN, *(f"{kind}:PATH" for kind in PATH_KINDS)])
            raise UserError(f"data.name {name!r} is not known: allowed are {allowed}{near(name, BUILTIN)}")
        return name

    @property
    def kind(self) -> str:
        """``"builtin"``, ``"folder"`` or ``"npz"``."""
        return "builtin" if self.name in BUILTIN else self.name.partition(":")[0]

    @property
    def path(self) -> Path | None:
        """The PATH of ``folder:PATH`` and ``npz:PATH``, home folder expanded; None for a built-in name."""
        return None if self.kind == "builtin" else expanded(self.name.partition(":")[2].strip())

    @property
    def root_folder(self) -> Path:
        """Where downloaded data sets live."""
        return expanded(self.root or "~/.cache/sslmem_kit")

    def resolved(self, base: Path) -> "DataSpec":
        """The same spec with its relative paths (in ``name`` and ``root``) made absolute, seen from the folder ``base``."""
        changes = {}
        if self.path is not None:
            changes["name"] = f"{self.kind}:{(Path(base) / self.path).resolve()}"
        if self.root is not None:
            changes["root"] = str((Path(base) / self.root_folder).resolve())
        return self.model_copy(update=changes)
