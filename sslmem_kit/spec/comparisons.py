"""The `comparisons` section of a study spec: other scores that are measured on the same samples and encoders.

They change no training, so that they do not count in a study's hash: a finished study takes more of them, by its spec or by `sslmem compare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from sslmem_kit.errors import UserError, near
from sslmem_kit.spec.section import Section


class ComparisonSpec(Section):
    """Options of one comparison; its name alone takes all defaults."""

    name: str
    """Name of the comparison."""
    KEEPS_STATES: ClassVar[bool] = False
    """True: training keeps the whole objective at the recorded epochs, in ``encoders/<id>/checkpoints``, which this comparison reads."""


class DejaVuSpec(ComparisonSpec):
    """Deja Vu (Meehan et al. 2023): what an encoder infers of an image from a crop without its object."""

    name: Literal["dejavu"]
    """Name of the comparison."""


class SupervisedScoreSpec(ComparisonSpec):
    """Supervised memorization (Feldman 2020): how much likelier the own class is when the sample was trained on."""

    name: Literal["supervised"]
    """Name of the comparison."""
    KEEPS_STATES: ClassVar[bool] = True


class MembershipSpec(ComparisonSpec):
    """Membership inference from alignment: plain, calibrated by a reference, and likelihood ratios of subset encoders."""

    name: Literal["membership"]
    """Name of the comparison."""


class PartCropSpec(ComparisonSpec):
    """Membership inference from parts of an image (Zhu et al. 2024)."""

    name: Literal["partcrop"]
    """Name of the comparison."""


class PrivacyAuditSpec(ComparisonSpec):
    """Lower bound of epsilon from one training (Steinke et al. 2023), of candidates that a coin included."""

    name: Literal["privacy"]
    """Name of the comparison."""


class GradientsSpec(ComparisonSpec):
    """Gradients of the loss of single samples: norm, agreement, self-influence."""

    name: Literal["gradients"]
    """Name of the comparison."""
    KEEPS_STATES: ClassVar[bool] = True


class CurvatureSpec(ComparisonSpec):
    """Curvature of the loss in the input (Garg and Roy 2023)."""

    name: Literal["curvature"]
    """Name of the comparison."""


class TypicalitySpec(ComparisonSpec):
    """Distance to the nearest training samples by the representations of f."""

    name: Literal["typicality"]
    """Name of the comparison."""


class LearningSpec(ComparisonSpec):
    """Cumulative loss and epoch of learning, by the alignment that is recorded while f trains."""

    name: Literal["learning"]
    """Name of the comparison."""


_KINDS: tuple[type[ComparisonSpec], ...] = (
    DejaVuSpec,
    SupervisedScoreSpec,
    MembershipSpec,
    PartCropSpec,
    PrivacyAuditSpec,
    GradientsSpec,
    CurvatureSpec,
    TypicalitySpec,
    LearningSpec,
)
SECTIONS: dict[str, type[ComparisonSpec]] = {kind.model_fields["name"].annotation.__args__[0]: kind for kind in _KINDS}  # pyright: ignore[reportOptionalMemberAccess]
"""Section of each comparison, by its name."""


def _by_name(value: Any) -> Any:
    """Return the mapping that a bare name stands for; an unknown name is answered with those that there are."""
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, dict) and value.get("name") not in SECTIONS:
        name = value.get("name")
        raise ValueError(f"there is no comparison {name!r}, known are {', '.join(SECTIONS)}{near(str(name), SECTIONS)}")
    return value


Comparison = Annotated[
    Annotated[
        DejaVuSpec
        | SupervisedScoreSpec
        | MembershipSpec
        | PartCropSpec
        | PrivacyAuditSpec
        | GradientsSpec
        | CurvatureSpec
        | TypicalitySpec
        | LearningSpec,
        Field(discriminator="name"),
    ],
    BeforeValidator(_by_name),
]
"""A comparison, by its name or as a mapping with options."""


def by_names(names: Sequence[str]) -> tuple[ComparisonSpec, ...]:
    """Return the comparisons of these names with default options.

    Raises
    ------
    UserError
        A name that no comparison has, or one that is given twice.

    Examples
    --------
    >>> [type(comparison).__name__ for comparison in by_names(["learning", "dejavu"])]
    ['LearningSpec', 'DejaVuSpec']
    """
    for position, name in enumerate(names):
        if name not in SECTIONS:
            raise UserError(f"--with: there is no comparison {name!r}, known are {', '.join(SECTIONS)}{near(name, SECTIONS)}")
        if name in names[:position]:
            raise UserError(f"--with: {name!r} is given twice")
    return tuple(SECTIONS[name].model_validate({"name": name}) for name in names)
