"""Images with a class or a depth at every pixel; `load_dense_data` makes a `DenseDataset` from a `DenseDataSpec`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from sslmem_kit.data.datasets.ade20k import read_ade20k
from sslmem_kit.data.datasets.dense_pairs import IGNORED, MISSING_DEPTH, DensePairs, Pair
from sslmem_kit.data.datasets.image_files import cores
from sslmem_kit.data.datasets.nyu_depth import read_nyu_depth
from sslmem_kit.data.datasets.scenes import scenes
from sslmem_kit.errors import UserError
from sslmem_kit.spec.dense import DenseDataSpec


@dataclass(frozen=True, eq=False)
class DenseDataset:
    """Images and targets of one size.

    Attributes
    ----------
    name : str
        Name in the spec.
    is_test : bool (n,)
        Held out.
    class_names : tuple of str
        Empty for depth.
    image_shape : (height, width, channels)
    fingerprint : str
        sha256 over splits, classes and the pixels of every image and target.
    record : dict
        Counts of what was read: ``train`` and ``test`` images, ``pixels`` with a target, ``pixels_left_out``; of segmentation ``train_share``
        of each class among pixels, and ``absent_from_test``, classes without a test pixel; of depth ``train_mean`` and ``range`` in metres.
    in_memory : bool
        Held rather than decoded on every read, then in threads.
    """

    name: str
    is_test: np.ndarray
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    fingerprint: str
    record: dict[str, Any]
    in_memory: bool
    _read: Callable[[int], Pair] = field(repr=False)

    def __len__(self) -> int:
        return len(self.is_test)

    def read(self, places: np.ndarray) -> Pair:
        """Return images uint8 (m, y, x, channel) and targets (m, y, x) at places."""
        wanted = [int(place) for place in places]
        if self.in_memory:
            found = [self._read(place) for place in wanted]
        else:
            with ThreadPoolExecutor(min(32, cores(), len(wanted))) as pool:
                found = list(pool.map(self._read, wanted))
        images, targets = zip(*found, strict=True)
        return np.stack(images), np.stack(targets)


def load_dense_data(spec: DenseDataSpec, task: str, *, channels: int, held_out_seed: int = 0) -> DenseDataset:
    """Read, check and size all images and targets of a dense task; every file is decoded once.

    Parameters
    ----------
    spec
        Section ``data`` of a dense task, its path absolute.
    task
        ``segmentation`` or ``depth``.
    channels
        1 (grey) or 3 (RGB), to which images are brought.
    held_out_seed
        Seed by which ``scenes`` hold out digits for their test split: that of a study's held-out split of ``digits``.

    Raises
    ------
    UserError
        Data that are not there, masks of another size than their image, a class index beyond the classes, a depth that is none, classes
        without a pixel in the train split, channels that are neither 1 nor 3.

    Examples
    --------
    >>> data = load_dense_data(DenseDataSpec(name="scenes", image_size=16, train=4, test=2), "depth", channels=1)
    >>> images, depths = data.read(np.arange(2))
    >>> images.shape, depths.shape, data.is_test.sum()
    ((2, 16, 16, 1), (2, 16, 16), np.int64(2))
    """
    if channels not in (1, 3):
        raise UserError(
            f"encoder: it takes images of {channels} channels, those of {spec.name!r} have 1 (grey) or 3 (RGB): "
            "a dense task needs an encoder of these"
        )
    if spec.kind == "scenes":
        pairs = scenes(spec, task, held_out_seed=held_out_seed)
    else:
        if not spec.path.is_dir():
            raise UserError(f"data.name: there is no folder {str(spec.path)!r}")
        reader = {"ade20k": read_ade20k, "nyu": read_nyu_depth}[spec.kind]
        pairs = _some(reader(spec.path), spec)
    sized = _Sized(spec, task, channels, pairs)
    return _checked(spec, task, pairs, sized)


def _some(pairs: DensePairs, spec: DenseDataSpec) -> DensePairs:
    """Take as many of each split as the spec asks for, evenly spaced."""
    chosen = []
    for name, split, wanted in (("train", ~pairs.is_test, spec.train), ("test", pairs.is_test, spec.test)):
        places = np.flatnonzero(split)
        if len(places) < max(2, wanted or 0):
            raise UserError(f"data.{name}: {spec.name!r} has {len(places)} images in this split; {max(2, wanted or 0)} are wanted")
        chosen.append(places if wanted is None else places[np.linspace(0, len(places) - 1, wanted).round().astype(int)])
    places = np.concatenate(chosen)
    read, names = pairs.read, [str(pairs.names[int(place)]) for place in places]
    return DensePairs(lambda place: read(int(places[place])), names, pairs.is_test[places], pairs.class_names)


class _Sized:
    """Pairs brought to squares of one side: the central square, images by antialiased bilinear, targets by nearest neighbour."""

    def __init__(self, spec: DenseDataSpec, task: str, channels: int, pairs: DensePairs) -> None:
        self.spec, self.task, self.channels, self.pairs = spec, task, channels, pairs
        self.left_out = 0

    def __call__(self, place: int) -> Pair:
        name = self.pairs.names[place]
        try:
            image, target = self.pairs.read(place)
        except UserError:
            raise
        except Exception as error:  # on broken bytes a decoder raises OSError, SyntaxError, struct.error ...
            raise UserError(f"data.name: {name} cannot be read ({' '.join(str(error).split())[:120]})") from None
        if image.ndim != 3 or image.shape[2] not in (1, 3):
            raise UserError(f"data.name: {name} is an image of shape {image.shape}; (height, width, 1 or 3 channels) is needed")
        if image.shape[:2] != target.shape:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (image.shape, target.shape)]
            raise UserError(
                f"data.name: the {_TARGETS[self.task]} of {name} has another size than its image, {sizes[1]} for {sizes[0]}"
            )
        self._check(name, target)
        side = self.spec.image_size
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("L" if self.channels == 1 else "RGB")
        top, left, full = _square(target.shape)
        box = (left, top, left + full, top + full)
        picture = picture.crop(box).resize((side, side), Image.Resampling.BILINEAR)
        middle = ((np.arange(side) + 0.5) * full / side).astype(int)
        target = target[top : top + full, left : left + full][np.ix_(middle, middle)]
        if self.task == "depth":
            missing = ~(np.isfinite(target) & (target > 0))
            self.left_out += int(missing.sum())
            target = np.where(missing, np.float32(MISSING_DEPTH), target).astype(np.float32)
        return np.asarray(picture, np.uint8).reshape(side, side, self.channels), np.ascontiguousarray(target)

    def _check(self, name: str, target: np.ndarray) -> None:
        if self.task == "segmentation":
            classes = len(self.pairs.class_names)
            beyond = target[(target >= classes) & (target != IGNORED)]
            if len(beyond):
                raise UserError(
                    f"data.name: the mask of {name} holds class {int(beyond.max())}, but there are {classes} classes (0 to {classes - 1}, "
                    f"{IGNORED} for none) in {beyond.size:,} pixels: correct the mask"
                )
        elif self.spec.invalid_depth == "refuse":
            wrong = target[~(np.isfinite(target) & (target > 0))]
            if len(wrong):
                raise UserError(
                    f"data.name: the depth of {name} is zero, negative or not finite in {len(wrong):,} of {target.size:,} pixels "
                    f"(such as {float(wrong[0]):g}); correct it, or set data.invalid_depth to leave_out"
                )


_TARGETS = {"segmentation": "mask", "depth": "depth"}


def _square(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return top, left and side of the central square."""
    height, width = shape
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side


