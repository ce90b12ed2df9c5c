"""Encoders of an audit, from their specs to callables that return checked features; needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sslmem_kit.data.samples import channel_statistics
from sslmem_kit.encoders.backbone import Encoder, build_encoder, nearest_divisor
from sslmem_kit.encoders.weights import load_weights
from sslmem_kit.errors import UserError, join_names, near
from sslmem_kit.names import SAMPLE, TRAINED_ON
from sslmem_kit.run.audit.agreement import MODULES, structure
from sslmem_kit.run.audit.samples import Samples
from sslmem_kit.run.audit.state_dicts import file_hash, fit, module_hash, read_state_dict, select
from sslmem_kit.run.audit.user_code import Encode, call, source_hash
from sslmem_kit.spec.audit import ALL, NONE, AuditEncoderSpec, NormalizeSpec, StudyEncoderSpec
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.study import Study, open_study


@dataclass
class Built:
    """An encoder that is ready to score, and its properties that are recorded."""

    encode: Encode
    fingerprint: str
    """sha256 of the weights as they are loaded; for a callable that is no module, of the file that it comes from."""
    facts: dict[str, Any] = dataclass_field(default_factory=dict)
    left_out: list[str] = dataclass_field(default_factory=list)
    """Names in the file of weights that are not the encoder's."""
    read_as: dict[str, Any] = dataclass_field(default_factory=dict)
    """Properties of how it reads samples, by field, as far as they are known; encoders that are compared have to agree in them."""


def field_of(plan: AuditEncoderSpec, place: int) -> str:
    """Return the name of an encoder in errors."""
    return f"encoders.{place} ({plan.id})"


def build(plan: AuditEncoderSpec, place: int, samples: Samples, device: str) -> Built:
    """Build the encoder of a plan.

    Parameters
    ----------
    plan
        Spec of the encoder, resolved.
    place
        Position in the list of encoders, for errors.
    samples
        Samples to encode: images have a shape and channel statistics.
    device
        Device as PyTorch names it.

    Raises
    ------
    UserError
        Its weights are refused, damaged or another encoder's; the user's function fails or returns something else.
    """
    field = field_of(plan, place)
    if plan.study:
        return _of_study(plan.study, samples, field, device)
    return _of_backbone(plan, samples, field, device) if plan.encoder else _of_factory(plan, samples, field, device)


def _of_study(spec: StudyEncoderSpec, samples: Samples, field: str, device: str) -> Built:
    study = _study(spec, field)
    trained = _as_trained(study, spec.encoder)
    encoder = build_encoder(trained["spec"], samples.dataset.image_shape)  # normalization is among its weights
    weights = study.encoder(spec.encoder) / "weights.safetensors"
    load_weights(encoder, weights)
    statistics = _statistics(encoder.mean, encoder.std)
    facts = {"weights": str(weights), "weights_sha256": file_hash(weights), "stem": encoder.stem, **statistics}
    read_as = _architecture(trained["spec"], encoder, samples.dataset.image_shape) | {"normalize": statistics}
    if "image_shape" in trained:
        read_as["image size at training"] = trained["image_shape"][:2]
    return Built(encoder.to(device).eval(), module_hash(encoder), facts | _size(encoder), read_as=read_as)


def _as_trained(study: Study, name: str) -> dict[str, Any]:
    """Return the spec of a study's encoder with the stem and the patches that it was trained with, which follow from the images there,
    and their shape where it is known."""
    spec = study.spec.encoder
    try:
        config = json.loads((study.encoder(name) / "config.json").read_text())
        stem, shape = config["stem"], config["image_shape"]
    except (OSError, ValueError, KeyError, TypeError):
        return {"spec": spec}
    stem = {} if stem == "patch" else {"stem": stem}
    return {"spec": spec.model_copy(update={**stem, "grid": None, "options": _options(spec, shape[0])}), "image_shape": shape}


