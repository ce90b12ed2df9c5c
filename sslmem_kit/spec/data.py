"""The `data` section of a study: its images, their size, and the share that is held out."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sslmem_kit.errors import UserError, near
from sslmem_kit.spec.paths import expanded
from sslmem_kit.spec.plant import PlantSpec
from sslmem_kit.spec.section import Section

BUILTIN = ("digits", "digits_twins", "mnist5k", "mnist5k_textured", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "stl10",
           "food101", "flowers102")  # fmt: skip
"""Names of the data sets that are known by name; :mod:`sslmem_kit.data.datasets.builtin` reads them."""
GROUP_KINDS = ("csv", "npz")
"""Kinds of files that ``data.groups`` names by a path: ``csv:PATH:COLUMN`` and ``npz:PATH:ARRAY``."""
NEAR_DUPLICATES = "near_duplicates"
PATH_KINDS = ("folder", "npz")
"""Kinds of data that are named by a path: ``folder:PATH`` and ``npz:PATH``."""


class DataSpec(Section):
    """Data of a study, and how they are brought to one size."""

    name: str = Field(json_schema_extra={"anyOf": [{"enum": [*BUILTIN]}, {"pattern": rf"^({'|'.join(PATH_KINDS)}):.*\S"}]})
    """Data set: a built-in name, ``folder:PATH`` (images in folders, one per class) or ``npz:PATH``."""
    image_size: int | None = Field(None, ge=1, le=4096)
    """Side of the square images in pixels; null: the median of the images' shorter sides, at most ``max_image_size``."""
    max_image_size: int = Field(224, ge=1, le=4096)
    """Upper bound of a side that follows from the images, in pixels."""
    test_fraction: float = Field(0.2, ge=0, lt=1)
    """Share of every class that is held out as the test split, where the data have none of their own."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """Treatment of image files that cannot be decoded: ``refuse`` the data, or ``skip`` (leave out and record) the files."""
    root: str | None = None
    """Folder of downloaded data sets; null: ``~/.cache/sslmem_kit``."""
    download: bool = True
    """True: a data set that is missing may be downloaded."""
    groups: str | None = Field(
        None,
        json_schema_extra={"anyOf": [{"enum": [NEAR_DUPLICATES, None]}, {"pattern": rf"^({'|'.join(GROUP_KINDS)}):.*\S:.*\S"}]},
    )
    """Samples that belong together, which partitions and subsets keep whole: ``near_duplicates`` (those that are found), ``csv:PATH:COLUMN`` (a
    table with a column ``sample`` or ``file`` and one of groups), ``npz:PATH:ARRAY`` (one value a sample); null: each sample is alone."""
    plant: PlantSpec | None = None
    """Samples of the train split that are made duplicates, mislabelled, out of distribution or noisy, as a truth that scores are held against;
    null: none."""
    memory_limit_mb: int = Field(2048, ge=0)
    """Largest size in MiB, as final uint8 images, of data that are held in memory; larger data are decoded at every read."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        kind, colon, path = name.partition(":")
        if name not in BUILTIN and not (kind in PATH_KINDS and colon and path.strip()):
            allowed = ", ".join([*BUILTIN, *(f"{kind}:PATH" for kind in PATH_KINDS)])
            raise UserError(f"data.name {name!r} is not known: allowed are {allowed}{near(name, BUILTIN)}")
        return name

    @field_validator("groups")
    @classmethod
    def _readable(cls, groups: str | None) -> str | None:
        if groups not in (None, NEAR_DUPLICATES):
            kind, path, name = _parts(groups)
            if kind not in GROUP_KINDS or not path or not name:
                raise UserError(
                    f"data.groups {groups!r} is not known: allowed are {NEAR_DUPLICATES}, csv:PATH:COLUMN and npz:PATH:ARRAY"
                    f"{near(groups, [NEAR_DUPLICATES])}"
                )
        return groups

    @model_validator(mode="after")
    def _planted_samples_have_no_groups(self) -> "DataSpec":
        if self.plant and self.groups:
            raise ValueError("data.plant replaces images, data.groups is of those before: give one")
        return self

    @property
    def groups_file(self) -> tuple[str, Path, str]:
        """Kind (``csv`` or ``npz``), path and name of the column or array of ``groups``; for a spec that names a file."""
        kind, path, name = _parts(self.groups or "")
        return kind, expanded(path), name

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
        """Folder of downloaded data sets."""
        return expanded(self.root or "~/.cache/sslmem_kit")

    def resolved(self, base: Path) -> "DataSpec":
        """Return the same spec with its relative paths (in ``name`` and ``root``) made absolute, seen from the folder ``base``."""
        changes = {}
        if self.path is not None:
            changes["name"] = f"{self.kind}:{(Path(base) / self.path).resolve()}"
        if self.root is not None:
            changes["root"] = str((Path(base) / self.root_folder).resolve())
        if self.groups not in (None, NEAR_DUPLICATES):
            kind, path, name = self.groups_file
            changes["groups"] = f"{kind}:{(Path(base) / path).resolve()}:{name}"
        return self.model_copy(update=changes)


def _parts(groups: str) -> tuple[str, str, str]:
    """Return kind, path and name of ``kind:PATH:NAME``."""
    kind, _, rest = groups.partition(":")
    path, _, name = rest.rpartition(":")
    return kind, path.strip(), name.strip()
