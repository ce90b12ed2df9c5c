"""Comparison of how encoders read their samples: shape, backbone, stem, normalization, image size and precision.

A difference of alignment between two encoders is memorization only where nothing else differs between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
from torch import nn

from sslmem_kit.errors import UserError

MODULES = "modules"
"""The field that holds :func:`structure`."""
_CLOSE = 1e-4
"""Absolute tolerance within which numbers are equal but for rounding."""
_DROPOUT = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d | nn.AlphaDropout | nn.FeatureAlphaDropout
"""Layers that do nothing once a module is trained."""


def structure(module: nn.Module) -> list[str]:
    """Return the visible structure of a module: its layers with weights, activations and poolings, with strides and sizes, in order."""
    return [_layer_text(layer) for layer in module.modules() if _computes(layer)]


def _computes(layer: nn.Module) -> bool:
    """Return whether a layer changes its input: it has weights, or is one of torch's own that does more than to drop or to reshape."""
    if next(layer.parameters(recurse=False), None) is not None or hasattr(layer, "kernel_size"):
        return True
    passing = isinstance(layer, nn.Identity | nn.Flatten | nn.Unflatten | _DROPOUT) or ".container" in type(layer).__module__
    return _is_torchs(type(layer)) and not passing and not list(layer.children())


def _layer_text(layer: nn.Module) -> str:
    """Return a layer's class and settings, without ``inplace``, which changes no values."""
    settings = layer.extra_repr() if _is_torchs(type(layer)) or not list(layer.children()) else ""
    return f"{_kind(layer)}({', '.join(part for part in settings.split(', ') if part != 'inplace=True')})"


def _kind(layer: nn.Module) -> str:
    """Return the name of a layer's class; for a subclass of one of torch's, that of torch's."""
    return next((kind.__name__ for kind in type(layer).__mro__ if _is_torchs(kind) and kind is not nn.Module), type(layer).__name__)


def _is_torchs(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.")


def differences(read: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return how encoders differ in reading samples, a phrase for each field.

    Parameters
    ----------
    read
        Values by field, by encoder; fields that are not known of an encoder are absent.

    Returns
    -------
    ``representation is [8] of f-0 and [8, 2, 2] of g-0``; each field's first encoder that has it against the first that differs.
    """
    found = []
    # Modules last: that their layers differ follows from most of the others.
    for field in sorted(dict.fromkeys(field for values in read.values() for field in values), key=MODULES.__eq__):
        having = [name for name, values in read.items() if field in values]
        first, value = having[0], read[having[0]][field]
        other = next((name for name in having if not _same(value, read[name][field])), None)
        if other is not None:
            here, there = _in_words(field, value, read[other][field])
            found.append(f"{field} is {here} of {first} and {there} of {other}")
    return found


def check(read: Mapping[str, Mapping[str, Any]], *, anyway: bool, remedy: str) -> list[str]:
    """Return messages about differences between encoders that are compared anyway.

    Parameters
    ----------
    read
        Values by field, by encoder; see :func:`differences`.
    anyway
        Compare them though they differ.
    remedy
        Setting by which the user allows it, for the error.

    Raises
    ------
    UserError
        They differ, and ``anyway`` is false.
    """
    found = differences(read)
    if found and not anyway:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(
            f"encoders: they are compared but read samples differently, {found[0]}{more}; a score would be of this difference as much as of "
            f"memorization: make them agree, or write {remedy}, and it is reported with every number"
        )
    return [f"encoders are compared although they read samples differently: {phrase}" for phrase in found]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return isinstance(a, float | int) and isinstance(b, float | int) and bool(np.isclose(a, b, rtol=0, atol=_CLOSE))
    return type(a) is type(b) and a == b


def _in_words(field: str, here: Any, there: Any) -> tuple[str, str]:
    """Return two values that differ as short text; of modules the first layers that differ."""
    if field == MODULES:
        pairs = zip_longest(here, there, fillvalue="nothing")
        place, pair = next((place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1])
        return tuple(f"{layer} (layer {place})" for layer in pair)
    return _short(here), _short(there)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_short(entry)}' for key, entry in value.items())}}}"
    return str(value)
