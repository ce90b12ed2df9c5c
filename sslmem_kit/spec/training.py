"""The `training` section of a study spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sslmem_kit.spec.mitigation import MitigationSpec
from sslmem_kit.spec.policy import Policy
from sslmem_kit.spec.section import Count, Positive, Section

Precision = Literal["float32", "bf16", "fp16"]
ClipBy = Literal["all", "parameter"]
Beta = Annotated[float, Field(ge=0, lt=1)]


class PrivacySpec(Section):
    """DP-SGD: gradients of single samples are clipped and noise is added, so that training is (epsilon, delta)-private. Noise and batches
    come from the operating system and are not kept: no two such trainings are equal."""

    epsilon: Annotated[float, Field(ge=0.01, le=100)]
    """epsilon of the whole training, from 0.01 to 100; the noise follows from it."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """delta of the whole training; it has to be below one over the number of samples that a family trains on."""
    clip_norm: Positive = 0.1
    """Largest l2 norm of the gradient of each sample; larger ones are scaled down to it."""


class TrainingSpec(Section):
    """Training of each encoder: ``seeds`` pairs of encoders, one f and one g each."""

    seeds: Count = 3
    """Number of pairs of encoders, one f and one g each."""
    epochs: Count = 100
    """Passes over the samples of an encoder."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    """Epochs over which the learning rate rises linearly from zero; below ``epochs``, 0: none."""
    batch_size: Annotated[int, Field(ge=2)] = 256
    """Samples in a micro-batch, over all devices."""
    accumulate: Count = 1
    """Micro-batches whose gradients are added up before one optimizer step; a contrastive loss sees one micro-batch at a time."""
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    """Optimizer: AdamW, SGD with momentum, or LARS."""
    learning_rate: Positive = 1e-3
    """Learning rate after the warm-up; it then falls to zero along a half cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay; biases, norms, tokens and position embeddings are not decayed."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD and LARS; AdamW ignores it."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay rates of AdamW's means of the gradient and of its square, by default PyTorch's; MAE's authors take [0.9, 0.95]. SGD and LARS
    ignore them."""
    clip_norm: Positive | None = None
    """Largest l2 norm of the gradient of a step, to which larger ones are scaled down; null: not clipped."""
    clip_by: ClipBy = "all"
    """Gradient whose norm ``clip_norm`` limits: that of ``all`` parameters together, or of each ``parameter`` by itself, as DINO's authors
    do."""
    policy: Policy = Policy.model_validate("simclr")
    """Policy by which training views are made."""
    coupled: bool = True
    """True: f and g of one seed share initial weights, batch order and view noise, candidate i standing where independent i
    stands."""
    precision: Precision = "float32"
    """Precision of forward passes; bf16 and fp16: mixed precision."""
    compile: bool = False
    """True: the objective goes through torch.compile, which takes half a minute first and makes steps on a GPU faster."""
    channels_last: bool = False
    """True: images and the weights of convolutions are stored channels last, which tensor cores prefer."""
    privacy: PrivacySpec | None = None
    """Differentially private training by DP-SGD; null: none."""
    mitigation: MitigationSpec | None = None
    """Treatment of the candidates that f memorizes most, while it trains; null: none."""
    record_every: Annotated[int, Field(ge=0)] = 10
    """Epochs between records of mean alignment and probe accuracy (figure 2b); 0: only after the last epoch."""
    checkpoint_seconds: Positive = 60
    """Least number of seconds between two checkpoints within a training."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> TrainingSpec:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}, it must be below epochs, which is {self.epochs}")
        return self

    @model_validator(mode="after")
    def _clips_at_a_norm(self) -> TrainingSpec:
        if self.clip_by != "all" and self.clip_norm is None:
            raise ValueError(f"clip_by is {self.clip_by!r} and clip_norm is null, so nothing is clipped: give clip_norm too")
        return self

    @model_validator(mode="after")
    def _private_gradients_are_plain(self) -> TrainingSpec:
        if self.privacy and self.precision == "fp16":
            raise ValueError(
                "precision is 'fp16', which scales gradients before they can be clipped: with privacy take float32 or bf16"
            )
        if self.privacy and self.compile:
            raise ValueError("compile is true, gradients of single samples are not compiled: with privacy leave it at false")
        return self

    @model_validator(mode="after")
    def _mitigation_is_supported(self) -> TrainingSpec:
        if self.mitigation is None:
            return self
        if self.mitigation.every >= self.epochs:
            raise ValueError(
                f"mitigation.every is {self.mitigation.every}, it must be below epochs, which is {self.epochs}, or nothing is ever treated"
            )
        if self.privacy:
            raise ValueError(
                "mitigation and privacy are both given: what is treated follows from the samples, so epsilon would not hold"
            )
        if self.compile:
            raise ValueError(
                "compile is true, a training that treats other samples from time to time is not compiled: leave it at false"
            )
        return self

    @property
    def recorded_epochs(self) -> tuple[int, ...]:
        """Numbers of finished epochs after which records are made; the last epoch is always among them."""
        every = range(self.record_every, self.epochs, self.record_every) if self.record_every else ()
        return (*every, self.epochs)
