"""The `objective` section of a study spec: one class a method. What each option means is said in the method's file in ``objectives/``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sslmem_kit.spec.section import Count, Positive, Section, Share


class RegularizerSpec(Section):
    """The paper's eq. 3: the loss becomes (1 - weight) L - weight d, d the mean distance between the representations of two views."""

    weight: Share
    start_epoch: Annotated[int, Field(ge=0)] = 0
    """Epochs that are trained without it."""


class _Objective(Section):
    regularizer: RegularizerSpec | None = None


class SimCLRSpec(_Objective):
    """Chen et al. 2020: NT-Xent over two views of each sample."""

    method: Literal["simclr"] = "simclr"
    temperature: Positive = 0.5
    hidden_dim: Count = 512
    projection_dim: Count = 128


class MAESpec(_Objective):
    """He et al. 2022: reconstruct the masked patches of one view."""

    method: Literal["mae"] = "mae"
    mask_ratio: Share = 0.75
    decoder_dim: Count = 128
    decoder_depth: Count = 2
    decoder_heads: Count = 4
    normalize_pixels: bool = True

    @model_validator(mode="after")
    def _heads_divide(self) -> MAESpec:
        if self.decoder_dim % self.decoder_heads or self.decoder_dim % 4:
            raise ValueError(
                f"decoder_dim is {self.decoder_dim}, it must be a multiple of 4 and of decoder_heads, which is {self.decoder_heads}"
            )
        return self


class DINOSpec(_Objective):
    """Caron et al. 2021: a student predicts the centred, sharpened output of its own moving average."""

    method: Literal["dino"] = "dino"
    hidden_dim: Count = 2048
    bottleneck_dim: Count = 256
    output_dim: Count = 4096
    student_temperature: Positive = 0.1
    teacher_temperature: Positive = 0.04
    warmup_teacher_temperature: Positive = 0.04
    teacher_warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs over which the teacher's temperature goes from the warm-up value to its final one."""
    teacher_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.996
    """At the first step; it rises to 1 along a cosine."""
    center_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    frozen_epochs: Annotated[int, Field(ge=0)] = 1
    """Epochs in which the head's last layer stays as it was drawn."""
    local_views: Annotated[int, Field(ge=0, le=20)] | None = None
    """Small crops at half the side that only the student sees. None: six where half the side is at least 16 pixels and the encoder
    takes images of that size, else none."""
    local_scale: tuple[Share, Share] = (0.05, 0.4)
    """The area of a small crop, as a share of the image's."""

    @model_validator(mode="after")
    def _scale_is_ordered(self) -> DINOSpec:
        low, high = self.local_scale
        if low > high:
            raise ValueError(f"local_scale is ({low}, {high}), the first number must not exceed the second")
        return self


class VICRegSpec(_Objective):
    """Bardes et al. 2022: invariance of two views, variance and decorrelation of every dimension."""

    method: Literal["vicreg"] = "vicreg"
    invariance: Annotated[float, Field(ge=0)] = 25.0
    variance: Annotated[float, Field(ge=0)] = 25.0
    covariance: Annotated[float, Field(ge=0)] = 1.0
    hidden_dim: Count = 2048
    projection_dim: Count = 2048


class SimSiamSpec(_Objective):
    """Chen & He 2021: one view predicts the other, whose branch gets no gradient."""

    method: Literal["simsiam"] = "simsiam"
    projection_dim: Count = 2048
    prediction_dim: Count = 512


class SupervisedSpec(_Objective):
    """Cross-entropy of a linear classifier on one view: what the paper compares with (Table 11)."""

    method: Literal["supervised"] = "supervised"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


METHODS: dict[str, type[_Objective]] = {
    kind.model_fields["method"].default: kind for kind in (SimCLRSpec, MAESpec, DINOSpec, VICRegSpec, SimSiamSpec, SupervisedSpec)
}

ObjectiveSpec = Annotated[
    SimCLRSpec | MAESpec | DINOSpec | VICRegSpec | SimSiamSpec | SupervisedSpec, Field(discriminator="method")
]
