"""State dicts from files of others: found in a checkpoint, fitted to an encoder's names, every mismatch reported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sslmem_kit.errors import UserError
from sslmem_kit.run.audit.checkpoint_files import read_checkpoint

NAMED = 4
"""Largest number of names that a message lists."""
WHOLE_FILE = "."
"""Value of ``key`` for the outermost entry."""


def read_state_dict(path: Path, *, key: str | None, field: str) -> dict[str, Tensor]:
    """Return the state dict in a file.

    Parameters
    ----------
    path
        Path of a file that :func:`sslmem_kit.run.audit.checkpoint_files.read_checkpoint` reads.
    key
        Entry of the file, entries of entries after dots (``state_dict.model``), the file itself ``.``; None: the only one that is a
        state dict.
    field
        Name of the field, for errors.

    Raises
    ------
    UserError
        The file does not exist, is of another kind, has code in it, is damaged, or holds no or several state dicts.
    """
    content, left_out = read_checkpoint(path, field)
    of = str(path)
    if key not in (None, WHOLE_FILE):
        entries = list(_entries(content, key))
        if not entries:
            raise UserError(f"{field}: {path} has no entry {key!r}, it holds {_listed(content)}")
        if len(entries) > 1:
            raise UserError(f"{field}: {path} has {len(entries)} entries that {key!r} could be, their names have dots in them")
        content, of = entries[0], f"entry {key!r} of {path}"
        if not isinstance(content, dict):
            raise UserError(f"{field}: {of} is no state dict (names and tensors), it is {_listed(content)}")
    found = dict(_state_dicts(content))
    if key is not None and WHOLE_FILE in found:
        found = {WHOLE_FILE: found[WHOLE_FILE]}
    if len(found) > 1:
        names = [name if key in (None, WHOLE_FILE) or name == WHOLE_FILE else f"{key}.{name}" for name in found]
        raise UserError(f"{field}: {of} holds several state dicts, say by key which: {_join_names(names, 8)}")
    if not found:
        modules = sorted(name for name in left_out if name.startswith("torch.nn.modules."))
        if modules:
            raise UserError(
                f"{field}: {of} holds a whole module ({modules[0]} ...) in place of a state dict, which is refused because only its code could "
                "read it; where it was made, save model.state_dict()"
            )
        raise UserError(f"{field}: {of} holds no state dict (names and tensors), but {_listed(content)}")
    return next(iter(found.values()))


def _entries(content: Any, key: str) -> Iterator[Any]:
    """Yield the entries that a dotted key may stand for: names can have dots in them."""
    if not isinstance(content, dict):
        return
    entries = dict(dict.items(content))  # whatever attributes the file has given to it
    if key in entries:
        yield entries[key]
    parts = key.split(".")
    for count in range(1, len(parts)):
        yield from _entries(entries.get(".".join(parts[:count])), ".".join(parts[count:]))


def _state_dicts(content: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every mapping of names to tensors in a content, with its dotted name, without numbers and texts beside the tensors.

    States of optimizers (beside ``param_groups``) and of random generators (no floating point, or single numbers) are skipped.
    """
    seen: set[int] = set()
    waiting = [((), content)]
    while waiting:
        name, mapping = waiting.pop()
        if not isinstance(mapping, dict) or id(mapping) in seen:
            continue
        seen.add(id(mapping))
        entries = {entry: value for entry, value in dict.items(mapping) if isinstance(entry, str)}
        if "param_groups" in entries:
            continue
        tensors = {entry: value for entry, value in entries.items() if isinstance(value, Tensor)}
        if any(tensor.is_floating_point() and tensor.ndim for tensor in tensors.values()):
            yield ".".join(name) or WHOLE_FILE, tensors
        waiting += reversed([((*name, entry), value) for entry, value in entries.items() if isinstance(value, dict)])


