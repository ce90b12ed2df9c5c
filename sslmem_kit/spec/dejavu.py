"""Options of the comparison with Deja Vu memorization: which part of an image is shown, and whose labels its neighbours have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from sslmem_kit.errors import UserError, near
from sslmem_kit.spec.comparison import ComparisonSpec
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.paths import expanded
from sslmem_kit.spec.section import Count

CROPS = ("corner", "periphery", "background")
"""Kinds of crops that leave the object out."""
LEAST_BACKGROUND = 0.25
"""Shorter side of the smallest background that is shown, as a share of the image's side, where a crop does not give one."""
_ALLOWED = (
    "allowed are corner:SHARE, periphery:SHARE and background, with a share of the side above 0 and below 1, as in corner:0.3"
)


class Crop(NamedTuple):
    """Part of an image that is shown, as ``kind:fraction``."""

    kind: Literal["corner", "periphery", "background"]
    fraction: float
    """Share of the image's side: of the corner's side, of the side of the square in the middle that is blanked, or of the shorter side of the
    smallest rectangle that counts as background."""

    @property
    def name(self) -> str:
        """Coordinate in the store.

        >>> Crop("corner", 0.3).name
        'corner:0.3'
        """
        return f"{self.kind}:{self.fraction:g}"


def parse_crop(text: str) -> Crop:
    """Return the crop that a text names.

    Raises
    ------
    UserError
        An unknown kind, or a share of the side that is not between 0 and 1.

    Examples
    --------
    >>> parse_crop("corner:0.3"), parse_crop("background").fraction
    (Crop(kind='corner', fraction=0.3), 0.25)
    >>> parse_crop("corner:1.5")
    Traceback (most recent call last):
    sslmem_kit.errors.UserError: crops: 'corner:1.5' shows 1.5 of the side; allowed are corner:SHARE, periphery:SHARE and background, with a \
share of the side above 0 and below 1, as in corner:0.3
    """
    kind, colon, share = text.strip().partition(":")
    if kind not in CROPS or (not colon and kind != "background"):
        raise UserError(f"crops: {text!r} is no crop; {_ALLOWED}{near(kind, CROPS)}")
    try:
        fraction = float(share) if colon else LEAST_BACKGROUND
    except ValueError:
        raise UserError(f"crops: {text!r} has no number after the colon; {_ALLOWED}") from None
    if not 0 < fraction < 1:
        raise UserError(f"crops: {text!r} shows {share} of the side; {_ALLOWED}")
    return Crop(kind, fraction)  # pyright: ignore[reportArgumentType]


class DejaVuSpec(ComparisonSpec):
    """Deja Vu memorization (Meehan et al. 2023): from a part of an image without its object, is the class of the object known?"""

    name: Literal["dejavu"] = "dejavu"
    """Name of the comparison."""
    crops: Annotated[tuple[str, ...], Field(min_length=1)] = ("corner:0.3", "corner:0.5", "periphery:0.7")
    """Parts of an image that are shown, each resized to the whole: ``corner:SHARE`` (lower left, of this share of the side),
    ``periphery:SHARE`` (all but the square in the middle of this share, which is blanked), ``background`` or ``background:SHARE`` (the largest
    rectangle outside ``boxes``, with no side below this share). The first is what the score of a sample goes by."""
    neighbours: Annotated[tuple[Count, ...], Field(min_length=1)] = (20, 5, 50)
    """Numbers of nearest neighbours that vote. The first is what the score of a sample goes by."""
    public: DataSpec | None = None
    """Labelled images that the neighbours are among, with the study's names of classes; null: the study's test split, which no encoder saw."""
    boxes: str | None = None
    """Bounding boxes of the objects, for ``background``: a CSV file with columns ``sample`` (id) or ``file``, ``xmin``, ``ymin``, ``xmax``,
    ``ymax`` in pixels of the image as stored, a row a box."""

    @field_validator("crops")
    @classmethod
    def _crops_are_known(cls, crops: tuple[str, ...]) -> tuple[str, ...]:
        names = [parse_crop(text).name for text in crops]
        return tuple(_once(names, "crops"))

    @field_validator("neighbours")
    @classmethod
    def _neighbours_differ(cls, neighbours: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(_once([*neighbours], "neighbours"))

    @model_validator(mode="after")
    def _background_has_boxes(self) -> DejaVuSpec:
        if self.boxes is None and any(crop.kind == "background" for crop in self.parsed_crops):
            raise UserError("crops: background needs the boxes of the objects; give boxes, or show periphery:0.7 in its place")
        return self

    @property
    def parsed_crops(self) -> tuple[Crop, ...]:
        """The crops, in order."""
        return tuple(map(parse_crop, self.crops))

    def resolved(self, base: Path) -> DejaVuSpec:
        """Return the same spec with its relative paths made absolute, seen from the folder ``base``."""
        boxes = None if self.boxes is None else str((Path(base) / expanded(self.boxes)).resolve())
        return self.model_copy(update={"boxes": boxes, "public": self.public and self.public.resolved(base)})


def _once(values: list, field: str) -> list:
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise UserError(f"{field}: {twice[0]} is listed twice, give it once")
    return values
