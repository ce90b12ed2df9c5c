"""Samples of a study: its data set with a partition laid over it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sslmem_kit.data import Dataset, load
from sslmem_kit.data.datasets.known import FOLDERS, stand_in
from sslmem_kit.data.duplicates import Progress, Twins, find_twins
from sslmem_kit.data.folds import folds, left_out_candidates
from sslmem_kit.data.groups import units
from sslmem_kit.data.partition import EMPTY, UNUSED, as_many, assign, partition_sizes, take_out, training_slots
from sslmem_kit.data.plant import by_partition, strata
from sslmem_kit.data.record import across as copies_across
from sslmem_kit.errors import NotThere, UserError
from sslmem_kit.names import FAMILIES, FILE, PARTITION_CODE
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.design import EncoderPlan, grouped
from sslmem_kit.spec.partition import PartitionSpec, RemovalSpec
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.spec.training import TrainingSpec


@dataclass(frozen=True)
class StudySamples:
    """A data set and the partition code of each of its samples."""

    dataset: Dataset
    codes: np.ndarray
    """(sample,) int8, -1 for samples in no partition."""
    assigned: np.ndarray
    """The codes before samples were taken out by ``partition.remove``."""
    spec: StudySpec

    @cached_property
    def scored(self) -> np.ndarray:
        """Return the positions of the samples that are scored: those of the four partitions, by ascending id."""
        return np.flatnonzero(self.codes != UNUSED)

    def slots(self, plan: EncoderPlan) -> np.ndarray:
        """Return the ids that an encoder trains on, by slot; -1 where a sample was left out, so that all others keep slots and views."""
        labels, spec = self.dataset.labels, self.spec
        coin = spec.partition.coin
        if plan.design == "pair":
            positions = training_slots(self.assigned, labels, plan.family, coin=coin)
        elif plan.design == "leave_one_out":
            positions = training_slots(self.assigned, labels, "f", coin=coin)
        else:
            f, g = (training_slots(self.assigned, labels, family, coin=coin) for family in FAMILIES)
            rest = g[self.assigned[g] == PARTITION_CODE["independent"]]
            positions = np.where(f == EMPTY, g, f) if coin else np.concatenate([f, rest])
        ids = np.where((positions == EMPTY) | (self.codes[positions] == UNUSED), -1, self.dataset.ids[positions])
        if plan.design == "subset":
            if plan.seed not in self._cuts:
                seed, count = derive_seed(spec.seed, "folds", plan.seed), spec.design.subsets.folds
                kept = None if self.dataset.groups is None else self.dataset.groups[positions]
                self._cuts[plan.seed] = folds(
                    labels[positions], count, stratified=spec.partition.stratified, seed=seed, groups=kept
                )
            ids[self._cuts[plan.seed] == plan.left_out] = -1
        elif plan.left_out is not None:
            ids[np.isin(ids, self.left_out[plan.left_out])] = -1
        return ids

    @cached_property
    def _cuts(self) -> dict[int, np.ndarray]:
        """Return the fold of each slot, by the seed of the assignment."""
        return {}

    def batches(self, plan: EncoderPlan, *, ranks: int = 1) -> tuple[int, int]:
        """Return samples in an encoder's micro-batch over all ranks, and its optimizer steps per epoch: :func:`epoch_batches`.

        By coin f and g train on random numbers of samples, and take the steps that the smaller has for.
        """
        count = len(self.training(plan))
        if plan.design == "pair" and self.spec.partition.coin:
            count = self.sampled_from(plan) if self.spec.training.privacy else self._smaller_family
        elif plan.design == "leave_one_out":  # trained for as long as those that miss a sample, or the largest group
            count += 0 if plan.left_out is None else len(self.left_out[plan.left_out])
            count -= max(map(len, self.left_out))
        elif (
            plan.design == "subset" and self.dataset.groups is not None and self.spec.design.subsets
        ):  # for as long as those that miss the largest fold
            fold = self._cuts[plan.seed]
            here = fold[self.slots(plan.model_copy(update={"left_out": -1})) >= 0]
            count = len(here) - int(np.bincount(here, minlength=self.spec.design.subsets.folds).max())
        return epoch_batches(self.spec.training, count, ranks=ranks)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Return what was read (:class:`sslmem_kit.data.Dataset`), and the copies across partitions; with the size of batches where it is
        not the spec's, and what was taken out by partition."""
        read = self.dataset.record
        asked = self.spec.training.batch_size
        used = sorted({size for size, _ in map(self.batches, self.spec.encoders)})
        more = {"batch_size": {"asked": asked, "used": used}} if used != [asked] else {}
        if self.spec.partition.remove is not None:
            out = self.assigned[(self.codes == UNUSED) & (self.assigned != UNUSED)]
            counts = {name: int((out == code).sum()) for name, code in PARTITION_CODE.items()}
            more["removed"] = {name: count for name, count in counts.items() if count}
        if self.spec.partition.coin:
            pool = np.isin(self.assigned, [PARTITION_CODE[name] for name in ("candidate", "independent")])
            heads = int((self.assigned == PARTITION_CODE["candidate"]).sum())
            coins = int(pool.sum()) if self.dataset.groups is None else len(np.unique(self.dataset.groups[pool]))
            more["coin"] = {"coins": coins, "candidate": heads, "independent": int(pool.sum()) - heads}
        if "groups" in read:
            more["groups"] = {**read["groups"], "short": self._short()}
        if self.dataset.planted is not None:
            more["planted"] = by_partition(self.dataset.planted, self.assigned)
        if read["copies"] is None:
            return {**read, **more}
        across = copies_across(self.dataset.keys[self.scored], self.codes[self.scored])
        return {**read, "copies": {**read["copies"], "across": across}, **more}

    @cached_property
    def groups(self) -> list[tuple[EncoderPlan, ...]]:
        """Return the encoders as they are trained: one by one, or those at once that are of one design and take equal steps."""
        plans = self.spec.encoders
        return grouped(plans, [(plan.design, *self.batches(plan)) for plan in plans], self.spec.design.together)

    @cached_property
    def parts(self) -> list[list[tuple[EncoderPlan, ...]]]:
        """Return :attr:`groups` in parts that are trained one after the other: g first, where f is scored against it on the way."""
        if self.spec.training.mitigation is None:
            return [self.groups]
        return [[plans for plans in self.groups if plans[0].family == family] for family in ("g", "f")]

    def sampled_from(self, plan: EncoderPlan) -> int:
        """Return the number of samples that DP-SGD samples its batches from: those that an encoder trains on; by coin the number expected of
        both families, for its rate and steps must not depend on who is in."""
        if plan.design == "pair" and self.spec.partition.coin:
            pool = np.isin(self.codes, [PARTITION_CODE[name] for name in ("candidate", "independent")]).sum()
            return int((self.codes == PARTITION_CODE["shared"]).sum() + pool // 2)
        return len(self.training(plan))

    @cached_property
    def _smaller_family(self) -> int:
        """Return the number of samples that the smaller family trains on."""
        own = min(int((self.codes == PARTITION_CODE[name]).sum()) for name in ("candidate", "independent"))
        return int((self.codes == PARTITION_CODE["shared"]).sum()) + own

    def training(self, plan: EncoderPlan) -> np.ndarray:
        """Return the ids of the samples that an encoder trains on."""
        ids = self.slots(plan)
        return ids[ids >= 0]

    def trained_on(self, plans: Sequence[EncoderPlan]) -> np.ndarray:
        """Return whether each encoder is trained on each scored sample: (sample, encoder) bool."""
        scored = self.dataset.ids[self.scored]
        return np.stack([np.isin(scored, self.training(plan)) for plan in plans], axis=1)

    def _short(self) -> dict[str, tuple[int, int]]:
        """Return size and asked size of each partition that whole groups have left room in."""
        asked = partition_sizes(self.spec.partition, int((~self.dataset.is_test).sum()))
        counts = {name: int((self.assigned == code).sum()) for name, code in PARTITION_CODE.items()}
        if self.spec.partition.coin:  # the numbers of these are random
            counts = {name: count for name, count in counts.items() if name in ("shared", "extra")}
        return {name: (count, asked[name]) for name, count in counts.items() if count < asked[name]}

    @cached_property
    def left_out(self) -> list[np.ndarray]:
        """Return the ids that leave-one-out encoders are trained without, by place: a candidate, or its whole group."""
        spec, candidates = self.spec, np.flatnonzero(self.codes == PARTITION_CODE["candidate"])
        unit, _, labels = units(candidates if self.dataset.groups is None else self.dataset.groups[candidates],
                                self.dataset.labels[candidates])  # fmt: skip
        places = left_out_candidates(
            labels,
            spec.design.leave_one_out.samples,
            stratified=spec.partition.stratified,
            seed=derive_seed(spec.seed, "left out"),
        )
        order = np.argsort(unit, kind="stable")
        members = np.split(self.dataset.ids[candidates[order]], np.cumsum(np.bincount(unit))[:-1])
        return [members[place] for place in places]

    @cached_property
    def twins(self) -> Twins:
        """Return the near-duplicates of the data set; they take seconds to find, of a million images minutes."""
        return self.find_twins()

    def find_twins(self, progress: Progress | None = None) -> Twins:
        """Find the near-duplicates of the data set, or return those that are its groups."""
        data = self.dataset
        if data.twins is not None:
            return data.twins
        return find_twins(lambda positions: data.read(data.ids[positions]), len(data), keys=data.keys, progress=progress)

    @cached_property
    def probe_training(self) -> np.ndarray:
        """Return the positions that probes are fitted on: the shared samples, which both families saw; without any, the train split."""
        shared = np.flatnonzero(self.codes == PARTITION_CODE["shared"])
        return shared if len(shared) else np.flatnonzero(~self.dataset.is_test)

    @cached_property
    def probe_test(self) -> np.ndarray:
        """Return the positions that probes are tested on: the test split, which no encoder saw, without groups that are trained on."""
        data = self.dataset
        return np.flatnonzero(
            data.is_test if data.groups is None else data.is_test & ~np.isin(data.groups, data.groups[~data.is_test])
        )

    @cached_property
    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of the data set's channels, the same for every encoder."""
        return channel_statistics(self.dataset)


def channel_statistics(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel in [0, 1], over at most 5,000 samples of the train split."""
    train = dataset.ids[~dataset.is_test]
    chosen = train[np.linspace(0, len(train) - 1, min(len(train), 5000)).astype(int)]
    pixels = dataset.read(chosen).reshape(-1, dataset.image_shape[2]).astype(np.float64) / 255
    return tuple(pixels.mean(axis=0).tolist()), tuple(np.maximum(pixels.std(axis=0), 1e-3).tolist())


Choose = Callable[..., np.ndarray]
"""Function that chooses the candidates that leave a partition: :func:`sslmem_kit.run.removal.chosen_by_scores`, which reads another study."""


def load_samples(spec: StudySpec, *, choose: Choose | None = None) -> StudySamples:
    """Load a study's data and assign its partition; the last one is cached, because one process trains several encoders of a study.

    Parameters
    ----------
    spec
        The study.
    choose
        Function that chooses samples by another study's scores, where ``partition.remove`` names one:
        :func:`sslmem_kit.run.removal.study_samples` passes it.
    """
    return StudySamples(*_load(spec.data, spec.partition, spec.seed, choose), spec)


def samples_to_plan(spec: StudySpec, *, choose: Choose | None = None) -> StudySamples:
    """Load samples as :func:`load_samples`, but without downloads; data that are not there are replaced by what is known of them."""
    try:
        return load_samples(without_download(spec), choose=choose)
    except NotThere:
        name = spec.data.name
        if spec.data.kind == "folder" and spec.name.startswith("paper-"):  # the studies that read these folders
            name = next((folder for folder in FOLDERS if Path(name).name == folder.partition(":")[2]), name)
        dataset = stand_in(spec.data, name)
        if dataset is None:
            raise
        return StudySamples(*_with_partition(dataset, spec.data, spec.partition, spec.seed, choose), spec)


def without_download(spec: StudySpec) -> StudySpec:
    """Return the same study, whose data and tasks are used only where they are on this disk."""
    tasks = tuple(task.model_copy(update={"download": False}) for task in spec.downstream.tasks)
    return spec.model_copy(
        update={
            "data": spec.data.model_copy(update={"download": False}),
            "downstream": spec.downstream.model_copy(update={"tasks": tasks}),
        }
    )


@lru_cache(maxsize=1)
def _load(data: DataSpec, partition: PartitionSpec, seed: int, choose: Choose | None) -> tuple[Dataset, np.ndarray, np.ndarray]:
    return _with_partition(load(data, seed=derive_seed(seed, "test side")), data, partition, seed, choose)


def _with_partition(
    dataset: Dataset, data: DataSpec, partition: PartitionSpec, seed: int, choose: Choose | None
) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Assign the partition of a data set: codes, and codes before samples were taken out."""
    read = dataset.record.get("read", True)
    try:
        codes = assigned = assign(
            strata(dataset), dataset.is_test, partition, seed=derive_seed(seed, "partition"), groups=dataset.groups
        )
    except UserError as error:
        counts = np.bincount(dataset.labels)
        if counts.max() == 1 and not dataset.is_test.any():
            raise UserError(
                f"{error}: each of the {len(counts):,} classes of {data.name!r} has one image, and of a class its last image is never held "
                f"out; give several images a class (a number that identifies each image is no class), or partition.extra 0"
            ) from None
        raise
    if partition.remove is not None:
        if isinstance(partition.remove, RemovalSpec) and not read:
            removed = as_many(partition.remove, assigned)
        elif isinstance(partition.remove, RemovalSpec):
            if choose is None:
                raise ValueError("partition.remove names a study: sslmem_kit.run.removal.study_samples loads these samples")
            removed = choose(partition.remove, dataset, assigned, seed=derive_seed(seed, "removal"))
        else:
            removed = _removed(Path(partition.remove), dataset)
        codes = take_out(assigned, removed)
    return dataset, codes, assigned


def _removed(path: Path, dataset: Dataset) -> np.ndarray:
    """Return the positions of the samples that an npz file lists in ``sample``; a ``data_fingerprint`` in it must be this data's."""
    where = f"partition.remove: {path}"
    if not path.is_file():
        raise UserError(f"{where} is {'not a file' if path.exists() else 'not there'}, an npz file with the array sample is needed")
    if not zipfile.is_zipfile(path):  # np.load would take an .npy or a pickle for what it is not
        raise UserError(f"{where} is not an npz archive, or it is cut short")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("sample", FILE, "data_fingerprint") if name in archive}
            names = archive.files
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise UserError(f"{where} cannot be read ({' '.join(str(error).split())[:120]})") from None
    if "sample" not in arrays:
        raise UserError(f"{where} has no array sample, it holds {', '.join(names) or 'nothing'}")
    ids = arrays["sample"]
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise UserError(f"{where}: sample has dtype {ids.dtype} and shape {ids.shape}, integer sample ids of shape (n,) are needed")
    fingerprint = str(arrays.get("data_fingerprint", dataset.fingerprint))
    if fingerprint != dataset.fingerprint and dataset.record.get("read", True):
        raise UserError(
            f"{where} was made from other data than {dataset.name!r} with this seed, which draws the test split "
            f"(data_fingerprint {fingerprint[:12]} there, {dataset.fingerprint[:12]} here)"
        )
    try:
        positions = dataset.positions(ids)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if FILE in arrays:
        _check_files(arrays[FILE], ids, positions, dataset, where)
    return positions


def _check_files(files: np.ndarray, ids: np.ndarray, positions: np.ndarray, dataset: Dataset, where: str) -> None:
    """Refuse names of files that are not those of the listed samples."""
    if files.shape != ids.shape or files.dtype.kind not in "UT":
        raise UserError(
            f"{where}: file has dtype {files.dtype} and shape {files.shape}, the names of the {len(ids)} files are needed"
        )
    if dataset.files is None:
        raise UserError(f"{where}: it names files, the samples of {dataset.name!r} have none")
    own = dataset.files[positions].astype(object)
    differing = np.flatnonzero(files.astype(object) != own)
    if len(differing):
        first = differing[0]
        raise UserError(
            f"{where}: {len(differing)} of {len(ids)} files are not those of the listed samples (sample {ids[first]} is {own[first]!r} here "
            f"and {str(files[first])!r} there); list the ids that belong to the files, or leave file out"
        )


def channels_first(samples: StudySamples) -> tuple[int, int, int]:
    """Return (channel, y, x) of a study's images."""
    height, width, channels = samples.dataset.image_shape
    return channels, height, width


def epoch_batches(training: TrainingSpec, samples: int, *, ranks: int = 1) -> tuple[int, int]:
    """Return samples in a micro-batch over all ranks, and optimizer steps per epoch.

    Raises
    ------
    UserError
        Too few samples for one step, or a batch that cannot be shared out equally.
    """
    if samples < 2:
        raise UserError(f"partition: a family would train on {samples} sample, at least 2 are needed")
    if training.batch_size % ranks or training.batch_size < 2 * ranks:
        raise UserError(
            f"training.batch_size: {training.batch_size} has to be a multiple of the {ranks} devices, and at least 2 samples on each"
        )
    size = min(training.batch_size, samples // ranks * ranks)
    steps = samples // (size * training.accumulate) if size >= 2 * ranks else 0
    if not steps:
        needed = size * training.accumulate
        raise UserError(
            f"training.accumulate: {training.accumulate} micro-batches of {size} need {needed} samples, a family trains on {samples}"
        )
    return size, steps
