"""State dicts from files of others: read without running what is in them, their names fitted to an encoder's, every mismatch told.

safetensors holds no code. ``.pt`` and its like are pickles, of which torch reads tensors and plain containers alone (``weights_only``);
one that names anything else is refused before it is run.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sslmem_kit.errors import UserError

PICKLES = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *PICKLES)
NAMED = 4
"""Names that a sentence lists, at most."""


def read_state_dict(path: Path, *, key: str | None, where: str) -> dict[str, Tensor]:
    """The state dict in a file.

    Parameters
    ----------
    path
        Its suffix says how it is read.
    key
        Which entry of the file; None: the file itself, or the only entry that is a mapping of names to tensors.
    where
        What an error calls it: the field.

    Raises
    ------
    UserError
        No such file, another kind of file, one with code in it, a damaged one, or none or several state dicts in it.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{where}: {path.name!r} is no kind of checkpoint that is read, its suffix has to be one of {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise UserError(f"{where}: there is no file {str(path)!r}")
    content = _read_safetensors(path, where) if path.suffix == ".safetensors" else _read_pickle(path, where)
    if key is not None:
        if not isinstance(content, Mapping) or key not in content:
            raise UserError(f"{where}: {path} has no entry {key!r}, it holds {_listed(content)}")
        content = content[key]
        if not _is_state_dict(content):
            raise UserError(f"{where}: entry {key!r} of {path} is no state dict (names and tensors), it holds {_listed(content)}")
        return dict(content)
    if _is_state_dict(content):
        return dict(content)
    nested = [name for name, entry in content.items() if _is_state_dict(entry)] if isinstance(content, Mapping) else []
    if len(nested) != 1:
        found = (
            f"several state dicts, say by key which: {', '.join(map(str, nested))}"
            if nested
            else "no state dict (names and tensors)"
        )
        raise UserError(f"{where}: {path} holds {found}" + ("" if nested else f", but {_listed(content)}"))
    return dict(content[nested[0]])


def _read_safetensors(path: Path, where: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{where}: {path} is not a safetensors file, or it is damaged ({_one_line(error)})") from None


def _read_pickle(path: Path, where: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about kinds of files that are then refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's own text is a page of advice, of which some is to run the code.
        named = re.search(r"(?:GLOBAL|global|class|function|type) ([\w.]+\.[\w.]+)", str(error))
        what = f"it names {named[1]}" if named else "or it is damaged"
        raise UserError(
            f"{where}: {path} is refused, a checkpoint may hold tensors and plain values but no code or objects ({what}); where you "
            "trust its source, save its state dict alone as safetensors"
        ) from None
    except RuntimeError as error:
        kinds = {
            "TorchScript": "a TorchScript archive, which is code",
            "legacy .tar": "of the legacy tar format, which cannot be read safely",
        }
        kind = next((text for mark, text in kinds.items() if mark in str(error)), None)
        if kind:
            raise UserError(f"{where}: {path} is refused, it is {kind}; save its state dict as safetensors") from None
        raise UserError(f"{where}: {path} is no checkpoint, or it is damaged ({_one_line(error)})") from None
    except (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError, zipfile.BadZipFile) as error:
        raise UserError(f"{where}: {path} is no checkpoint, or it is damaged ({_one_line(error)})") from None


def _is_state_dict(content: Any) -> bool:
    named = isinstance(content, Mapping) and bool(content)
    return named and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def select(
    state: Mapping[str, Tensor], *, prefix: str, drop: Sequence[str], path: Path, where: str
) -> tuple[dict[str, Tensor], list[str]]:
    """The entries of an encoder under its own names, and the names in the file of what is left out.

    Parameters
    ----------
    prefix
        Taken off; names without it are left out.
    drop
        Beginnings of names, after the prefix, that are left out too.

    Raises
    ------
    UserError
        No name has the prefix, or none begins as ``drop`` says.
    """
    chosen = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not chosen:
        raise UserError(f"{where}.prefix: no name in {path} begins with {prefix!r}, names there are {_few(list(state))}")
    for beginning in drop:
        if not any(name.startswith(beginning) for name in chosen):
            raise UserError(
                f"{where}.drop_keys: no name in {path} begins with {prefix + beginning!r}, names there are {_few(list(state))}"
            )
    kept = {name: tensor for name, tensor in chosen.items() if not name.startswith(tuple(drop))}
    return kept, [name for name in state if not name.startswith(prefix) or name.removeprefix(prefix) not in kept]


def fit(module: nn.Module, state: Mapping[str, Tensor], *, path: Path, where: str) -> None:
    """Load a state dict whose names and shapes are all those of a module; counters of batch normalization may be missing.

    Raises
    ------
    UserError
        Anything is missing, unexpected or of another shape.
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
        parts.append(f"{len(missing)} tensors of the encoder are missing there ({_few(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} are not the encoder's ({_few(unexpected)})")
    if shapes:
        parts.append(f"{len(shapes)} have another shape ({_few(shapes, 2)})")
    if parts:
        hints = "prefix, drop_keys, encoder.stem, encoder.options and data.image_size are what they hang on"
        raise UserError(f"{where}: {path} does not fit the encoder: {'; '.join(parts)}; {hints}")
    module.load_state_dict(dict(state), strict=False)


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def module_hash(module: nn.Module) -> str:
    """sha256 over names, types, shapes and values of what a module's state dict holds."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _listed(content: Any) -> str:
    if isinstance(content, Mapping):
        return _few([str(name) for name in content]) if content else "nothing"
    return f"a {type(content).__name__}"


def _few(names: Sequence[str], most: int = NAMED) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
