"""DINO (Caron et al. 2021): a student predicts, from small crops too, what its own moving average says about large ones.

Student and teacher are an encoder and a head each. The teacher's output is centred and sharpened, the student's is not; the loss is the
cross-entropy between them over all pairs of different crops of a sample, where the teacher sees the large crops only.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.errors import UserError
from sslmem_kit.spec.objective import DINOSpec
from sslmem_kit.spec.policy import CropResize, Policy
from sslmem_kit.training.lightly import DINOLoss, DINOProjectionHead, new_dino_head, update_momentum
from sslmem_kit.training.objectives.base import Batch, Objective, Outputs, StepInfo, ViewSpec, full_precision

LOCAL_VIEWS, LOCAL_SIDE = 6, 16
"""Number of small crops by default, and the side in pixels that they then have at least."""


class DINO(Objective):
    """Student, teacher, and the cross-entropy of their outputs under multi-crop.

    ``encoder``, which is saved and scored, is the student's. The authors evaluate the teacher; but eq. 1 and eq. 3 speak of the encoder
    that is trained, the regularizer acts on the student's representations, and the momentum's rise to 1 leaves in the teacher of a short
    training a share of the initial weights (13 % after 1,000 steps from 0.996), which would pass for weak memorization.

    Raises
    ------
    UserError
        ``local_views`` are asked for, and the encoder does not take images of half the side.
    """

    def __init__(self, encoder: Encoder, spec: DINOSpec, *, classes: int) -> None:
        super().__init__(encoder, spec.regularizer)
        self.spec = spec
        self.local_views = _local_views(encoder, spec.local_views)
        self.head = self._new_head()
        self.teacher_encoder = copy.deepcopy(encoder).requires_grad_(False)
        # A head that is normalized by weight cannot be copied.
        self.teacher_head = self._new_head().requires_grad_(False)
        self.teacher_head.load_state_dict(self.head.state_dict())
        # The centre is a buffer of the loss, averaged over all devices.
        self.criterion = DINOLoss(spec.output_dim, student_temp=spec.student_temperature, center_momentum=spec.center_momentum)
        self.teacher_temperature = teacher_temperature(spec, epoch=0)
        self.train()

    def _new_head(self) -> DINOProjectionHead:
        spec = self.spec
        return new_dino_head(
            self.encoder.backbone.num_features,
            spec.hidden_dim,
            spec.bottleneck_dim,
            spec.output_dim,
            freeze_last_layer=spec.frozen_epochs,
        )

    def train(self, mode: bool = True) -> DINO:
        """Set the mode; as in the authors' code the teacher has no dropout, and its batch norm uses the batch, as the student's does."""
        super().train(mode)
        for module in (*self.teacher_encoder.modules(), *self.teacher_head.modules()):
            module.training = mode and isinstance(module, _BatchNorm)
        return self

    def view_specs(self, policy: Policy) -> tuple[ViewSpec, ...]:
        """Return two large crops, and small ones of another scale at half the side."""
        return (*super().view_specs(policy), *(ViewSpec(local_policy(policy, self.spec.local_scale), shrink=2),) * self.local_views)

    def outputs(self, batch: Batch) -> Outputs:
        """Return the outputs of the teacher for two large crops, and of the student for all crops."""
        large, small = torch.cat(batch.views[:2]), batch.views[2:]
        output = self.encoder(large)
        student = _project(self.encoder, self.head, output).chunk(2)
        if small:
            # One pass for each size of crop, as in the authors' code.
            student += _project(self.encoder, self.head, self.encoder(torch.cat(small))).chunk(len(small))
        with torch.no_grad():
            teacher = _project(self.teacher_encoder, self.teacher_head, self.teacher_encoder(large)).chunk(2)
        return Outputs((*teacher, *student), output.chunk(2))

    def compare(self, compared: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return the cross-entropy of every crop under the student with every other, large one under the teacher; in training mode the
        centre follows."""
        centre = self.criterion.center.data
        with full_precision(compared[0]):
            loss = self.criterion(list(compared[:2]), list(compared[2:]), teacher_temp=self.teacher_temperature)
        if not self.training:
            self.criterion.center.data = centre
        return loss

    def compared(self, pooled: Tensor) -> Tensor:
        """Return the head's bottleneck: its output has a mean that the centre takes away."""
        return self.head.layers(pooled)

    def before_step(self, step_info: StepInfo) -> None:
        """Set the teacher's temperature."""
        super().before_step(step_info)
        self.teacher_temperature = teacher_temperature(self.spec, step_info.epoch)

    def before_update(self, step_info: StepInfo) -> None:
        """Keep the head's last layer as it is in the first epochs."""
        self.head.cancel_last_layer_gradients(step_info.epoch)

    def after_update(self, step_info: StepInfo) -> None:
        """Move the teacher towards the student."""
        momentum = teacher_momentum(self.spec, step_info)
        update_momentum(self.encoder, self.teacher_encoder, momentum)
        update_momentum(self.head, self.teacher_head, momentum)


def teacher_temperature(spec: DINOSpec, epoch: int) -> float:
    """Return the temperature: linear from the warm-up value, in epoch 0, to the final one, in the last epoch of the warm-up."""
    if epoch >= spec.teacher_warmup_epochs:
        return spec.teacher_temperature
    done = epoch / max(1, spec.teacher_warmup_epochs - 1)
    return spec.warmup_teacher_temperature + done * (spec.teacher_temperature - spec.warmup_teacher_temperature)


def teacher_momentum(spec: DINOSpec, step_info: StepInfo) -> float:
    """Return the momentum: from ``teacher_momentum`` to 1 along half a cosine over the training."""
    return 1 - (1 - spec.teacher_momentum) * (1 + math.cos(math.pi * step_info.step / step_info.total)) / 2


def local_policy(policy: Policy, scale: tuple[float, float]) -> Policy:
    """Return a policy whose crops have another scale; without a crop of random area it gets one as its first step."""
    steps = [CropResize(scale=scale, ratio=step.ratio) if isinstance(step, CropResize) else step for step in policy.steps]
    if not any(isinstance(step, CropResize) for step in steps):
        steps = [CropResize(scale=scale), *steps]
    return Policy(name=f"{policy.name}-local", steps=tuple(steps))


def _project(encoder: Encoder, head: DINOProjectionHead, output: Tensor) -> Tensor:
    with full_precision(output):
        # The head normalizes, and a temperature of 0.04 multiplies its rounding errors by 25.
        return head(encoder.pool(output.float()))


def _local_views(encoder: Encoder, wanted: int | None) -> int:
    height, width = (side // 2 for side in encoder.image_size)
    if wanted == 0 or (wanted is None and min(height, width) < LOCAL_SIDE):
        return 0
    if _takes(encoder, height, width):
        return LOCAL_VIEWS if wanted is None else wanted
    if wanted is None:
        return 0
    raise UserError(
        f"objective.local_views: {wanted} small crops need an encoder that takes images of {height}x{width}, half the side, and this one "
        "does not: give 0, or where the backbone is a ViT of timm encoder.options.dynamic_img_size: true"
    )


@torch.no_grad()
def _takes(encoder: Encoder, height: int, width: int) -> bool:
    """Return whether the encoder takes images of this size; backbones that refuse it raise errors of any kind."""
    training = encoder.training
    encoder.eval()
    try:
        encoder.pool(encoder(torch.zeros(1, len(encoder.mean), height, width, device=encoder.mean.device)))
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, ArithmeticError, LookupError):
        return False
    finally:
        encoder.train(training)
    return True
