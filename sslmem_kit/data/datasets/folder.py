"""``folder:PATH``: one sub-folder a class, images anywhere below it, with or without splits (train, val, test) above."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from os import scandir
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sslmem_kit.data.datasets.folder_splits import find_splits
from sslmem_kit.data.datasets.image_files import SUFFIXES
from sslmem_kit.data.datasets.source import Source
from sslmem_kit.errors import NotThere, UserError, join_names
from sslmem_kit.spec.paths import absolute

if TYPE_CHECKING:
    from sslmem_kit.spec.data import DataSpec

JUNK = frozenset(
    (
        *("__macosx", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "system volume information"),
        *("lost+found", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    )
)
"""Files and folders that systems leave beside a person's own, in lower case; they are passed over, as is what starts with a dot."""

NAMED = 5
"""Number of the passed-over files that are named."""


@dataclass
class _Listing:
    """Contents of a folder, with paths as tuples of names."""

    images: list[tuple[str, ...]] = field(default_factory=list)
    folders: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    """Names of the sub-folders of each folder, sorted."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Number of files that are no images, by suffix or by kind."""
    first: list[str] = field(default_factory=list)

    def pass_over(self, reason: str, path: tuple[str, ...]) -> None:
        """Count a file that is no image."""
        self.passed_over[reason] += 1
        if len(self.first) < NAMED:
            self.first.append("/".join(path))


def read_folder(spec: DataSpec) -> Source:
    """List the image files below ``spec.path``; nothing is decoded here.

    The position of a file in the listing sorted by relative posix path (train split first, then val, then test) is its sample id. Links
    to folders are followed. Hidden files, what systems leave behind, and files without the suffix of an image are passed over and
    counted.

    Raises
    ------
    UserError
        No such folder, no class in it, a class without an image to train on, splits whose classes differ, or folders that are neither clearly
        splits nor clearly classes.
    """
    root, field = absolute(spec.path), f"data.name {spec.name!r}"
    if not root.is_dir():
        how = "is not there" if not root.exists() else "is not a folder"
        how += "; unpack it first" if root.suffix.lower() in (".zip", ".tar", ".gz", ".tgz") else ""
        how += f"; for an archive of arrays write npz:{root}" if root.suffix.lower() == ".npz" else ""
        kind = UserError if root.exists() else NotThere
        raise kind(f"{field}: {root} {how}; a folder with one sub-folder a class is wanted")
    listing = _listed(root, field)
    direct = Counter(path[:-1] for path in listing.images)
    splits = find_splits(listing.folders[()], lambda name: (direct[(name,)], listing.folders[(name,)]), field)
    split_paths = [(name,) for name in splits] or [()]
    class_names = _class_names(split_paths, listing, field)

    code, depth = {name: label for label, name in enumerate(class_names)}, len(split_paths[0])
    labels, split, paths = [], [], []
    strays = [path for path in listing.images if len(path) <= depth + 1]
    filled = {path[: depth + 1] for path in listing.images if len(path) > depth + 1}
    empty = []
    for split_path in split_paths:
        absent = [name for name in class_names if (*split_path, name) not in filled]
        if split_path != split_paths[0] and len(absent) < len(class_names):
            # Held-out images may miss a class: an empty folder shows that it is meant, and the record states it.
            absent = [name for name in absent if not all(_is_junk(own.name) for own in root.joinpath(*split_path, name).iterdir())]
        empty += ["/".join((*split_path, name)) for name in absent]
    if empty:
        raise UserError(f"{field}: {len(empty)} of {len(class_names)} classes hold no image: {join_names(empty)}{_others(listing)}")
    for number, split_path in enumerate(split_paths):
        found = sorted("/".join(path) for path in listing.images if len(path) > depth + 1 and path[:depth] == split_path)
        paths += [root / name for name in found]
        labels += [code[name.split("/", depth + 1)[depth]] for name in found]
        split += [number] * len(found)
    return Source(
        images=tuple(paths),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(class_names),
        split=np.array(split, dtype=np.int8) if len(split_paths) > 1 else None,
        split_names=tuple(splits) or ("train",),
        base=root,
        ignored=tuple(f"{'/'.join(path)}: lies beside the class folders, so it has no class" for path in sorted(strays)),
        passed_over=dict(sorted(listing.passed_over.items(), key=lambda item: (-item[1], item[0]))),
        passed_over_first=tuple(listing.first),
    )


def _is_junk(name: str) -> bool:
    """Return whether an entry of a folder is hidden, or left there by a system."""
    return name.startswith(".") or name.lower() in JUNK


def _class_names(split_paths: list[tuple[str, ...]], listing: _Listing, field: str) -> list[str]:
    names = [listing.folders[split_path] for split_path in split_paths]
    if not names[0]:
        raise UserError(f"{field}: it has no sub-folder; one sub-folder a class, with the images in it, is wanted")
    for split_path, other in zip(split_paths[1:], names[1:], strict=True):
        differing = sorted(set(names[0]) ^ set(other))
        if differing:
            counts = f"{split_paths[0][0]} has {len(names[0])} classes, {split_path[0]} {len(other)}"
            raise UserError(f"{field}: {counts}, and {len(differing)} are in one split only: {join_names(differing)}")
    alike: dict[str, str] = {}
    for name in names[0]:
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
            raise UserError(f"{field}: the class folder {name!r} has a name that cannot be printed; rename it")
        twin = alike.setdefault(unicodedata.normalize("NFC", name), name)
        if twin != name:
            raise UserError(
                f"{field}: the class folders {twin!a} and {name!a} look the same and are written with different characters; join them"
            )
    return names[0]


def _listed(root: Path, field: str) -> _Listing:
    """List everything below a folder; refuse a folder that is reached twice, by links."""
    listing, reached = _Listing(), {}
    open_: list[tuple[str, ...]] = [()]
    while open_:
        folder = open_.pop()
        real = os.path.realpath(root.joinpath(*folder))
        if real in reached:
            names = ["/".join(path) or str(root) for path in sorted((reached[real], folder), key=len)]
            raise UserError(f"{field}: {names[1]} is the same folder as {names[0]}, by a link; images are read once, so remove one")
        reached[real] = folder
        names = listing.folders[folder] = []
        with scandir(root.joinpath(*folder)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = (*folder, entry.name)
                if _is_junk(entry.name):
                    listing.pass_over("hidden or left by a system", path)
                elif entry.is_dir():
                    names.append(entry.name)
                elif not entry.is_file() and os.path.exists(entry.path):  # opening a pipe would wait for ever
                    listing.pass_over("pipe, socket or device", path)
                elif entry.name.lower().endswith(SUFFIXES):
                    listing.images.append(path)
                else:
                    listing.pass_over(os.path.splitext(entry.name)[1].lower() or "no suffix", path)
        open_ += [(*folder, name) for name in reversed(names)]
    return listing


def _others(listing: _Listing) -> str:
    """Describe the files that are no images, for the end of an error."""
    kinds = [f"{count:,} {reason}" for reason, count in listing.passed_over.most_common()]
    return f" (passed over: {join_names(kinds)})" if kinds else ""
