"""The `comparisons` section of a study spec: other scores that are measured on the same samples and encoders.

They change no training, so that they do not count in a study's hash: a finished study takes more of them, by its spec or by `sslmem compare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from sslmem_kit.errors import UserError, near
from sslmem_kit.spec.comparison import ComparisonSpec
from sslmem_kit.spec.dejavu import DejaVuSpec
from sslmem_kit.spec.section import Count, Positive, Share


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"got {bounds}, but the first number must not exceed the second")
    return bounds


class SupervisedScoreSpec(ComparisonSpec):
    """Supervised memorization (Feldman 2020): how much likelier the own class is when the sample was trained on."""

    name: Literal["supervised"]
    """Name of the comparison."""
    over: Literal["clean", "views"] = "clean"
    """Classified images: the clean one, as in Feldman's definition, or the views that are scored, whose mean is taken."""
    KEEPS_STATES: ClassVar[bool] = True


class MembershipSpec(ComparisonSpec):
    """Membership inference from alignment: plain, calibrated by a reference, and likelihood ratios of subset encoders."""

    name: Literal["membership"]
    """Name of the comparison."""


class PartCropSpec(ComparisonSpec):
    """Membership inference from parts of an image (Zhu et al. 2024), by two means over its parts."""

    name: Literal["partcrop"]
    """Name of the comparison."""
    parts: Count = 6
    """Number of parts of each image; each is a forward pass, as a scored view is."""
    scale: Annotated[tuple[Share, Share], AfterValidator(_ascending)] = (0.08, 0.2)
    """Least and largest area of a part, as fractions of the image's."""


class PrivacyAuditSpec(ComparisonSpec):
    """Lower bound of epsilon from one training (Steinke et al. 2023), of candidates that a coin included."""

    name: Literal["privacy"]
    """Name of the comparison."""
    delta: Share | None = None
    """Delta that epsilon is bounded at; null: that of training.privacy, 1e-5 without it."""
    confidence: Share = 0.95
    """Confidence of the bound of one encoder."""
    guesses: Count | None = None
    """Number of coins that are guessed, fixed beforehand; null: the best of four shares, for which the confidence pays."""


class GradientsSpec(ComparisonSpec):
    """Gradients of the loss of single samples under f: norm, agreement with the mean gradient, self-influence (TracIn, TRAK)."""

    name: Literal["gradients"]
    """Name of the comparison."""
    KEEPS_STATES: ClassVar[bool] = True
    checkpoints: Count = 2
    """Number of states of the training that are measured, evenly spaced among those that were kept (training.record_every); each stands for
    the learning rates of its part of the training."""
    views: Count = 1
    """Number of sets of views that a sample's gradient is averaged over."""
    projection: Count = 512
    """Number of dimensions that gradients are projected to, for TRAK."""
    damping: Positive = 0.1
    """Share of the mean square of a projected dimension that is added to every one, for TRAK."""


class CurvatureSpec(ComparisonSpec):
    """Curvature of the loss in the input (Garg and Roy 2023)."""

    name: Literal["curvature"]
    """Name of the comparison."""
    directions: Count = 4
    """Number of random directions that the curvature is averaged over, for each pair of views."""
    pairs: Count = 1
    """Number of pairs of views."""
    step: Positive = 0.01
    """Length of a step along a direction in every pixel, whose values lie in [0, 1]."""


class TypicalitySpec(ComparisonSpec):
    """Distance to the nearest training samples by the representations of f."""

    name: Literal["typicality"]
    """Name of the comparison."""
    neighbours: Count = 10
    """Number of nearest training samples whose distances are averaged."""


class LearningSpec(ComparisonSpec):
    """Cumulative loss and epoch of learning, by the alignment that is recorded while f trains."""

    name: Literal["learning"]
    """Name of the comparison."""


class AlignmentOnlySpec(ComparisonSpec):
    """Alignment under f alone, without g to compare with."""

    name: Literal["alignment_only"]
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
    AlignmentOnlySpec,
)
SECTIONS: dict[str, type[ComparisonSpec]] = {get_args(kind.model_fields["name"].annotation)[0]: kind for kind in _KINDS}
"""Section of each comparison, by its name."""


def _by_name(value: Any) -> Any:
    """Return the mapping that a bare name stands for; an unknown name is answered with those that there are."""
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, dict) and (not isinstance(value.get("name"), str) or value["name"] not in SECTIONS):
        name = value.get("name")
        if name is None:
            raise ValueError(
                f"a comparison with options needs its name, as in {{name: dejavu, neighbours: [20]}}; known are {', '.join(SECTIONS)}"
            )
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
        | LearningSpec
        | AlignmentOnlySpec,
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
