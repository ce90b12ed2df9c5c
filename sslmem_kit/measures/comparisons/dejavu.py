"""Deja Vu memorization (Meehan et al. 2023), measured of one encoder: does it know the class of an object that it is not shown?

A part of an image that leaves its object out (:mod:`sslmem_kit.measures.comparisons.crops`) is embedded, and its nearest neighbours among the
embeddings of labelled public images, whole ones that no encoder of the study saw, vote for a class
(:mod:`sslmem_kit.measures.comparisons.neighbours`). Backgrounds say something of objects: an encoder that was trained on the image must
know more than one that was not (:mod:`sslmem_kit.statistics.dejavu`). Embeddings are pooled representations; the authors' are behind the
projector, where they find more, and their distances are not of normalized embeddings.

References
----------
Meehan, Bordes, Vincent, Chaudhuri and Guo, "Do SSL models have deja vu? A case of unintended memorization in self-supervised learning",
NeurIPS 2023.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import xarray as xr

from sslmem_kit.data import Dataset
from sslmem_kit.data.loader import ImageLoader, in_batches
from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.encoders.device import plain_float32
from sslmem_kit.errors import UserError
from sslmem_kit.measures.comparisons.correlation import FOLDS, class_probabilities, spread_over_folds, thumbnails
from sslmem_kit.measures.comparisons.crops import Boxes, backgrounds_of, read_boxes, show
from sslmem_kit.measures.comparisons.neighbours import (
    Public,
    confidence,
    consistency,
    named,
    nearest_of_other_folds,
    nearest_public,
    public_set,
    votes,
)
from sslmem_kit.measures.downstream.tasks import load_task
from sslmem_kit.measures.features import pooled_features
from sslmem_kit.names import SAMPLE
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.dejavu import Crop, DejaVuSpec

if TYPE_CHECKING:
    from sslmem_kit.measures.comparisons.subject import Subject

CROP, NEIGHBOURS, PUBLIC = "crop", "neighbours", "public_sample"
BLANKED = Crop("periphery", 0.7)
"""What is shown of public images without boxes where a study's backgrounds are shown."""


class PublicSamples(NamedTuple):
    """Labelled samples that neighbours are among."""

    loader: ImageLoader
    ids: np.ndarray
    labels: np.ndarray
    """Class of each, (public,) int64: a position in ``class_names``."""
    class_names: tuple[str, ...]
    """Names of the classes that they are of."""
    is_own: bool
    """Whether they are of the study's own data."""


class _Shown(NamedTuple):
    """Samples of which a part is shown."""

    loader: ImageLoader
    ids: np.ndarray
    classes: np.ndarray
    """Class of each among the public ones, -1 where there is none."""
    folds: np.ndarray
    own: np.ndarray
    """Position of each among the public samples, -1 where it is none."""


def measure(subject: Subject, options: DejaVuSpec) -> xr.Dataset:
    """Return what an encoder names from parts of images.

    Parameters
    ----------
    subject
        Encoder, samples and images of a study.
    options
        What is shown, and how many neighbours vote.

    Returns
    -------
    On (sample, crop, neighbours) float32: ``consistency`` (share of the neighbours with the sample's class), ``named`` (1 where the class of
    most is the sample's) and ``confidence`` (1 minus the entropy of their classes as a share of its maximum). Of the first crop and number,
    on ``sample`` and, with ``public_`` before their names, on ``public_sample``: ``held_consistency`` and ``held_named``, with neighbours
    among the public samples of other folds, and ``reference_probability`` and ``reference_named``, what
    :func:`sslmem_kit.measures.comparisons.correlation.class_probabilities` says of the sample's class. NaN of samples whose class is not
    public, or that have no background.

    Raises
    ------
    UserError
        Public samples without labels, of one class, of none of the study's classes or fewer than the neighbours; boxes as in
        :func:`sslmem_kit.measures.comparisons.crops.read_boxes`.
    """
    dataset, encoder, size = subject.samples.dataset, subject.encoder, subject.spec.scoring.batch_size
    boxes = None if options.boxes is None else read_boxes(options.boxes, dataset)
    public = public_samples(subject, options)
    check_neighbours(options.neighbours, len(public.ids))
    folds = spread_over_folds(public.labels)
    others = _Shown(public.loader, public.ids, public.labels, folds, np.arange(len(public.ids)))
    scored = _scored(subject, public, folds)
    features = pooled_features(encoder, public.loader, public.ids, batch_size=size)
    device = public.loader.device
    known = public_set(*(torch.from_numpy(np.asarray(part)).to(device) for part in (features, public.labels)),
                       folds=torch.from_numpy(folds).to(device))  # fmt: skip
    crops = options.parsed_crops
    without_boxes = crops[0].kind == "background" and not public.is_own
    found = look(encoder, scored, known, crops, options.neighbours, boxes=boxes, batch_size=size)
    of_public = look(encoder, others, known, (BLANKED,) if without_boxes else crops[:1], options.neighbours[:1], boxes=boxes,
                     batch_size=size)  # fmt: skip
    _add_reference(found, of_public, scored, others, len(public.class_names))
    dims = (SAMPLE, CROP, NEIGHBOURS)
    columns = {name: (dims[: values.ndim], values) for name, values in found.items()}
    of_one = ("held_consistency", "held_named", "reference_probability", "reference_named")
    columns |= {f"public_{name}": (PUBLIC, of_public[name]) for name in of_one}
    coords = {SAMPLE: subject.ids, CROP: [crop.name for crop in crops], NEIGHBOURS: [*options.neighbours], PUBLIC: public.ids}
    return xr.Dataset(columns, coords)


