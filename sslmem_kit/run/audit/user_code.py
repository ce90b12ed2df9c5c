"""User functions: found by ``module:function``, run only for a spec that the user gave to ``sslmem score``; what they return is checked."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslmem_kit.errors import UserError
from sslmem_kit.spec.audit import CodeSpec

Encode = Callable[[Any], Any]
"""Function that returns the representations of a batch."""

_KIT = __name__.partition(".")[0]
_FOLDERS: set[str] = set()
"""Folders of the specs whose functions this process has looked for."""


def find_function(spec: CodeSpec, *, field: str) -> Callable[..., Any]:
    """Import the module that a spec names and return the function in it.

    Parameters
    ----------
    field
        Name of the field, for errors.

    Raises
    ------
    UserError
        The module or function does not exist, the module cannot be imported, or another one of its name already is.
    """
    module, _, function = spec.function.partition(":")
    _put_first(spec.folder)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0] and error.name != module:
            raise UserError(
                f"{field}: module {module!r} cannot be imported, it needs {error.name!r}, which is not installed"
            ) from None
        raise UserError(
            f"{field}: there is no module {error.name!r} in {spec.folder} or on the Python path, {spec.function!r} is asked for"
        ) from None
    except Exception as error:
        raise UserError(f"{field}: module {module!r} cannot be imported ({error_text(error)})") from error
    package = module.partition(".")[0]
    # The kit itself is the one that is running, whatever the spec's folder holds.
    own, taken = PathFinder.find_spec(package, [spec.folder]), getattr(sys.modules[package], "__file__", None)
    if own and own.origin and package != _KIT and (taken is None or os.path.realpath(taken) != os.path.realpath(own.origin)):
        raise UserError(
            f"{field}: module {package!r} in {spec.folder} cannot be imported, because another of that name already is "
            f"({taken or 'one of Python itself'}); give it another name"
        )
    for name in function.split("."):
        if not hasattr(found, name):
            raise UserError(
                f"{field}: module {module!r} has no {function!r}, it is looked for in {getattr(found, '__file__', module)}"
            )
        found = getattr(found, name)
    if not callable(found):
        raise UserError(f"{field}: {spec.function!r} is a {type(found).__name__}, a function is needed")
    return found


def _put_first(folder: str) -> None:
    """Put a folder first on the Python path; forget imported modules of the same names that came from folders of other specs."""
    others = _FOLDERS - {folder}
    packages = {name.partition(".")[0] for name in sys.modules} - {_KIT} if others else set()
    own = {package for package in packages if PathFinder.find_spec(package, [folder])}
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        if any(_is_of(name, other) for other in others):
            del sys.modules[name]
    sys.path[:] = [folder, *(path for path in sys.path if path != folder)]
    _FOLDERS.add(folder)


def _is_of(name: str, folder: str) -> bool:
    """Return whether an imported module has come from a folder on the Python path."""
    path = os.path.join(folder, *name.split("."))
    return getattr(sys.modules[name], "__file__", None) in (f"{path}.py", os.path.join(path, "__init__.py"))


def with_arguments(spec: CodeSpec, *, field: str) -> Callable[..., Any]:
    """Return the function with the spec's arguments bound by name."""
    function = find_function(spec, field=field)
    return partial(function, **spec.arguments) if spec.arguments else function


def call(spec: CodeSpec, *, field: str) -> Any:
    """Call the function and return its result; an exception in it is raised as a UserError."""
    function = with_arguments(spec, field=field)
    try:
        return function()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{field}: {spec.function} has failed ({error_text(error)})") from error


def source_hash(spec: CodeSpec) -> str:
    """Return the sha256 of the file of the module that a spec names; empty where it has none. Nothing is imported."""
    module = sys.modules.get(spec.function.partition(":")[0])
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""


def error_text(error: BaseException) -> str:
    """Return an exception of a user function in one line: its type and its text."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def checked(encode: Encode, field: str) -> Encode:
    """Wrap a callable so that its results are tensors [sample, ...], one row per input sample; errors in it are raised as UserErrors."""
    shapes: set[torch.Size] = set()

    def checked_encode(batch: Any) -> Tensor:
        try:
            output = encode(batch)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{field}: it fails on a batch of shape {tuple(batch.shape)} ({error_text(error)})") from error
        if isinstance(output, Mapping):
            raise UserError(
                f"{field}: it returns several things by name ({', '.join(map(str, list(output)[:4]))}), return one tensor"
            )
        features = output if isinstance(output, Tensor) else _tensor(output, field)
        if features.ndim < 2 or len(features) != len(batch) or not features[0].numel():
            raise UserError(
                f"{field}: it returns the shape {tuple(features.shape)} of {len(batch)} samples, [sample, ...] is needed"
            )
        shapes.add(features.shape[1:])
        if len(shapes) > 1:
            named = " and ".join(sorted(str(tuple(shape)) for shape in shapes))
            raise UserError(f"{field}: it returns features of the shapes {named} of different batches, one shape is needed")
        return features

    return checked_encode


def _tensor(output: Any, field: str) -> Tensor:
    try:
        return torch.as_tensor(output)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{field}: it returns a {type(output).__name__}, a tensor or an array [sample, ...] is needed") from None
