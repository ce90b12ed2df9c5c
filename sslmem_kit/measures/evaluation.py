"""Evaluation of an encoder: alignment of its study's samples, probes of its representations, and their collapse.

The samples are split over the ranks of a device group; probes are fitted on all of them, by the first rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr

from sslmem_kit.data import Dataset
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.encoders.layers import Layered
from sslmem_kit.measures.alignment import measure
from sslmem_kit.measures.collapse import effective_rank, feature_std
from sslmem_kit.measures.downstream.probes import accuracy, confusion, predict
from sslmem_kit.measures.downstream.tasks import load_task
from sslmem_kit.measures.features import pooled_features
from sslmem_kit.measures.unitmem import measure_units
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.collapse import collapse
from sslmem_kit.store import MOST_CONFUSED, PROBES, mean_of_pairs
from sslmem_kit.training.checkpoints import Record
from sslmem_kit.training.distributed import DeviceGroup
from sslmem_kit.training.objectives import Objective

SPREAD_SAMPLES = 2048
"""Number of samples by whose representations a collapse is detected."""


def score_samples(spec: StudySpec, encoder: Encoder, ids: np.ndarray, loader: ImageLoader) -> np.ndarray:
    """Return the alignment of samples by the study's scoring section, (sample, augmentation) float32."""
    return measure(encoder, loader, ids, **_views(spec))


def score_again(spec: StudySpec, encoder: Encoder, ids: np.ndarray, loader: ImageLoader) -> np.ndarray | None:
    """Return the alignment of samples by the common policy, as :func:`score_samples`; None where it is not asked for, or the same."""
    if spec.second_policy is None:
        return None
    scoring = spec.scoring.model_copy(update={"policy": spec.second_policy})
    return score_samples(spec.model_copy(update={"scoring": scoring}), encoder, ids, loader)


def score_layers(spec: StudySpec, encoder: Encoder, ids: np.ndarray, loader: ImageLoader) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what :func:`score_samples` does and, from the same forward passes, the alignment of ``scoring.layers``.

    Returns
    -------
    (sample, augmentation) and (sample, layer), the latter a mean over augmentations by :func:`sslmem_kit.store.mean_of_pairs`, both
    float32; None in place of the second where no layers are asked for.
    """
    if not spec.scoring.layers:
        return score_samples(spec, encoder, ids, loader), None
    by_layer = list(measure(layered(spec, encoder), loader, ids, **_views(spec)).values())
    return by_layer[-1], np.stack([mean_of_pairs(values, spec.scoring.views) for values in by_layer], axis=1)


def score_together(
    spec: StudySpec, represent: Callable[[torch.Tensor], dict[str, torch.Tensor]], ids: np.ndarray, loader: ImageLoader
) -> list[np.ndarray]:
    """Return what :func:`score_samples` does for several encoders, from the same views; ``represent`` returns the output of each by name."""
    return list(measure(represent, loader, ids, **_views(spec)).values())


def score_units(spec: StudySpec, encoder: Encoder, ids: np.ndarray, loader: ImageLoader) -> xr.Dataset:
    """Return UnitMem of every unit of ``scoring.layers`` over all these samples and the views that are scored."""
    return measure_units(layered(spec, encoder), loader, ids, **_views(spec))


def _views(spec: StudySpec) -> dict[str, Any]:
    """Return the settings of the scored views, from the study's scoring section."""
    scoring = spec.scoring
    return {
        "views": scoring.views,
        "policy": scoring.policy,
        "seed": spec.view_seed,
        "batch_size": scoring.batch_size,
        "precision": scoring.precision,
    }


def layered(spec: StudySpec, encoder: Encoder) -> Layered:
    """Return the encoder with the representations of the study's ``scoring.layers``."""
    return Layered(encoder, spec.scoring.layers, torch.zeros(1, len(encoder.mean), *encoder.image_size, device=encoder.mean.device))