def public_samples(subject: Subject, options: DejaVuSpec) -> PublicSamples:
    """Return the labelled samples that neighbours are among: the study's test split, or all samples of other data.

    Raises
    ------
    UserError
        No samples, one class alone, no class in common with the study's, or the study's own data named as other data.
    """
    own = subject.samples.dataset
    if options.public is None:
        dataset, loader, positions = own, subject.loader, subject.samples.probe_test
        what, remedy = f"the test split of {own.name!r}", "name labelled data in public, or hold samples out (data.test_fraction)"
    elif options.public.name == own.name:
        raise UserError(
            f"public: {own.name!r} is the study's own data, of which encoders saw a part; leave public out, or name other data"
        )
    else:
        dataset, loader = _load(options.public.model_dump_json(), own.image_shape, subject.spec.seed, subject.loader.device)
        positions = np.arange(len(dataset))
        what, remedy = repr(dataset.name), "name labelled data, with a folder a class"
    present, labels = np.unique(dataset.labels[positions], return_inverse=True)
    if len(present) < 2:
        count = "no samples" if not len(positions) else f"no labels, or one class alone ({dataset.class_names[present[0]]})"
        raise UserError(f"public: {what} has {count}, neighbours of at least 2 classes are needed; {remedy}")
    names = tuple(str(dataset.class_names[label]) for label in present)
    if not set(names) & set(own.class_names):
        raise UserError(
            f"public: the classes of {what} ({names[0]}, ...) are none of those of {own.name!r} ({own.class_names[0]}, ...); name data "
            "whose classes have the same names"
        )
    return PublicSamples(loader, dataset.ids[positions], labels.astype(np.int64), names, dataset is own)


@lru_cache(maxsize=1)
def _load(spec: str, image_shape: tuple[int, int, int], seed: int, device: str) -> tuple[Dataset, ImageLoader]:
    """Return public data by the JSON of their spec; the last ones are cached, because one process measures several encoders."""
    dataset = load_task(DataSpec.model_validate_json(spec), image_shape, seed=seed)
    return dataset, ImageLoader(dataset, device)


