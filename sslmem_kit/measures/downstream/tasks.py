"""Downstream tasks: further labelled data sets, brought to the size and the channels that a study's encoders take."""

from __future__ import annotations

from sslmem_kit.data import Dataset, load
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
