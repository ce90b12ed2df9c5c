"""Optimizers of a training, and the schedule of the learning rate: linear warm-up, then a half cosine down to zero."""

from __future__ import annotations

from collections.abc import Mapping

import timm.optim
import torch
from torch import Tensor, nn

from sslmem_kit.spec.training import TrainingSpec
from sslmem_kit.training.lightly import LARS, cosine_warmup_schedule
from sslmem_kit.training.objectives import StepInfo


def build_optimizer(
    objective: nn.Module, training: TrainingSpec, *, stacked: Mapping[str, Tensor] | None = None
) -> torch.optim.Optimizer:
    """Build the optimizer of a spec; biases, norms, tokens and position embeddings are not decayed.

    With ``stacked``, the parameters of many such objectives by name, it updates these.
    """
    raw = [name for name, _ in objective.named_parameters() if name.rsplit(".", 1)[-1].endswith(("_token", "pos_embed"))]
    groups = timm.optim.param_groups_weight_decay(objective, training.weight_decay, no_weight_decay_list=raw)
    if stacked is not None:
        names = {id(parameter): name for name, parameter in objective.named_parameters()}
        for group in groups:
            group["params"] = [stacked[names[id(parameter)]] for parameter in group["params"]]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)
    if training.optimizer == "lars":
        return LARS(groups, lr=training.learning_rate, momentum=training.momentum)
    return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.momentum)


def learning_rate(training: TrainingSpec, step_info: StepInfo) -> float:
    """Return the learning rate of a step."""
    if step_info.total == 1:
        return training.learning_rate
    warmup = training.warmup_epochs * step_info.steps_an_epoch
    return cosine_warmup_schedule(step_info.step, step_info.total, training.learning_rate, 0.0, warmup, 0.0)
