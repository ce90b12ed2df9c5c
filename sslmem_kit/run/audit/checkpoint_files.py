"""Reading files of weights without running code in them; errors name the kind of a file that is no checkpoint.

safetensors holds no code. ``.pt`` and its like are pickles, which torch reads with ``weights_only``: tensors and plain containers. Objects of
training scripts beside them (arguments, paths, configurations, dates) are replaced by empty containers: the classes that the file names are
neither imported nor called. A name of Python's standard library or of torch that such objects do not have is refused.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import sys
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sslmem_kit.errors import UserError, one_line

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".pt.tar")
_HARMLESS = frozenset(
    f"{module}.{name}"
    for module, names in {
        "argparse": "Namespace",
        "types": "SimpleNamespace",
        "collections": "defaultdict deque",
        "copyreg": "_reconstructor",
        "typing": "Any",
        **dict.fromkeys(("pathlib", "pathlib._local"), "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"),
        "datetime": "date datetime time timedelta timezone",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "uuid": "UUID",
        "builtins": "object dict list tuple frozenset int float str bool bytes range slice",
        "torch.torch_version": "TorchVersion",
    }.items()
    for name in names.split()
)
"""Classes of the standard library and of torch whose objects may stand beside weights."""
_HARMLESS_PACKAGES = ("torch.nn", "torch.optim")
_LISTS = ("collections.deque",)
_LEGACY_PARTS = 4
"""Pickles in a file of torch before 1.6 that may name something: magic number, protocol, system, content."""
_HEAD = 512

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "RAR",
}


def read_checkpoint(path: Path, field: str) -> tuple[Any, set[str]]:
    """Return the content of a file of weights, and the names of classes in it whose objects are left out.

    Parameters
    ----------
    path
        File that is read by its content, not by its suffix.
    field
        Name of the field, for errors.

    Raises
    ------
    UserError
        The file does not exist, is of another kind, has code in it, or is damaged.
    """
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError(
            f"{field}: {path.name!r} is no kind of checkpoint that is read, its suffix has to be one of {', '.join(SUFFIXES)}"
        )
    if path.is_dir():
        raise UserError(f"{field}: {path} is a folder, a file of weights in it is needed")
    if not path.is_file():
        raise UserError(f"{field}: there is no file {str(path)!r}")
    try:
        with open(path, "rb") as handle:
            head = handle.read(_HEAD)
    except OSError as error:
        raise UserError(f"{field}: {path} cannot be read ({error.strerror})") from None
    other = _other_kind(path, head)
    if other:
        raise UserError(f"{field}: {path} is no checkpoint, or it is damaged: it is {other}")
    if head[8:9] == b"{":
        return _read_safetensors(path, field), set()
    if path.name.lower().endswith(".safetensors") and head[:2] not in (b"PK", b"\x80\x02"):
        raise UserError(f"{field}: {path} is not a safetensors file, or it is damaged (it does not start as one)")
    return _read_pickle(path, field)


def _other_kind(path: Path, head: bytes) -> str | None:
    """Return the kind of a file that cannot be a checkpoint, in words; None where it may be one."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file, of a download that did not finish perhaps"
    if not head.strip(b"\0"):
        return "nothing but zeros at its start, as of a download or a copy that did not finish"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the weights, `git lfs pull` in its repository fetches them"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page in place of the weights, download the file itself (the link of its download button)"
    compressed = next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)
    if compressed:
        return f"a {compressed} archive, unpack it"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file (Keras, TensorFlow), which has other names and layouts of weights"
    if head[257:262] == b"ustar":
        return "a tar archive, unpack it (torch's own legacy .tar format is refused too, it cannot be read safely)"
    if head.startswith(b"PK"):
        return _other_zip(path)
    if head.isascii() and head.decode("ascii").replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return f"text ({' '.join(head.decode('ascii').split())[:40]!r} ...), as a server answers in place of a file, or a list of several files"
    return None


def _other_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "cut off, as by a download that did not finish (a ZIP archive without its end)"
    if any(name.endswith(("/data.pkl", "/constants.pkl")) or name == "data.pkl" for name in names):
        return None
    return f"a ZIP archive of something else ({', '.join(names[:3]) or 'nothing'})" + (", unpack it" if names else "")


def _read_safetensors(path: Path, field: str) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{field}: {path} is not a safetensors file, or it is damaged ({one_line(error)})") from None