def _options(spec: BackboneSpec, height: int) -> dict[str, Any]:
    return {**spec.options, **({"patch_size": height // nearest_divisor(height, spec.grid)} if spec.grid else {})}


def _architecture(spec: BackboneSpec, encoder: Encoder, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the properties by which encoders of timm backbones are compared, without timm's names of pretrained weights after the dot."""
    named = {"backbone": spec.backbone.partition(".")[0], "stem": encoder.stem, "options": _options(spec, image_shape[0])}
    return {**{f"encoder.{name}": value for name, value in named.items()}, MODULES: structure(encoder)}


def _of_backbone(plan: AuditEncoderSpec, samples: Samples, field: str, device: str) -> Built:
    mean, std = _channels(plan.normalize, samples, field)
    try:
        encoder = build_encoder(plan.encoder, samples.dataset.image_shape, mean=mean, std=std)
    except UserError as error:
        raise UserError(f"{field}.{error}") from None
    backbone = encoder.backbone
    whole, state, left_out, facts = _state(plan, field, backbone)
    if plan.encoder.stem == "auto" and encoder.stem != "patch":
        _ask_for_stem(state, f"{field}.encoder.stem", plan.weights)
    # A classifier is no part of a representation, and of timm's backbones it is known.
    heads = (getattr(backbone, "pretrained_cfg", None) or {}).get("classifier") or ()
    heads = tuple(f"{name}." for name in ([heads] if isinstance(heads, str) else heads))
    own = backbone.state_dict()
    dropped = [name for name in state if name.startswith(heads) and name not in own] if heads else []
    state = {name: tensor for name, tensor in state.items() if name not in dropped}
    fit(backbone, state, path=Path(plan.weights), field=f"{field}.weights", whole=whole)
    left_out += [plan.prefix + name for name in dropped]
    statistics = _statistics(encoder.mean, encoder.std)
    facts |= {"stem": encoder.stem, **statistics, **_size(encoder)}
    read_as = _architecture(plan.encoder, encoder, samples.dataset.image_shape) | {"normalize": statistics}
    return Built(encoder.to(device).eval(), module_hash(encoder), facts, left_out, read_as)


def _ask_for_stem(state: Mapping[str, Tensor], field: str, weights: str) -> None:
    """Refuse to guess a ResNet's stem, whose stride and pooling are not among its weights.

    Raises
    ------
    UserError
        Its first convolution is in the file; the message names the stems that it fits.
    """
    first = next((name for name in ("conv1.weight", "conv1.0.weight") if name in state), None)
    if first is None:
        return  # the names do not fit, which is reported with the prefix that would
    size = "x".join(map(str, state[first].shape[2:]))
    if size == "3x3" and first == "conv1.weight":
        what, remedy = (
            "small (stride 1) and of medium (stride 2), both without max-pooling",
            "stem: small, as for CIFAR, or stem: medium",
        )
    else:
        what, remedy = "stock (timm's and torchvision's own, stride 2 and max-pooling)", "stem: stock"
    raise UserError(
        f"{field} is missing: conv1 of {weights} is {size}, that of {what}, and no checkpoint holds strides; write {remedy}, as it was trained"
    )


def _of_factory(plan: AuditEncoderSpec, samples: Samples, field: str, device: str) -> Built:
    made = call(plan.factory, field=f"{field}.factory")
    if not callable(made):
        raise UserError(
            f"{field}.factory: {plan.factory.function} returned a {type(made).__name__}, an nn.Module or a callable is needed"
        )
    facts: dict[str, Any] = {"source_sha256": source_hash(plan.factory)}
    read_as: dict[str, Any] = {}
    left_out: list[str] = []
    if plan.weights:
        if not isinstance(made, nn.Module):
            raise UserError(f"{field}.weights: {plan.factory.function} returned no nn.Module that they could be loaded into")
        whole, state, left_out, read = _state(plan, field, made)
        fit(made, state, path=Path(plan.weights), field=f"{field}.weights", whole=whole)
        facts |= read
    if isinstance(made, nn.Module):
        made = made.to(device).eval()
        fingerprint, facts, read_as[MODULES] = module_hash(made), facts | _size(made), structure(made)
    else:
        fingerprint = facts["source_sha256"]
    if plan.normalize is None:
        if samples.dataset:  # in [0, 1], as with mean 0 and standard deviation 1
            count = samples.dataset.image_shape[2]
            read_as["normalize"] = {"mean": [0.0] * count, "std": [1.0] * count}
        return Built(made, fingerprint, facts, left_out, read_as)
    mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in _channels(plan.normalize, samples, field))
    facts |= _statistics(mean, std)
    read_as["normalize"] = _statistics(mean, std)
    return Built(lambda images: made((images - mean) / std), fingerprint, facts, left_out, read_as)


def _state(
    plan: AuditEncoderSpec, field: str, module: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str], dict[str, Any]]:
    """Return the state dict in a plan's weights, its part under the encoder's names, the names left out, and facts of the file."""
    path = Path(plan.weights)
    state = read_state_dict(path, key=plan.key, field=f"{field}.weights")
    kept, left_out = select(state, prefix=plan.prefix, drop=plan.drop_keys, path=path, field=field, module=module)
    return state, kept, left_out, {"weights": str(path), "weights_sha256": file_hash(path)}


def _channels(spec: NormalizeSpec, samples: Samples, field: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of every channel."""
    if spec.mean is None:
        return channel_statistics(samples.dataset)
    count = samples.dataset.image_shape[2]
    if len(spec.mean) not in (1, count):
        raise UserError(f"{field}.normalize: mean has {len(spec.mean)} numbers, the images have {count} channel{'s' * (count > 1)}")
    each = count // len(spec.mean)
    return spec.mean * each, spec.std * each


def _statistics(mean: Tensor, std: Tensor) -> dict[str, Any]:
    return {"mean": mean.flatten().tolist(), "std": std.flatten().tolist()}


def _size(module: nn.Module) -> dict[str, int]:
    return {"parameters": sum(parameter.numel() for parameter in module.parameters())}


def _study(spec: StudyEncoderSpec, field: str) -> Study:
    """Open the study that an encoder is of, and check that the study has it."""
    try:
        study = open_study(spec.path)
    except UserError as error:
        raise UserError(f"{field}.study.path: {error}") from None
    if not isinstance(study, Study):
        raise UserError(f"{field}.study.path: {spec.path} is an audit, which has no weights of its own; name a study")
    known = [plan.id for plan in study.spec.encoders]
    if spec.encoder not in known:
        raise UserError(
            f"{field}.study.encoder: there is none named {spec.encoder!r}, that study has {join_names(known)}{near(spec.encoder, known)}"
        )
    return study


def training_in_study(plan: AuditEncoderSpec, place: int) -> dict[str, Any]:
    """Return seed, method and backbone of an encoder of a study."""
    study = _study(plan.study, field_of(plan, place))
    own = next(encoder for encoder in study.spec.encoders if encoder.id == plan.study.encoder)
    return {"seed": own.seed, "method": study.spec.objective.method, "backbone": study.spec.encoder.backbone}


def seen_by(plan: AuditEncoderSpec, place: int, samples: Samples, *, messages: list[str]) -> np.ndarray | None:
    """Return whether an encoder was trained on each sample, (sample,) bool; None where it is not known.

    Parameters
    ----------
    messages
        List to which a message is added about the part of a list that was used.

    Raises
    ------
    UserError
        The list cannot be read, or the encoder is of a study that had other data.
    """
    field = field_of(plan, place)
    if plan.trained_on in (ALL, NONE):
        return np.full(len(samples.ids), plan.trained_on == ALL)
    if plan.trained_on:
        seen = np.zeros(len(samples.ids), bool)
        listed = samples.listed(plan.trained_on, field=f"{field}.trained_on")
        messages.append(f"{plan.id} was trained on {Path(plan.trained_on).name}: {listed.how}")
        seen[listed.positions] = True
        return seen
    if not plan.study:
        return None
    study = _study(plan.study, field)
    if study.tree.attrs.get("data_fingerprint") != samples.fingerprint:
        raise UserError(
            f"{field}.trained_on is missing: the study at {plan.study.path} had other data (or another seed, which decides the test split), "
            "so that its sample ids mean nothing here"
        )
    own = study.results[TRAINED_ON].sel(encoder=plan.study.encoder)
    return np.isin(samples.ids, own[SAMPLE].values[own.values])


def known_training(plan: AuditEncoderSpec, place: int) -> dict[str, Any]:
    """Return the training seed, method and backbone of an encoder, as far as its spec or its study says."""
    training = training_in_study(plan, place) if plan.study else {}
    return training if plan.seed is None else {**training, "seed": plan.seed}