def select(
    state: Mapping[str, Tensor], *, prefix: str, drop: Sequence[str], path: Path, field: str, module: nn.Module | None = None
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the entries of an encoder under its own names, and the names in the file of those that are left out.

    Parameters
    ----------
    prefix
        Prefix that is removed; names without it are left out.
    drop
        Starts of names, after the prefix, that are left out too.
    module
        Module to load, so that an error can name the prefix that would fit.

    Raises
    ------
    UserError
        No name has the prefix, or none starts with an entry of ``drop``.
    """
    chosen = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not chosen:
        raise UserError(
            f"{field}.prefix: no name in {path} starts with {prefix!r}, names there are {_join_names(list(state))}{_hint(module, state)}"
        )
    for start in drop:
        if not any(name.startswith(start) for name in chosen):
            raise UserError(
                f"{field}.drop_keys: no name in {path} starts with {prefix + start!r}, names there are {_join_names(list(state))}"
            )
    kept = {name: tensor for name, tensor in chosen.items() if not name.startswith(tuple(drop))}
    return kept, [name for name in state if not name.startswith(prefix) or name.removeprefix(prefix) not in kept]


def fit(
    module: nn.Module, state: Mapping[str, Tensor], *, path: Path, field: str, whole: Mapping[str, Tensor] | None = None
) -> None:
    """Load a state dict whose names and shapes are all those of a module; counters of batch normalization may be missing.

    Parameters
    ----------
    whole
        All entries of the file, under its own names, so that an error can name the prefix that would fit.

    Raises
    ------
    UserError
        An entry is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} is {list(state[name].shape)} there and {list(tensor.shape)} in the encoder"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors of the encoder are missing there ({_join_names(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} are not the encoder's ({_join_names(unexpected)})")
    if shapes:
        parts.append(f"{len(shapes)} have another shape ({_join_names(shapes, 2)})")
    if parts:
        hint = _hint(module, state if whole is None else whole) or _pooling_hint(missing, unexpected)
        hint = hint or _stem_hint(own, state)
        hint = hint or "; prefix, drop_keys, encoder.stem, encoder.options and data.image_size are what they depend on"
        raise UserError(f"{field}: {path} does not fit the encoder: {'; '.join(parts)}{hint}")
    module.load_state_dict(dict(state), strict=False)


def _stem_hint(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Return a hint at the ``encoder.stem`` of a ResNet's first convolution, where only that has another shape."""
    first = "conv1.weight"
    if first not in own or first not in state or own[first].shape[2:] == state[first].shape[2:]:
        return ""
    side = state[first].shape[-1]
    stem = {7: "stock", 3: "small or medium"}.get(side)
    return f"; a first convolution of {side}x{side} is that of encoder.stem: {stem}" if stem else ""


def prefixes(module: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Return the prefixes of names in a file with which every tensor of a module is there, in its shape."""
    own = {name: tensor.shape for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    first = next(iter(own), None)
    if first is None:
        return []
    candidates = [name.removesuffix(first) for name in state if name == first or name.endswith(f".{first}")]
    shapes = {name: tensor.shape for name, tensor in state.items()}
    return [prefix for prefix in candidates if all(shapes.get(prefix + name) == shape for name, shape in own.items())]


def _hint(module: nn.Module | None, state: Mapping[str, Tensor]) -> str:
    """Return the prefix that would make all names fit, in words; empty where there is none."""
    if module is None:
        return ""
    fitting = prefixes(module, state)
    if fitting:
        choices = [f"prefix: {prefix}" if prefix else "no prefix" for prefix in fitting]
        rest = [name for name in state if name.startswith(fitting[0]) and name.removeprefix(fitting[0]) not in module.state_dict()]
        more = (
            f" and drop_keys for {_join_names([name.removeprefix(fitting[0]) for name in rest])}"
            if rest and len(choices) == 1
            else ""
        )
        return f"; with {' or '.join(choices)}{more} all names would fit"
    names = list(state)
    inner = next((name.removesuffix(names[0]) for name in module.state_dict() if name.endswith(f".{names[0]}")), None)
    own = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
    if inner and own <= {inner + name for name in names}:
        return f"; the encoder's names start with {inner!r} and those of the file do not, return the module without that wrapping"
    return ""


def _pooling_hint(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """Return a hint at ``global_pool``: timm's vision transformers call the last norm ``fc_norm`` where it follows the mean over tokens."""
    for absent, other, remedy in (
        (missing, unexpected, "encoder.options: {global_pool: avg}"),
        (unexpected, missing, "encoder.options without global_pool: avg"),
    ):
        if any(name.startswith("norm.") for name in absent) and any(name.startswith("fc_norm.") for name in other):
            return f"; fc_norm in place of norm is that of a vision transformer that pools by the mean, write {remedy}"
    return ""


def file_hash(path: Path) -> str:
    """Return the sha256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def module_hash(module: nn.Module) -> str:
    """Return the sha256 over names, types, shapes and values of a module's state dict."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _listed(content: Any) -> str:
    if isinstance(content, dict):
        return _join_names([str(name) for name in dict.keys(content)]) or "nothing"
    return f"a {type(content).__name__}"


def _join_names(names: Sequence[str], most: int = NAMED) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
