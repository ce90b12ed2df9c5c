"""``folder:PATH``: one sub-folder a class, PNG and JPEG files anywhere below it, with or without train and test sides above."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sslmem_kit.data.source import Source
from sslmem_kit.errors import UserError

if TYPE_CHECKING:
    from .spec import DataSpec

SUFFIXES = (".png", ".jpg", ".jpeg")
SIDES = (("train", "test"), ("train", "val"))
"""Pairs of sub-folder names that are the two sides of the data rather than classes; the second is held out."""


def read_folder(spec: DataSpec) -> Source:
    """List the image files below ``spec.path``; nothing is decoded here.

    The position of a file in the listing sorted by relative posix path (train side first) is its sample id. Hidden files and
    folders are passed over, links to class folders are followed.

    Raises
    ------
    UserError
        No such folder, no class in it, a class without an image, or sides whose classes differ.
    """
    root, where = spec.path, f"data.name {spec.name!r}"
    if not root.is_dir():
        raise UserError(
            f"{where}: {root} is {'not a folder' if root.exists() else 'not there'}; a folder with one sub-folder a class is wanted"
        )
    top = _sub_folders(root)
    pair = next((pair for pair in SIDES if sorted(pair) == top), None)
    sides = [root / side for side in pair] if pair else [root]
    class_names = _class_names(sides, where)

    paths, labels, is_test, ignored = [], [], [], [_stray(name, root) for name in _images_in(root)] if pair else []
    for number, side in enumerate(sides):
        files = sorted(
            (path.relative_to(root).as_posix(), label)
            for label, name in enumerate(class_names)
            for path in _images_below(side / name)
        )
        found = {label for _, label in files}
        empty = [(side / name).relative_to(root).as_posix() for label, name in enumerate(class_names) if label not in found]
        if empty:
            raise UserError(f"{where}: {len(empty)} of {len(class_names)} classes hold no PNG or JPEG image: {_few(empty)}")
        paths += [root / name for name, _ in files]
        labels += [label for _, label in files]
        is_test += [number == 1] * len(files)
        ignored += [_stray(path, root) for path in _images_in(side)]
    return Source(
        images=tuple(paths),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(class_names),
        is_test=np.array(is_test) if pair else None,
        base=root,
        ignored=tuple(ignored),
    )


def _class_names(sides: list[Path], where: str) -> list[str]:
    names = [_sub_folders(side) for side in sides]
    for side, found in zip(sides, names, strict=True):
        if not found:
            raise UserError(f"{where}: {side} has no sub-folder; one sub-folder a class, with the images in it, is wanted")
    differing = sorted(set(names[0]) ^ set(names[-1]))
    if differing:
        counts = f"{sides[0].name} has {len(names[0])} classes, {sides[1].name} {len(names[1])}"
        raise UserError(f"{where}: {counts}, and {len(differing)} are on one side only: {_few(differing)}")
    return names[0]


def _sub_folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_image(path.name) and not path.is_dir())


def _images_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent) / name for name in files if _is_image(name))


def _raise(error: OSError) -> None:
    raise error  # os.walk would pass over a folder that it may not read


def _stray(path: Path, root: Path) -> str:
    return f"{path.relative_to(root).as_posix()}: lies beside the class folders, so it has no class"


def _few(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
