"""The samples of a study: its data set with a partition laid over it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from sslmem_kit.data import Dataset, DataSpec, load
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.partition import UNUSED, PartitionSpec, assign, training_slots
from sslmem_kit.streams import stream_seed
from sslmem_kit.study.spec import StudySpec


@dataclass(frozen=True)
class StudySamples:
    """A data set and the partition code of each of its samples."""

    dataset: Dataset
    codes: np.ndarray
    """(sample,) int8, -1 for samples in no partition."""

    @cached_property
    def scored(self) -> np.ndarray:
        """Positions of the samples that are scored: those of the four partitions, by ascending id."""
        return np.flatnonzero(self.codes != UNUSED)

    def training(self, family: str) -> np.ndarray:
        """Ids of the samples that a family trains on, by slot."""
        return self.dataset.ids[training_slots(self.codes, self.dataset.labels, family)]

    @cached_property
    def probe_training(self) -> np.ndarray:
        """Positions that probes are fitted on: the shared samples, which both families saw; without any, all of the train side."""
        shared = np.flatnonzero(self.codes == PARTITION_CODE["shared"])
        return shared if len(shared) else np.flatnonzero(~self.dataset.is_test)

    @cached_property
    def probe_test(self) -> np.ndarray:
        """Positions that probes are tested on: the test side, which no encoder saw."""
        return np.flatnonzero(self.dataset.is_test)

    @cached_property
    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel in [0, 1], over at most 5,000 samples of the train side, the same for f and g."""
        train = self.dataset.ids[~self.dataset.is_test]
        chosen = train[np.linspace(0, len(train) - 1, min(len(train), 5000)).astype(int)]
        pixels = self.dataset.read(chosen).reshape(-1, self.dataset.image_shape[2]).astype(np.float64) / 255
        return tuple(pixels.mean(axis=0).tolist()), tuple(np.maximum(pixels.std(axis=0), 1e-3).tolist())


def load_samples(spec: StudySpec) -> StudySamples:
    """Load a study's data and draw its partition; the last one is kept, because one process trains several encoders of a study."""
    return _load(spec.data, spec.partition, spec.seed)


@lru_cache(maxsize=1)
def _load(data: DataSpec, partition: PartitionSpec, seed: int) -> StudySamples:
    dataset = load(data, seed=stream_seed(seed, "test side"))
    return StudySamples(dataset, assign(dataset.labels, dataset.is_test, partition, seed=stream_seed(seed, "partition")))
