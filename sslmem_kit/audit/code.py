"""Functions of the user's: found by ``module:function``, run only for a spec that the user has given to ``sslmem score``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sslmem_kit.audit.spec import CodeSpec
from sslmem_kit.errors import UserError


def find_function(spec: CodeSpec, *, where: str) -> Callable[..., Any]:
    """The function that a spec names; its module is imported.

    Parameters
    ----------
    where
        What an error calls it: the field.

    Raises
    ------
    UserError
        There is no such module or function, or the module cannot be imported.
    """
    module, _, function = spec.function.partition(":")
    if spec.folder not in sys.path:
        sys.path.insert(0, spec.folder)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0] and error.name != module:
            raise UserError(
                f"{where}: module {module!r} cannot be imported, it needs {error.name!r}, which is not installed"
            ) from None
        raise UserError(
            f"{where}: there is no module {error.name!r} in {spec.folder} or on the Python path, {spec.function!r} is asked for"
        ) from None
    except Exception as error:
        raise UserError(f"{where}: module {module!r} cannot be imported ({_told(error)})") from error
    for name in function.split("."):
        if not hasattr(found, name):
            raise UserError(
                f"{where}: module {module!r} has no {function!r}, it is looked for in {getattr(found, '__file__', module)}"
            )
        found = getattr(found, name)
    if not callable(found):
        raise UserError(f"{where}: {spec.function!r} is a {type(found).__name__}, a function is needed")
    return found


def with_arguments(spec: CodeSpec, *, where: str) -> Callable[..., Any]:
    """The function with the spec's arguments bound by name."""
    function = find_function(spec, where=where)
    return partial(function, **spec.arguments) if spec.arguments else function


def call(spec: CodeSpec, *, where: str) -> Any:
    """What the function returns; an exception in it is told as the user's."""
    function = with_arguments(spec, where=where)
    try:
        return function()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: {spec.function} has failed ({_told(error)})") from error


def source_hash(spec: CodeSpec) -> str:
    """sha256 of the file of the module that a spec names; empty where it has none. Nothing is imported that is not yet."""
    module = sys.modules.get(spec.function.partition(":")[0])
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
