"""Downstream tasks: further labelled data sets, brought to the size and the channels that a study's encoders take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sslmem_kit.data import Dataset, load
from sslmem_kit.errors import UserError, join_names
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.seeds import derive_seed


def load_task(spec: DataSpec, image_shape: tuple[int, int, int], *, seed: int) -> Dataset:
    """Load the data of a task in the form of the study's images.

    Images are cropped to their central square and resized, grey ones repeated over three channels, colours weighted to grey by ITU-R
    601 luma: as `sslmem_kit.data.datasets.image_files` does for the images of a study itself.

    Parameters
    ----------
    spec
        Section of the task's data; `DataSpec.image_size` is ignored.
    image_shape
        (height, width, channels) of the study's images, which are squares.
    seed
        Seed of the study, and of the held-out split where the data has none of its own, as in the study: a task on the study's own
        data is tested on samples that no encoder saw.

    Raises
    ------
    UserError
        The data cannot be read, as in `load`.
    """
    side, _, channels = image_shape
    return load(spec.model_copy(update={"image_size": side}), seed=derive_seed(seed, "test side"), channels=channels)


def check_classes(name: str, labels: np.ndarray, test_labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Refuse a task that no classifier can learn.

    Parameters
    ----------
    name
        Name of its data.
    labels, test_labels
        (sample,) integer, of the split that classifiers are fitted on and the one that they are tested on.
    class_names
        Names by label.

    Raises
    ------
    UserError
        The train split has fewer than two classes, the test split is empty, or has classes that the train split has not.

    Examples
    --------
    >>> check_classes("two", np.array([0, 1]), np.array([1, 2]), ["cat", "dog", "ship"])
    Traceback (most recent call last):
    sslmem_kit.errors.UserError: tasks: 'two' is tested on the class ship, of which its train split has no sample; leave it out
    """
    there, absent = np.unique(labels), np.setdiff1d(test_labels, labels)
    if len(there) < 2:
        raise UserError(f"tasks: {name!r} has {len(there)} class in its train split, a classifier needs at least 2; leave it out")
    if not len(test_labels):
        raise UserError(f"tasks: {name!r} has no test split; give it one (data.test_fraction), or leave it out")
    if len(absent):
        named = join_names([str(class_names[label]) for label in absent])
        kinds = "classes" if len(absent) > 1 else "class"
        raise UserError(f"tasks: {name!r} is tested on the {kinds} {named}, of which its train split has no sample; leave it out")
