"""Representations layer by layer, from one forward pass of any backbone, through hooks; no model is edited.

A layer is a module of the backbone by its name (``blocks.3``, ``layer2.0.conv1``), its representation that module's output. One forward pass
of a small batch shows which modules can be one: called once, with a floating tensor ``[sample, ...]`` for output. The last layer is always the
encoder's full (unpooled) representation, whose alignment is the one that scores rest on; where no module returns it, its name is ``output``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sslmem_kit.errors import UserError

Wanted = Literal["auto", "all"] | Sequence[str]
"""``auto``: stem, each stage or block, full representation; ``all``: every module that can be a layer; or names of modules."""

STAGES = ("blocks", "stages", "layers")
"""Names that timm gives the container of a backbone's stages or blocks; where there is none, ``feature_info`` names them."""

FULL = "output"
"""Name of the full representation where it is not the output of a module."""

_PROBE = 3
"""Number of samples in the forward pass that is watched: an output whose first axis is as long is taken to be ``[sample, ...]``."""


@dataclass
class _Call:
    """Record of a module in a watched forward pass."""

    started: int
    ended: int = -1
    calls: int = 1
    output: Tensor = field(default_factory=lambda: torch.empty(0))
    version: int = -1
    """Version of the output's memory when the module returned: it counts what is written there in place. -1: there was no floating tensor."""
    adds: bool = False
    """True where the module is given a tensor and returns another: not so identities, dropout in evaluation mode, positional encodings."""

    @property
    def fault(self) -> str:
        """Return the reason why this module cannot be a layer; empty when it can."""
        if self.calls > 1:
            return f"is called {self.calls} times in a forward pass"
        if self.version < 0:
            return "returns no floating tensor"
        if self.output.ndim < 2 or len(self.output) != _PROBE:
            return f"returns {list(self.output.shape)} for {_PROBE} samples, not one row a sample"
        return ""

    @property
    def overwritten(self) -> bool:
        """Return whether something later writes into the output, as ``ReLU(inplace=True)`` does."""
        return self.output._version != self.version


class Layered:
    """An encoder whose call returns the representation of every layer, ``{name: [sample, ...]}`` in forward order, the full one last.

    Parameters
    ----------
    encoder
        In evaluation mode. Layers are named within its ``backbone``, or within the encoder itself where it has none.
    wanted
        Layers to return; the full representation comes last whether it is named or not.
    example
        A batch of at least one sample, on the encoder's device.

    Attributes
    ----------
    names
        Names of the layers, in forward order.
    channels
        Units of each layer, by name.

    Raises
    ------
    UserError
        A name that the backbone does not have, or of a module that cannot be a layer.

    Notes
    -----
    Hooks are there only during a call. What is overwritten in place later in the pass is copied first, so that a layer's representation is
    what its module returned; of a tuple the first tensor is taken.
    """

    def __init__(self, encoder: nn.Module, wanted: Wanted, example: Tensor) -> None:
        self.encoder = encoder
        backbone: nn.Module = getattr(encoder, "backbone", encoder)
        calls, output = _watch(encoder, backbone, example)
        chosen = _choose(backbone, calls, wanted)
        self.names = (*(name for name in chosen if not _is_full(calls[name], output)), _full_name(calls, output, chosen))
        modules = dict(backbone.named_modules())
        self._modules = {name: modules[name] for name in self.names[:-1]}
        self._copied = {name for name in self._modules if calls[name].overwritten}
        seen = {**{name: calls[name].output for name in self._modules}, self.names[-1]: output}
        self._channel_axes = {name: _channel_axis(backbone, tensor) for name, tensor in seen.items()}
        self.channels = {name: tensor.shape[self._channel_axes[name]] for name, tensor in seen.items()}

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        """Return the representations of a batch by layer, [sample, ...]."""
        kept: dict[str, Tensor] = {}
        hooks = []
        try:
            for name, module in self._modules.items():
                hooks.append(module.register_forward_hook(self._keep(kept, name)))
            output = self.encoder(batch)
        finally:
            for hook in hooks:
                hook.remove()
        return {**{name: kept[name] for name in self._modules}, self.names[-1]: output}

    def activations(self, batch: Any) -> Tensor:
        """Return the mean absolute activation of every unit over tokens or positions, layers one after another: [sample, unit]."""
        parts = []
        for name, output in self(batch).items():
            axis = self._channel_axes[name]
            places = [dim for dim in range(1, output.ndim) if dim != axis]
            magnitude = output.float().abs()
            parts.append(magnitude.mean(dim=places) if places else magnitude)
        return torch.cat(parts, dim=1)

    def _keep(self, kept: dict[str, Tensor], name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = _first_tensor(output)
            kept[name] = tensor.clone() if name in self._copied else tensor

        return hook


def _watch(encoder: nn.Module, backbone: nn.Module, example: Tensor) -> tuple[dict[str, _Call], Tensor]:
    """Record every module of the backbone that a forward pass calls, by name, and the full representation."""
    calls: dict[str, _Call] = {}
    clock = iter(range(1 << 30))
    before: dict[str, list[tuple[Tensor, int]]] = {}

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if name in calls:
                calls[name].calls += 1
            else:
                calls[name] = _Call(started=next(clock))
            before[name] = [(given, given._version) for given in inputs[:1] if isinstance(given, Tensor)]

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            call, tensor = calls[name], _first_tensor(output)
            call.ended = next(clock)
            if tensor is not None:
                call.output, call.version = tensor, tensor._version
                call.adds = any(not _same(tensor, given) or given._version != version for given, version in before[name])

        return hook

    hooks = []
    # Tensors of inference mode do not count what is written into them.
    with torch.inference_mode(False), torch.no_grad():
        batch = example[:1].detach().clone().repeat(_PROBE, *[1] * (example.ndim - 1))
        try:
            for name, module in backbone.named_modules():
                if name:
                    hooks += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave(name))]
            output = encoder(batch)
        finally:
            for hook in hooks:
                hook.remove()
    return calls, output


