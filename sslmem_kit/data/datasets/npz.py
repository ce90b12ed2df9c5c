"""``npz:PATH``: the arrays ``images``, ``labels`` and, if wanted, ``class_names`` of one NumPy archive.

``images`` is uint8, (n, height, width), (n, height, width, 1) or (n, height, width, 3). ``labels`` is (n,): integers, or strings.
An archive never runs code when it is read (``allow_pickle=False``).
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sslmem_kit.data.datasets.source import Source
from sslmem_kit.errors import UserError

if TYPE_CHECKING:
    from sslmem_kit.spec.data import DataSpec


def read_npz(spec: DataSpec) -> Source:
    """Read and check an archive; the position of an image is its sample id.

    Without ``class_names`` the classes are the values that occur in ``labels``, sorted, and named after them; labels are recoded to
    0..classes-1. With ``class_names``, integer labels are positions in it and string labels are its members.

    Raises
    ------
    UserError
        No such file, not an archive, a key missing, or an array of another type or shape than above.
    """
    field = f"data.name {spec.name!r}"
    arrays = _arrays(spec.path, field)
    images = _images(arrays["images"], field)
    labels = arrays["labels"]
    if labels.shape != (len(images),):
        how = ""
        if labels.shape == (len(images), 1):
            how = ": store labels[:, 0]"
        elif labels.ndim == 2 and len(labels) == len(images):
            how = ": of one number a class store labels.argmax(axis=1)"
        raise UserError(
            f"{field}: labels has shape {labels.shape}, but images holds {len(images)} images, so ({len(images)},) is wanted{how}"
        )
    class_names = _class_names(arrays["class_names"], field) if "class_names" in arrays else None
    codes, names = _codes(labels, class_names, field)
    return Source(images=images, labels=codes, class_names=names)


def _arrays(path: Path, field: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        how = f", for a folder of images write folder:{path}" if path.is_dir() else ""
        raise UserError(f"{field}: {path} is {'not a file' if path.exists() else 'not there'}; an .npz file is wanted{how}")
    if not zipfile.is_zipfile(path):  # np.load would take an .npy or a pickle for what it is not
        raise UserError(f"{field}: {path} is not an npz archive, or it is cut short; write it with numpy.savez")
    key = "its list of arrays"
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in ("images", "labels") if key not in archive]
            if missing:
                raise UserError(
                    f"{field}: {path} has no array {' and no '.join(missing)}; it holds {', '.join(archive.files) or 'nothing'}"
                )
            twice = [name for name, count in Counter(archive.zip.namelist()).items() if count > 1]
            if twice:
                raise UserError(f"{field}: {path} holds {', '.join(twice)} more than once, and which one counts is unclear")
            arrays = {}
            for key in ("images", "labels", "class_names"):
                if key in archive:
                    _check_room(archive.zip, key, field, path)
                    arrays[key] = np.asarray(archive[key])
            return arrays
    except UserError:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
        pickled = "pickled" in str(error) or "Object arrays" in str(error)
        reason = "it is an object array, which only pickle can read" if pickled else " ".join(str(error).split())
        raise UserError(f"{field}: {key} of {path} cannot be read ({reason}); write plain arrays with numpy.savez") from error


def _check_room(archive: zipfile.ZipFile, key: str, field: str, path: Path) -> None:
    """Refuse an array that memory cannot hold before it is unpacked: a small file may say that it is large."""
    with archive.open(f"{key}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    needed, there = math.prod(shape) * dtype.itemsize, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise UserError(
            f"{field}: {key} of {path} has dtype {dtype} and shape {shape}, {needed / 2**30:,.0f} GiB, and this machine has "
            f"{there / 2**30:,.0f} GiB of memory"
        )


def _images(images: np.ndarray, field: str) -> np.ndarray:
    got = f"{field}: images has dtype {images.dtype} and shape {images.shape}"
    if images.dtype != np.uint8:
        how = ""
        if images.dtype.kind == "f":
            nan = int(np.isnan(images).sum())
            how = f" (it also holds {nan} NaN)" if nan else ""
            how += ": for values from 0 to 1 store numpy.rint(images * 255).astype(numpy.uint8)"
        raise UserError(f"{got}; uint8 from 0 to 255 is wanted{how}")
    if images.ndim not in (3, 4):
        raise UserError(f"{got}; (n, height, width) or (n, height, width, channels) is wanted")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[3] not in (1, 3):
        how = ""
        if images.shape[3] == 4:
            how = ": drop or blend the alpha channel of RGBA, as in images[..., :3]"
        elif images.shape[1] in (1, 3):
            how = ": the channels seem to come first, so store numpy.moveaxis(images, 1, 3)"
        raise UserError(f"{got}; 1 or 3 channels are wanted in the last place, and it has {images.shape[3]}{how}")
    if 0 in images.shape:
        raise UserError(f"{got}; it holds no pixel, and at least 2 images are wanted")
    return images


def _class_names(names: np.ndarray, field: str) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise UserError(
            f"{field}: class_names has dtype {names.dtype} and shape {names.shape}; strings of shape (classes,) are wanted"
        )
    listed = tuple(_text(names))
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise UserError(f"{field}: class_names holds {', '.join(twice[:5])} more than once; every class needs a name of its own")
    unprintable = next((name for name in listed if not name.isprintable()), None)
    if unprintable is not None:
        raise UserError(f"{field}: class_names holds {unprintable!r}, which cannot be printed; rename it")
    return listed


def _codes(labels: np.ndarray, class_names: tuple[str, ...] | None, field: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return int64 (n,) class codes, and the names of the classes."""
    if labels.dtype.kind in "US":
        labels = np.array(_text(labels), dtype=str)
        names = class_names or _class_names(np.unique(labels), field)
        code = {name: index for index, name in enumerate(names)}
        unknown = sorted(set(labels.tolist()) - set(code))
        if unknown:
            raise UserError(f"{field}: labels holds {', '.join(unknown[:5])}, not among the {len(names)} class_names")
        return np.array([code[name] for name in labels.tolist()], dtype=np.int64), names
    if labels.dtype.kind not in "iu":
        nan = int(np.isnan(labels).sum()) if labels.dtype.kind == "f" else 0
        raise UserError(
            f"{field}: labels has dtype {labels.dtype}{f' and holds {nan} NaN' if nan else ''}; integers or strings are wanted"
        )
    if labels.min() < 0:
        negative = int((labels < 0).sum())
        raise UserError(
            f"{field}: labels holds {negative} negative values (the smallest is {labels.min()}); 0 and above are wanted"
        )
    if class_names is None:
        values, codes = np.unique(labels, return_inverse=True)
        return codes.astype(np.int64), tuple(str(value) for value in values)
    if labels.max() >= len(class_names):
        raise UserError(
            f"{field}: labels holds {labels.max()}, but class_names names {len(class_names)} classes (0 to {len(class_names) - 1})"
        )
    return labels.astype(np.int64), class_names


def _text(names: np.ndarray) -> list[str]:
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names.tolist()]
