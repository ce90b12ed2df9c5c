"""Scores by how a sample's alignment falls, or rises, while f trains: cumulative loss and epoch of learning.

From ``/trajectory``, the alignment a(e) of each sample after the recorded epochs e_1 < ... < e_n, the last the end of training:

- ``cumulative_loss``: sum over recorded epochs of (e_k - e_(k-1)) a(e_k), e_0 = 0: the alignment loss summed over the training, each epoch
  at the value of the next one that is recorded (CSL, Ravikumar et al. 2025). What is learned late, or never, adds up to more.
- ``learning_epoch``: the epoch from which a stays on the side of its final value of the middle between first and last, a(e) beyond
  (a(e_1) + a(e_n)) / 2; between two recorded epochs by a straight line. What few other samples help to learn is learned late. The middle
  is the sample's own: alignment may rise in training as well as fall, and a level common to all would never be crossed by many.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.names import ALIGNMENT, ENCODER, EPOCH, SAMPLE
from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.replicates import of_f_by_seed

LEAST_EPOCHS = 3
"""Minimum of recorded epochs: of two there is one middle, the same for all samples."""


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """Return the columns under f, (sample, seed).

    Parameters
    ----------
    raw
        None: the store holds what it takes.
    results
        Results of the study, with ``/trajectory``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> {name: column.sizes["seed"] for name, column in reduce(None, _example.tree()).items()}
    {'cumulative_loss': 3, 'learning_epoch': 3}
    """
    alignment = results["trajectory"][ALIGNMENT].transpose(SAMPLE, ENCODER, EPOCH)
    values, epochs = alignment.values.astype(np.float64), alignment[EPOCH].values
    found = {"cumulative_loss": cumulative_loss(values, epochs), "learning_epoch": learning_epoch(values, epochs)}
    return xr.Dataset({name: of_f_by_seed(xr.DataArray(each, dims=(SAMPLE, ENCODER)), results) for name, each in found.items()})


def cumulative_loss(values: np.ndarray, epochs: np.ndarray) -> np.ndarray:
    """Sum over the training of a loss that was recorded after some epochs.

    Parameters
    ----------
    values
        (..., epoch).
    epochs
        Numbers of finished epochs, ascending, (epoch,).

    Examples
    --------
    >>> float(cumulative_loss(np.array([1.0, 0.5, 0.25]), np.array([10, 20, 30])))
    17.5
    """
    return values @ np.diff(epochs, prepend=0)


def learning_epoch(values: np.ndarray, epochs: np.ndarray) -> np.ndarray:
    """Epoch from which values stay beyond the middle between the first and the last, on the side of the last.

    Parameters
    ----------
    values
        (..., epoch).
    epochs
        Numbers of finished epochs, ascending, (epoch,).

    Returns
    -------
    (...,); NaN where first and last are equal or not finite.

    Examples
    --------
    >>> learning_epoch(np.array([[1.0, 0.9, 0.1, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0, 0.25, 0.75, 1.0]]), np.array([10, 20, 30, 40]))
    array([25., 35., 25.])
    """
    first, last = values[..., :1], values[..., -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        way = (values - first) / (last - first)  # 0 at the first, 1 at the last
    before = way.shape[-1] - 1 - np.argmax((way < 0.5)[..., ::-1], axis=-1)  # the last that is not beyond the middle
    before = np.clip(before, 0, len(epochs) - 2)[..., None]
    low, high = (np.take_along_axis(way, before + step, axis=-1)[..., 0] for step in (0, 1))
    start, end = epochs[before[..., 0]], epochs[before[..., 0] + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = start + (0.5 - low) / (high - low) * (end - start)
    return np.where(np.isfinite(way).all(axis=-1), found, np.nan)


def problem(results: xr.DataTree) -> str:
    """Return why a study has no trajectory to read, with the remedy; empty where it has.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> problem(_example.tree()).partition(";")[0]
    'training.record_every: 2 epochs of its encoders were recorded, learning needs at least 3'
    """
    if "trajectory" not in results.children:
        return "comparisons: learning reads what is recorded while encoders train, and these were trained elsewhere; leave it out"
    recorded = results["trajectory"].sizes[EPOCH]
    if recorded < LEAST_EPOCHS:
        return (
            f"training.record_every: {recorded} epochs of its encoders were recorded, learning needs at least {LEAST_EPOCHS}; run the study "
            "anew, in another folder, with a smaller one"
        )
    return ""


COMPARISON = Comparison(
    name="learning",
    title="Loss over the training",
    source="Ravikumar et al. 2025 (CSL); learning time: Toneva et al. 2019",
    definition="alignment under f summed over its training, and the epoch from which it is nearer to its last than to its first value",
    columns={"cumulative_loss": "cumulative alignment loss", "learning_epoch": "epoch of learning"},
    reduce=reduce,
    problem=problem,
)
