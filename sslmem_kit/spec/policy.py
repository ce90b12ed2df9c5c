"""Policies: how the views of a sample are made, as data that a study spec can hold.

A policy is a name and a sequence of steps. A spec writes it in one of three ways::

    policy: simclr                              # a named policy
    policy: [crop, {op: noise, sigma: 0.1}]     # a composition: named policies, op names, ops with options
    policy: {name: mine, steps: [{op: flip}]}   # the resolved form, which is also what is stored

Options and defaults mean what torchvision's transforms of that kind mean; `sslmem_kit.views` samples and applies them. All of it acts
on images in [0, 1]: normalization comes after the views, or ColorJitter's clamping would destroy the images. No torch in here.
"""

from typing import Annotated, Any, Literal, Union, get_args

from pydantic import ConfigDict, Field, PositiveFloat, model_validator

from sslmem_kit.errors import near
from sslmem_kit.spec.section import Section, also_as

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Strength = Annotated[float, Field(ge=0)]


class Crop(Section):
    """Crop of the full image size after zero padding (RandomCrop); `padding` is a fraction of the side, rounded to whole pixels."""

    op: Literal["crop"] = "crop"
    """Crop after zero padding."""
    padding: Annotated[float, Field(ge=0, le=1)] = 0.125
    """Padding on each side, as a fraction of the image's side, rounded to whole pixels."""


class CropResize(Section):
    """Crop of random area and aspect ratio, resized to the full image size (RandomResizedCrop)."""

    op: Literal["crop_resize"] = "crop_resize"
    """Crop of random area and aspect ratio, resized."""
    scale: tuple[Fraction, Fraction] = (0.08, 1.0)
    """Least and largest area of the crop, as fractions of the image's."""
    ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    """Least and largest aspect ratio (width by height) of the crop before it is resized."""

    @model_validator(mode="after")
    def _ordered(self) -> "CropResize":
        for field in ("scale", "ratio"):
            low, high = getattr(self, field)
            if low > high:
                raise ValueError(f"{field}: got ({low}, {high}), but the first number must not exceed the second")
        return self


class Flip(Section):
    """Mirror left to right with probability `p` (RandomHorizontalFlip)."""

    op: Literal["flip"] = "flip"
    """Mirroring left to right."""
    p: Probability = 0.5
    """Probability, from 0 to 1, that the step is applied to a view."""


class ColorJitter(Section):
    """Change of brightness, contrast, saturation (factors 1 +- value) and hue, in random order, with probability `p` (ColorJitter)."""

    op: Literal["color_jitter"] = "color_jitter"
    """Random brightness, contrast, saturation and hue."""
    brightness: Strength = 0.4
    """Largest change of brightness: factors are uniform in [1 - value, 1 + value], not below 0."""
    contrast: Strength = 0.4
    """Largest change of contrast: factors are uniform in [1 - value, 1 + value], not below 0."""
    saturation: Strength = 0.4
    """Largest change of saturation: factors are uniform in [1 - value, 1 + value], not below 0."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Largest shift of the hue, as a share of the colour circle, at most 0.5."""
    p: Probability = 0.8
    """Probability, from 0 to 1, that the step is applied to a view."""


class ColorDrop(Section):
    """Grey with probability `p` (RandomGrayscale)."""

    op: Literal["color_drop"] = "color_drop"
    """Removal of colour."""
    p: Probability = 0.25
    """Probability, from 0 to 1, that the step is applied to a view."""


class Noise(Section):
    """Additive Gaussian noise, then clamped to [0, 1]; `mean` and `sigma` in units of the pixel range."""

    op: Literal["noise"] = "noise"
    """Additive Gaussian noise."""
    mean: float = 0.0
    """Mean of the noise, in units of the pixel range [0, 1]."""
    sigma: Strength = 0.2
    """Standard deviation of the noise, in units of the pixel range [0, 1]."""


class Rotate(Section):
    """Rotation by an angle uniform in (-degrees, degrees), bilinear, zeros outside (RandomRotation)."""

    op: Literal["rotate"] = "rotate"
    """Rotation by a random angle."""
    degrees: Annotated[float, Field(ge=0, le=360)] = 90.0
    """Largest angle in degrees, to either side."""