def _checked(spec: DenseDataSpec, task: str, pairs: DensePairs, sized: _Sized) -> DenseDataset:
    n, classes, side = len(pairs.is_test), len(pairs.class_names), spec.image_size
    digest = hashlib.sha256(repr((task, pairs.class_names, side, sized.channels)).encode() + pairs.is_test.tobytes())
    keep = n * side * side * (sized.channels + (4 if task == "depth" else 1)) <= spec.memory_limit_mb * 2**20
    held: list[Pair] = []
    counts, pixels, total, low, high = np.zeros((2, max(classes, 1)), np.int64), 0, 0.0, np.inf, 0.0
    for place in range(n):
        image, target = sized(place)
        digest.update(image.tobytes() + target.tobytes())
        if keep:
            held.append((image, target))
        if task == "segmentation":
            counts[int(pairs.is_test[place])] += np.bincount(target[target != IGNORED], minlength=classes)
            continue
        known = target[target > 0].astype(np.float64)
        pixels += len(known)
        if len(known):
            low, high = min(low, known.min()), max(high, known.max())
            if not pairs.is_test[place]:
                counts[0] += len(known)
                total += known.sum()
    if task == "segmentation":
        absent = [name for name, count in zip(pairs.class_names, counts[0], strict=True) if not count]
        if absent:
            named = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
            raise UserError(
                f"data.name {spec.name!r}: {len(absent)} of {classes} classes have no pixel in the train split: {named}; every class needs "
                "one, raise data.train"
            )
        facts = {"pixels": int(counts.sum()), "train_share": (counts[0] / counts[0].sum()).tolist(), "absent_from_test": [
            name for name, count in zip(pairs.class_names, counts[1], strict=True) if not count]}  # fmt: skip
    else:
        if not counts[0, 0] or not pixels - counts[0, 0]:
            raise UserError(f"data.name {spec.name!r}: a split has no pixel with a depth")
        facts = {"pixels": pixels, "train_mean": float(total / counts[0, 0]), "range": [float(low), float(high)]}
    test = int(pairs.is_test.sum())
    record = {"train": n - test, "test": test, **facts, "pixels_left_out": sized.left_out}
    read = held.__getitem__ if keep else sized
    return DenseDataset(
        spec.name, pairs.is_test, pairs.class_names, (side, side, sized.channels), digest.hexdigest(), record, keep, read
    )
