"""The `objective` section of a study spec: one class a method. What each option means is said in the method's file in ``objectives/``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sslmem_kit.spec.section import Count, Positive, Section, Share


class RegularizerSpec(Section):
    """The paper's eq. 3: the loss becomes (1 - weight) L - weight d, d the mean distance between the representations of two views."""

    weight: Share
    """lambda of eq. 3, between 0 and 1."""
    start_epoch: Annotated[int, Field(ge=0)] = 0
    """Number of epochs that are trained without the regularizer first; below ``training.epochs``."""


class _Objective(Section):
    regularizer: RegularizerSpec | None = None
    """Alignment regularizer (eq. 3); null: none."""


class SimCLRSpec(_Objective):
    """Chen et al. 2020: NT-Xent over two views of each sample."""

    method: Literal["simclr"] = "simclr"
    """SimCLR."""
    temperature: Positive = 0.5
    """Temperature of NT-Xent, by which cosine similarities are divided."""
    hidden_dim: Count = 512
    """Width of the projection head's hidden layer."""
    projection_dim: Count = 128
    """Width of the projection head's output, which the loss compares."""


class MAESpec(_Objective):
    """He et al. 2022: reconstruct the masked patches of one view."""

    method: Literal["mae"] = "mae"
    """Masked autoencoder, for backbones that cut images into patches."""
    mask_ratio: Share = 0.75
    """Share of the patches that are masked."""
    decoder_dim: Count = 128
    """Width of the decoder's tokens; a multiple of 4 and of ``decoder_heads``."""
    decoder_depth: Count = 2
    """Number of transformer blocks of the decoder."""
    decoder_heads: Count = 4
    """Attention heads of each block of the decoder."""
    normalize_pixels: bool = True
    """True: the pixels of each patch are standardized before they are compared with the reconstruction."""

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
    """DINO."""
    hidden_dim: Count = 2048
    """Width of the head's hidden layers."""
    bottleneck_dim: Count = 256
    """Width of the head's layer before the last."""
    output_dim: Count = 4096
    """Number of outputs (prototypes) of the head."""
    student_temperature: Positive = 0.1
    """Temperature of the student's softmax."""
    teacher_temperature: Positive = 0.04
    """Temperature of the teacher's softmax after its warm-up."""
    warmup_teacher_temperature: Positive = 0.04
    """Temperature of the teacher's softmax at the first step of its warm-up."""
    teacher_warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """Number of epochs over which the teacher's temperature goes from its warm-up value to its final one."""
    teacher_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.996
    """Momentum of the teacher's moving average at the first step; it rises to 1 along a cosine."""
    center_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of the moving average of the teacher's outputs by which they are centred."""
    frozen_epochs: Annotated[int, Field(ge=0)] = 1
    """Number of epochs at the start in which the head's last layer is not trained."""
    local_views: Annotated[int, Field(ge=0, le=20)] | None = None
    """Number of small crops at half the side that only the student sees; null: six where half the side is at least 16 pixels and
    the encoder takes images of that size, else none."""
    local_scale: tuple[Share, Share] = (0.05, 0.4)
    """Least and largest area of a small crop, as shares of the image's."""

    @model_validator(mode="after")
    def _scale_is_ordered(self) -> DINOSpec:
        low, high = self.local_scale
        if low > high:
            raise ValueError(f"local_scale is ({low}, {high}), the first number must not exceed the second")
        return self


class VICRegSpec(_Objective):
    """Bardes et al. 2022: invariance of two views, variance and decorrelation of every dimension."""

    method: Literal["vicreg"] = "vicreg"
    """VICReg, which needs ``training.warmup_epochs`` of at least 1."""
    invariance: Annotated[float, Field(ge=0)] = 25.0
    """Weight of the mean squared distance between two views."""
    variance: Annotated[float, Field(ge=0)] = 25.0
    """Weight of the hinge that holds each dimension's standard deviation at 1 or above."""
    covariance: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the squared covariances between dimensions."""
    hidden_dim: Count = 2048
    """Width of the projection head's hidden layers."""
    projection_dim: Count = 2048
    """Width of the projection head's output, which the loss compares."""


class SimSiamSpec(_Objective):
    """Chen & He 2021: one view predicts the other, whose branch gets no gradient."""

    method: Literal["simsiam"] = "simsiam"
    """SimSiam."""
    projection_dim: Count = 2048
    """Width of the projection head's layers."""
    prediction_dim: Count = 512
    """Width of the prediction head's hidden layer."""


class SupervisedSpec(_Objective):
    """Cross-entropy of a linear classifier on one view: what the paper compares with (Table 11)."""

    method: Literal["supervised"] = "supervised"
    """Supervised training with the data's labels."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over all classes; 0: none."""


METHODS: dict[str, type[_Objective]] = {
    kind.model_fields["method"].default: kind for kind in (SimCLRSpec, MAESpec, DINOSpec, VICRegSpec, SimSiamSpec, SupervisedSpec)
}

ObjectiveSpec = Annotated[
    SimCLRSpec | MAESpec | DINOSpec | VICRegSpec | SimSiamSpec | SupervisedSpec, Field(discriminator="method")
]