def _choose(backbone: nn.Module, calls: dict[str, _Call], wanted: Wanted) -> list[str]:
    """Return the names of the wanted layers in forward order."""
    if wanted == "auto":
        names = _auto(backbone, calls)
    elif wanted == "all":
        names = _all(calls, _auto(backbone, calls))
    else:
        names = list(wanted)
        for name in names:
            _check(backbone, calls, name)
    return sorted(names, key=lambda name: calls[name].ended)


def _auto(backbone: nn.Module, calls: dict[str, _Call]) -> list[str]:
    """Return the names of the stem and of each stage or block."""

    def usable(names: Iterable[str]) -> list[str]:
        return [name for name in names if name in calls and calls[name].adds and not calls[name].fault]

    children = usable(name for name, _ in backbone.named_children())
    for container in STAGES:
        held = getattr(backbone, container, None)
        stages = usable(f"{container}.{name}" for name, _ in held.named_children()) if isinstance(held, nn.Module) else []
        if len(stages) > 1:
            first = min(calls[name].started for name in stages)
            # The last child with weights: what comes between it and the stages (dropout, identities) is no layer of its own.
            stem = [
                name
                for name in sorted(children, key=lambda name: calls[name].ended)
                if calls[name].ended < first and any(True for _ in backbone.get_submodule(name).parameters())
            ]
            return stem[-1:] + stages
    info = getattr(backbone, "feature_info", None) or ()
    stages = usable(str(stage["module"]) for stage in getattr(info, "info", info))
    return stages if len(stages) > 1 else children


def _all(calls: dict[str, _Call], preferred: Sequence[str]) -> list[str]:
    """Return the names of all modules that can be a layer; of those that return the same tensor one: a preferred one, else the outermost."""
    found: dict[tuple[Any, ...], str] = {}
    for name in sorted(calls, key=lambda name: calls[name].ended):
        call = calls[name]
        if call.adds and not call.fault:
            tensor = call.output
            key = (tensor.data_ptr(), call.version, tensor.shape, tensor.stride())
            if found.get(key) not in preferred:
                found[key] = name
    return list(found.values())


def _check(backbone: nn.Module, calls: dict[str, _Call], name: str) -> None:
    """Refuse a name that no layer has."""
    known = [known for known, _ in backbone.named_modules() if known]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known[:5]
        raise UserError(f"scoring.layers: the backbone has no module {name!r}, near are {', '.join(near)}")
    fault = calls[name].fault if name in calls else "is not called in a forward pass"
    if fault:
        raise UserError(f"scoring.layers: module {name!r} {fault}, name another or leave it out")


def _is_full(call: _Call, output: Tensor) -> bool:
    return not call.overwritten and _same(call.output, output)


def _full_name(calls: dict[str, _Call], output: Tensor, preferred: Sequence[str]) -> str:
    """Return the name of the module that returns the full representation: a preferred one, else the outermost that adds something to it."""
    names = [name for name, call in calls.items() if call.adds and not call.fault and _is_full(call, output)]
    return max(names, key=lambda name: (name in preferred, calls[name].ended), default=FULL)


def _channel_axis(backbone: nn.Module, output: Tensor) -> int:
    """Return the axis of the units: the last of tokens, the first behind the samples of maps, unless timm says otherwise."""
    last = output.ndim == 3 or (output.ndim == 4 and str(getattr(backbone, "output_fmt", "")).endswith("NHWC"))
    return output.ndim - 1 if last else 1


def _first_tensor(output: Any) -> Any:
    """Return the tensor itself, or the first of a tuple or list; None where there is no floating one."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


def _same(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are the same numbers in the same memory."""
    return first is second or (
        first.data_ptr() == second.data_ptr() and first.shape == second.shape and first.stride() == second.stride()
    )