def check_neighbours(neighbours: tuple[int, ...], public: int) -> None:
    """Refuse more neighbours than there are public samples outside of a fold.

    Examples
    --------
    >>> check_neighbours((20, 500), 100)
    Traceback (most recent call last):
    sslmem_kit.errors.UserError: neighbours: 500 is more than the 80 of 100 public samples that are looked among at a time; \
give at most 80, or name a larger set in public
    """
    most = public - -(-public // FOLDS)
    if max(neighbours) > most:
        raise UserError(
            f"neighbours: {max(neighbours)} is more than the {most} of {public} public samples that are looked among at a time; give at most "
            f"{most}, or name a larger set in public"
        )


def _scored(subject: Subject, public: PublicSamples, public_folds: np.ndarray) -> _Shown:
    """Return the samples of a study, those that are public too in the same folds."""
    dataset = subject.samples.dataset
    labels = dataset.labels[dataset.positions(subject.ids)]
    places = {name: place for place, name in enumerate(public.class_names)}
    classes = np.array([places.get(str(name), -1) for name in dataset.class_names], np.int64)[labels]
    own = np.full(len(subject.ids), -1)
    if public.is_own:
        order = np.argsort(public.ids)
        place = order[np.minimum(np.searchsorted(public.ids[order], subject.ids), len(order) - 1)]
        own = np.where(public.ids[place] == subject.ids, place, -1)
    folds = np.where(own >= 0, public_folds[own], spread_over_folds(labels))
    return _Shown(subject.loader, subject.ids, classes, folds, own)


@torch.inference_mode()
def look(
    encoder: Encoder,
    shown: _Shown,
    public: Public,
    crops: tuple[Crop, ...],
    neighbours: tuple[int, ...],
    *,
    boxes: Boxes | None,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Return what neighbours of parts of images say, as :func:`measure`, and ``thumbnails`` of the first part, in batches of samples.

    A batch is read once, and its similarities to :data:`sslmem_kit.measures.comparisons.neighbours.PUBLIC_BLOCK` public samples are held at a
    time, so that memory does not grow with the samples of either side.
    """
    size = (len(shown.ids), len(crops), len(neighbours))
    found = {name: np.full(size, np.nan, np.float32) for name in ("consistency", "named", "confidence")}
    found |= {name: np.full(len(shown.ids), np.nan, np.float32) for name in ("held_consistency", "held_named")}
    small, end, device = [], 0, shown.loader.device
    # The data set's mean, which normalization makes zero.
    fill = encoder.mean
    with plain_float32():
        for images in shown.loader.batches(in_batches(shown.ids, batch_size)):
            part = slice(end, end + len(images))
            end = part.stop
            classes, folds, own = (torch.from_numpy(values[part]).to(device) for values in shown[2:])
            for place, crop in enumerate(crops):
                rectangles, there = None, np.ones(len(images), bool)
                if crop.kind == "background":
                    data = shown.loader.dataset
                    rectangles, there = backgrounds_of(data, shown.ids[part], boxes or {}, least=crop.fraction)
                    rectangles = torch.from_numpy(rectangles).to(device)
                view = show(images, crop, fill=fill, backgrounds=rectangles)
                embedded = encoder.pool(encoder(view)).float()
                nearest = nearest_public(public, embedded, max(neighbours), own=own)
                labels = public.labels[nearest]
                asked = torch.where(torch.from_numpy(there).to(device), classes, -1)
                for number, count in enumerate(neighbours):
                    counts = votes(labels[:, :count], public.classes)
                    found["consistency"][part, place, number] = consistency(counts, asked).cpu()
                    found["named"][part, place, number] = named(counts, asked).cpu()
                    sure = torch.where(asked < 0, torch.nan, confidence(counts))
                    found["confidence"][part, place, number] = sure.cpu()
                if place == 0:
                    held = nearest_of_other_folds(public, embedded, nearest, neighbours[0], own=own, folds=folds)
                    counts = votes(public.labels[held], public.classes)
                    found["held_consistency"][part] = consistency(counts, asked).cpu()
                    found["held_named"][part] = named(counts, asked).cpu()
                    small.append(thumbnails(view).cpu().numpy())
    return found | {"thumbnails": np.concatenate(small)}


def _add_reference(
    found: dict[str, np.ndarray], of_public: dict[str, np.ndarray], scored: _Shown, others: _Shown, classes: int
) -> None:
    """Put what the reference says of each sample's class in place of thumbnails."""
    mine, theirs = found.pop("thumbnails"), of_public.pop("thumbnails")
    there = np.isfinite(of_public["held_named"])
    both = class_probabilities(
        theirs[there],
        others.classes[there],
        others.folds[there],
        np.concatenate([mine, theirs]),
        np.concatenate([scored.folds, others.folds]),
        classes=classes,
    )
    for columns, shown, part in ((found, scored, both[: len(mine)]), (of_public, others, both[len(mine) :])):
        known = np.isfinite(columns["held_named"])
        own = np.take_along_axis(part, np.maximum(shown.classes, 0)[:, None], axis=1)[:, 0]
        columns["reference_probability"] = np.where(known, own, np.nan).astype(np.float32)
        columns["reference_named"] = np.where(known, part.argmax(axis=1) == shown.classes, np.nan).astype(np.float32)
