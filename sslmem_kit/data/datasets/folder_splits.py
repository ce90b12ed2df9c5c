"""Detection of the sub-folders that are splits of the data, and of those that are classes.

A split holds one folder a class; a class holds images. Names alone are ambiguous: `train` may be a class of vehicles. A folder
that can be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sslmem_kit.errors import UserError, join_names

ROLES = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"),
}
"""Names of splits, without regard to case and to what joins or follows them (`train_set`, `Training-images`, `val2017`), in the order that
sample ids follow. Only the first is trained on."""

_ROLE = {name: role for role, names in ROLES.items() for name in names}
_ORDER = list(ROLES)


def role(name: str) -> str | None:
    """Return the split that a folder's name stands for; None where it stands for none."""
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return _ROLE.get(re.sub(r"(sets?|splits?|data|images?|imgs|(19|20)\d\d)$", "", plain) or plain) or _ROLE.get(plain)


def find_splits(top: Sequence[str], inside: Callable[[str], tuple[int, list[str]]], field: str) -> list[str]:
    """Return the names of the folders that are splits, in the order train, validation, test; empty where all of ``top`` are classes.

    Parameters
    ----------
    top
        Names of the sub-folders of the data.
    inside
        Returns, of a sub-folder, the number of images that lie directly in it and the names of its own sub-folders.
    field
        Field of the spec, with which errors start.

    Raises
    ------
    UserError
        Folders that look like splits and are not: the names of splits and others are mixed, a split is missing or there twice, holds no
        class, or lies inside the classes.
    """
    roles = {name: role(name) for name in top if role(name)}
    if roles and len(roles) == len(top):
        return _checked(roles, inside, field)
    if len(set(roles.values())) > 1:
        others = join_names([name for name in top if name not in roles])
        raise UserError(
            f"{field}: {join_names(list(roles))} are named like splits but {others} beside them not; leave only splits there, "
            f"with one folder a class in each, or only classes with names of their own"
        )
    for name in top:
        images, folders = inside(name)
        if not images and folders and (name in roles or any(part in _ROLE for part in re.split(r"[\W\d_]+", name.casefold()))):
            others = join_names([other for other in top if other != name]) or "nothing"
            raise UserError(
                f"{field}: {name} is named like a split and holds {join_names(folders)}, but {others} "
                f"beside it is no split; name splits train, val and test and leave nothing beside them, or rename a class of that name"
            )
        if len({role(folder) for folder in folders} - {None}) > 1:
            raise UserError(
                f"{field}: {name} holds {join_names([folder for folder in folders if role(folder)])}, which are named like splits; "
                f"splits go above the classes, as in train/{name} and test/{name}"
            )
    if len(top) == 1:
        images, folders = inside(top[0])
        if folders and not images:
            raise UserError(
                f"{field}: all of it lies in {top[0]}, which holds only folders ({join_names(folders)}); "
                f"if these are the classes, name the folder {top[0]} itself"
            )
    return []


def _checked(roles: dict[str, str], inside: Callable[[str], tuple[int, list[str]]], field: str) -> list[str]:
    """Return the splits of a folder that holds nothing but folders with names of splits."""
    names = sorted(roles, key=lambda name: _ORDER.index(roles[name]))
    twice = [name for name in names if list(roles.values()).count(roles[name]) > 1]
    if twice:
        raise UserError(
            f"{field}: {join_names(twice)} are names of the same split; one folder for each of train, val and test is wanted"
        )
    for name in names:
        images, folders = inside(name)
        if not folders:
            held = f"holds {images:,} images and" if images else "has"
            raise UserError(
                f"{field}: {name} is named like a split but {held} no sub-folder; one sub-folder a class is wanted in it"
            )
    if "train" not in roles.values():
        raise UserError(
            f"{field}: {join_names(names)} {'is' if len(names) == 1 else 'are'} named like held-out splits and there is no train beside; "
            f"add it, or name the folder {names[0]} itself to use all of it"
        )
    return names