class Mask(Section):
    """Mask that sets exactly round(ratio * n) of the n square patches to 0; `patch` is a patch's side as a fraction of the image's."""

    op: Literal["mask"] = "mask"
    """Masking of square patches."""
    ratio: Probability = 0.75
    """Share of the patches that are set to 0, rounded to whole patches."""
    patch: Fraction = 0.125
    """Side of a patch, as a fraction of the image's side."""


Step = Annotated[
    Union[Crop, CropResize, Flip, ColorJitter, ColorDrop, Noise, Rotate, Mask],  # noqa: UP007 (get_args needs the one form)
    Field(discriminator="op"),
]
STEPS: dict[str, type[Section]] = {kind.model_fields["op"].default: kind for kind in get_args(get_args(Step)[0])}
"""Every op by its name, read from the union so that the two cannot drift apart."""


def _also_by_names(schema: dict[str, Any]) -> None:
    """Add, in the JSON schema of a policy, the name of one and a list of names and steps."""
    items = {"anyOf": [{"enum": [*dict.fromkeys((*POLICIES, *STEPS))]}, schema["properties"]["steps"]["items"]]}
    also_as({"enum": [*POLICIES]}, {"type": "array", "minItems": 1, "items": items})(schema)


class Policy(Section):
    """A named sequence of steps.

    Accepts, besides the resolved mapping ``{name, steps}``, the name of a policy, and a list of names of policies, names of ops and
    mappings ``{op: ..., option: ...}``, whose `name` becomes the names of the items joined by "+".

    Raises
    ------
    pydantic.ValidationError
        (a ValueError) for an unknown name, listing the valid ones; an unknown option; a value out of bounds.

    Examples
    --------
    >>> Policy.model_validate(["flip", {"op": "noise", "sigma": 0.1}]).name
    'flip+noise'
    """

    model_config = ConfigDict(json_schema_extra=_also_by_names)

    name: Annotated[str, Field(min_length=1)]
    """Name of the policy, for tables."""
    steps: tuple[Step, ...]
    """Steps that a view goes through, in this order; none: the clean image."""

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, given: Any) -> Any:
        if isinstance(given, str):
            if given not in POLICIES:
                hint = near(given, POLICIES)
                raise ValueError(f"policy: got {given!r}, allowed are {', '.join(POLICIES)}, or a list of these and of ops{hint}")
            return {"name": given, "steps": POLICIES[given].steps}
        if isinstance(given, list | tuple):
            if not given:
                raise ValueError("policy: got an empty list; a policy without steps is called 'identity'")
            items = [_resolve_item(item) for item in given]
            return {"name": "+".join(name for name, _ in items), "steps": tuple(step for _, steps in items for step in steps)}
        return given


def _resolve_item(item: Any) -> tuple[str, tuple[Any, ...]]:
    """Name and steps of one item of a composition; options are validated later, as part of the policy."""
    allowed = f"policies {', '.join(POLICIES)}; ops {', '.join(STEPS)}"
    if isinstance(item, str):
        if item in POLICIES:
            return item, POLICIES[item].steps
        if item in STEPS:
            return item, (STEPS[item](),)
    elif isinstance(item, Section) and item.__class__ in STEPS.values():
        return item.op, (item,)
    elif isinstance(item, dict) and isinstance(item.get("op"), str) and item["op"] in STEPS:
        return item["op"], (item,)
    name = item.get("op") if isinstance(item, dict) else item
    hint = near(name, (*POLICIES, *STEPS)) if isinstance(name, str) else ""
    raise ValueError(f"policy: got {item!r} in a list, allowed are names ({allowed}) and mappings {{op: ..., option: ...}}{hint}")


def _policy(name: str, *steps: Section) -> Policy:
    return Policy(name=name, steps=steps)


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        # The paper's CIFAR10 recipe (Table 6 and the released code); the single ops are the augmentations of Table 8.
        _policy("simclr", CropResize(), Flip(), ColorJitter(), ColorDrop(p=0.2)),
        _policy("crop", Crop()),
        _policy("crop_resize", CropResize()),
        _policy("noise", Noise()),
        _policy("rotate90", Rotate(degrees=90)),
        _policy("rotate270", Rotate(degrees=270)),
        _policy("color_drop", ColorDrop()),
        _policy("mask", Mask()),
        _policy("identity"),
    )
}
"""The named policies. Images without a left and a right (digits) want no flip and a narrower scale: write a composition."""
