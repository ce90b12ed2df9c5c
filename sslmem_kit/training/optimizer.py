"""Optimizers of a training, and the schedule of the learning rate: linear warm-up, then a half cosine down to zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import timm.optim
import torch
from timm.optim.lars import Lars
from torch import Tensor, nn

from sslmem_kit.spec.training import ClipBy, TrainingSpec
from sslmem_kit.training.lightly import cosine_warmup_schedule
from sslmem_kit.training.objectives import StepInfo


def build_optimizer(
    objective: nn.Module, training: TrainingSpec, *, stacked: Mapping[str, Tensor] | None = None
) -> torch.optim.Optimizer:
    """Build the optimizer of a spec; biases, norms, tokens and position embeddings are not decayed.

    LARS scales the steps of all other parameters by .001 |weight| / |gradient| (You et al. 2017), with decay or without, as SimCLR's own code
    does. With ``stacked``, the parameters of many such objectives by name, it updates these.
    """
    raw = [name for name, _ in objective.named_parameters() if name.rsplit(".", 1)[-1].endswith(("_token", "pos_embed"))]
    # Without decay timm makes one group; LARS adapts those parameters that a decay would be of.
    groups = timm.optim.param_groups_weight_decay(objective, training.weight_decay or 1.0, no_weight_decay_list=raw)
    groups = [group | {"weight_decay": training.weight_decay if group["weight_decay"] else 0.0} for group in groups]
    if stacked is not None:
        names = {id(parameter): name for name, parameter in objective.named_parameters()}
        for group in groups:
            group["params"] = [stacked[names[id(parameter)]] for parameter in group["params"]]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas, fused=True)
    if training.optimizer == "lars":
        plain, decayed = groups
        with_momentum = {"momentum": training.momentum}
        return Lars([plain | with_momentum, decayed | with_momentum | {"always_adapt": True}], lr=training.learning_rate)
    return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.momentum)


def clip_gradients(parameters: Iterable[Tensor], norm: float, by: ClipBy) -> None:
    """Scale gradients down to an l2 norm of at most ``norm``: that of all together, or each parameter's own.

    The second is what DINO's code does, ``clip_gradients`` of its utils.

    Examples
    --------
    >>> parameters = [torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    >>> for by in ("all", "parameter"):
    ...     for parameter, gradient in zip(parameters, (3.0, 4.0), strict=True):
    ...         parameter.grad = torch.tensor([gradient])
    ...     clip_gradients(parameters, 2.5, by)
    ...     print([round(float(parameter.grad), 3) for parameter in parameters])
    [1.5, 2.0]
    [2.5, 2.5]
    """
    parameters = list(parameters)
    for clipped in [parameters] if by == "all" else [[parameter] for parameter in parameters]:
        torch.nn.utils.clip_grad_norm_(clipped, norm)


def learning_rate(training: TrainingSpec, step_info: StepInfo) -> float:
    """Return the learning rate of a step."""
    if step_info.total == 1:
        return training.learning_rate
    warmup = training.warmup_epochs * step_info.steps_an_epoch
    return cosine_warmup_schedule(step_info.step, step_info.total, training.learning_rate, 0.0, warmup, 0.0)