def record(spec: StudySpec, objective: Objective, samples: StudySamples, loader: ImageLoader, device_group: DeviceGroup) -> Record:
    """Measure an encoder in its present state for the records; its objective's mode is left as it was.

    Raises
    ------
    FloatingPointError
        Representations are not finite.
    """
    encoder, training = objective.encoder, objective.training
    objective.eval()
    ids = samples.dataset.ids[samples.scored]
    distances = score_samples(spec, encoder, ids[device_group.slice(len(ids))], loader)
    alignment = mean_of_pairs(distances, spec.scoring.views)
    if not all(device_group.collect(bool(np.isfinite(alignment).all()))):
        raise FloatingPointError
    alignment = device_group.gather(alignment)
    features = _features(spec, encoder, samples.dataset, samples.probe_training, loader, device_group)
    test = _features(spec, encoder, samples.dataset, samples.probe_test, loader, device_group)
    chosen = features[np.linspace(0, len(features) - 1, min(len(features), SPREAD_SAMPLES)).astype(int)]
    with torch.inference_mode():
        embedded = objective.compared(torch.from_numpy(chosen).to(loader.device))
    objective.train(training)
    if not device_group.first:
        return Record(alignment, np.nan, np.nan, np.nan, np.nan)
    labels = samples.dataset.labels
    predicted = _predict("linear", spec, features, labels[samples.probe_training], test, device=loader.device)
    spread = np.nan if embedded is None else feature_std(embedded.float().cpu().numpy())
    std, rank = feature_std(chosen), effective_rank(chosen)
    return Record(
        alignment, accuracy(predicted, labels[samples.probe_test]), std, rank, spread, warning=collapse(std, rank, spread)
    )


def downstream_rows(
    spec: StudySpec, encoder: Encoder, samples: StudySamples, loader: ImageLoader, device_group: DeviceGroup
) -> dict[str, np.ndarray]:
    """Return the store's rows of every probe on every task, ``downstream/...``; on ranks other than the first none.

    ``accuracy`` (task, probe) is NaN where a task has no test split or training samples of one class; ``n_test`` (task,) are the test samples,
    and ``confusion`` (task, probe, class, predicted) counts them, NaN beyond a task's classes and of tasks with more than
    :data:`sslmem_kit.store.MOST_CONFUSED`.
    """
    own = (samples.dataset, samples.probe_training, samples.probe_test, loader)
    accuracies, counts, confusions = [], [], []
    for dataset, training, test, images in (own, *_tasks(spec, samples, loader.device)):
        features, test_features = (_features(spec, encoder, dataset, part, images, device_group) for part in (training, test))
        if not device_group.first:
            continue
        labels, classes = dataset.labels[test], len(dataset.class_names)
        found = [_predict(name, spec, features, dataset.labels[training], test_features, device=loader.device) for name in PROBES]
        counts.append(len(test))
        accuracies.append([accuracy(predicted, labels) for predicted in found])
        confusions.append([confusion(predicted, labels, classes) for predicted in found])
    if not device_group.first:
        return {}
    most = max((len(part[0]) for part in confusions if len(part[0]) <= MOST_CONFUSED), default=0)
    padded = np.full((len(confusions), len(PROBES), most, most), np.nan, np.float32)
    for number, part in enumerate(confusions):
        if (size := len(part[0])) <= most:
            padded[number, :, :size, :size] = part
    rows = {"accuracy": np.array(accuracies), "n_test": np.array(counts)} | ({"confusion": padded} if most else {})
    return {f"downstream/{name}": row for name, row in rows.items()}


def _tasks(spec: StudySpec, samples: StudySamples, device: str):
    for task in spec.downstream.tasks:
        dataset = load_task(task, samples.dataset.image_shape, seed=spec.seed)
        yield dataset, np.flatnonzero(~dataset.is_test), np.flatnonzero(dataset.is_test), ImageLoader(dataset, device)


def _features(
    spec: StudySpec, encoder: Encoder, dataset: Dataset, positions: np.ndarray, loader: ImageLoader, device_group: DeviceGroup
) -> np.ndarray:
    """Return pooled representations of clean images, (sample, feature); on ranks other than the first those of their part."""
    ids = dataset.ids[positions]
    part = pooled_features(encoder, loader, ids[device_group.slice(len(ids))], batch_size=spec.scoring.batch_size)
    return device_group.gather(part)


def _predict(name: str, spec: StudySpec, *parts: np.ndarray, device: str) -> np.ndarray | None:
    return predict(name, spec.downstream, *parts, seed=derive_seed(spec.seed, "probe"), device=device)