def _read_pickle(path: Path, field: str) -> tuple[Any, set[str]]:
    names = {name for name in _names_in(path, field) if _is_harmless(name)}
    try:
        try:
            return _load(path, {name: _stand_in(name) for name in names}), names
        except Exception:  # objects that are keys, or whose states are no mappings
            return _load(path, dict.fromkeys(names, _Nothing)), names
    except pickle.UnpicklingError as error:
        # Torch's own message is long, and some of its advice is to run the code.
        named = re.search(r"(?:GLOBAL|global|class|function|type) ([\w.]+\.[\w.]+)", str(error))
        what = f"it names {named[1]}" if named else "or it is damaged"
        raise UserError(
            f"{field}: {path} is refused, a checkpoint may hold tensors, plain values and what training scripts put beside them, but no "
            f"code ({what}); where it was made, save its state dict alone: safetensors.torch.save_file(model.state_dict(), ...)"
        ) from None
    except RuntimeError as error:
        kinds = {
            "TorchScript": "a TorchScript archive, which is code",
            "legacy .tar": "of the legacy tar format, which cannot be read safely",
        }
        kind = next((text for mark, text in kinds.items() if mark in str(error)), None)
        if kind:
            raise UserError(f"{field}: {path} is refused, it is {kind}; save its state dict as safetensors") from None
        raise UserError(f"{field}: {path} is no checkpoint, or it is damaged ({one_line(error)})") from None
    except Exception as error:  # an untrusted file can make the reader fail in any way
        raise UserError(f"{field}: {path} is no checkpoint, or it is damaged ({one_line(error)})") from None


def _is_harmless(name: str) -> bool:
    """Return whether objects of a class may be left out: classes that scripts save beside weights, or of any other package."""
    package = name.partition(".")[0]
    if package == "torch":
        return name in _HARMLESS or (
            name.startswith(tuple(f"{inner}." for inner in _HARMLESS_PACKAGES)) and "Parameter" not in name
        )
    return name in _HARMLESS or package not in sys.stdlib_module_names


def _load(path: Path, stand_ins: dict[str, type]) -> Any:
    # Torch warns of kinds of files that are then refused; of a path it would look at the suffix.
    with (
        warnings.catch_warnings(),
        torch.serialization.safe_globals([(kind, name) for name, kind in stand_ins.items()]),
        open(path, "rb") as file,
    ):
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)


class _Nothing:
    """Substitute for an object: takes any arguments and any state, and does nothing."""

    __slots__ = ()

    def __new__(cls, *arguments: Any, **named: Any) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _List(list):
    """Substitute for objects that are filled like a list."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass


class _Mapping:
    """Substitute for objects that may be filled like a mapping: an empty one, of the type that torch's reader fills."""

    def __new__(cls, *arguments: Any, **named: Any) -> OrderedDict:
        return OrderedDict()


def _stand_in(name: str) -> type:
    """Return the substitute for a class; numpy's types have states that are no attributes."""
    return _List if name in _LISTS else _Nothing if name.startswith("numpy.") else _Mapping


def _names_in(path: Path, field: str) -> set[str]:
    """Return all globals that the pickles of a file name, as ``module.name``; nothing is run."""
    names: set[str] = set()
    try:
        for opcode, argument in _opcodes(path):
            if opcode == "PROTO" and argument > 2:
                raise UserError(
                    f"{field}: {path} is refused, it was saved with pickle's protocol {argument}, which torch does not read safely; where it "
                    "was made, save it again with torch.save(state_dict, path)"
                )
            if opcode == "GLOBAL":
                module, name = argument.split(" ", 1)
                module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
                names.add(f"{module}.{name}")
    except UserError:
        raise
    except Exception:  # it is damaged, which the reader then reports
        return names
    return names


def _opcodes(path: Path) -> Iterator[tuple[str, Any]]:
    def of(handle: BinaryIO) -> Iterator[tuple[str, Any]]:
        return ((opcode.name, argument) for opcode, argument, _ in pickletools.genops(handle))

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                if entry.rpartition("/")[2] == "data.pkl":
                    with archive.open(entry) as handle:
                        yield from of(handle)
        return
    with open(path, "rb") as handle:
        for _ in range(_LEGACY_PARTS):
            yield from of(handle)
