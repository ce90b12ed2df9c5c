"""Studies of an explorer: opened once, read-only, shared by all sessions of a process, within a bounded memory.

Columns (scores, quantities of the store) are computed on demand and cached, the least recently used ones are dropped first. A study whose
store was written to again (encoders or samples appended, a run that ended) is opened anew for the next session.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from sslmem_kit import scores, store
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.cache import Cache, Stamp, stamp_of
from sslmem_kit.explorer.quantities import Quantity, of_scores, of_store
from sslmem_kit.names import ALIGNMENT, ENCODER, EPOCH, FAMILIES, FILE, ONE_MODEL, PAIR, SAMPLE, SSLMEM, TRAINED_ON
from sslmem_kit.scores.audit import NOT_SCORES, mode_of
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.places import find_study
from sslmem_kit.statistics.caveats import caveats, meaningless
from sslmem_kit.statistics.extremes import with_shrunken
from sslmem_kit.statistics.fdr import with_significance
from sslmem_kit.statistics.order import RANK_SCORE, has_order, order_caveat, order_of_pairs, rank_scores, with_order
from sslmem_kit.statistics.variance_components import CrossedScores
from sslmem_kit.statistics.verdict import conclude
from sslmem_kit.study import StudyResults, open_study

CACHE_BYTES = 400_000_000
"""Largest size of the columns that a library caches, in bytes."""


@dataclass(frozen=True, eq=False)
class OpenStudy:
    """Study as the explorer reads it, at one state of its store.

    Attributes
    ----------
    key
        Name in links and menus: that of its folder.
    tree
        Results store; None where there is none yet, or no scores.
    problem
        One sentence on what is missing or wrong and what to do about it; empty for a complete study.
    """

    key: str
    study: StudyResults
    stamp: Stamp
    tree: xr.DataTree | None
    problem: str
    cache: Cache = field(repr=False)
    broken: bool = False
    """True where it cannot be opened; ``problem`` says why."""

    @cached_property
    def ids(self) -> np.ndarray:
        """Sample ids, (sample,) int64, ascending."""
        return self.tree[SAMPLE].values

    @cached_property
    def labels(self) -> np.ndarray:
        """Class numbers, (sample,)."""
        return self.tree["label"].values

    @cached_property
    def partitions(self) -> np.ndarray:
        """Partition codes, (sample,)."""
        return self.tree["partition"].values

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by label; numbers where the store names none."""
        names = self.tree["label"].attrs.get("class_names")
        return tuple(map(str, names)) if names else tuple(map(str, range(int(self.labels.max(initial=0)) + 1)))

    @cached_property
    def caveats(self) -> list[str]:
        """Sentences on what is wrong with the study or limits its numbers, as in the report."""
        if self.tree is None:
            return []
        try:
            with store.reading(self.study.results_path):
                return caveats(self.tree)
        except UserError as error:  # the rest of the page can still be looked at
            return [str(error)]

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the results store; empty where there is none."""
        return {} if self.tree is None else {str(name): value for name, value in self.tree.attrs.items()}

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the data; samples of two studies are the same ones only where it is equal."""
        return str(self.attributes.get("data_fingerprint", ""))

    def encoders(self, **wanted: Sequence[Any]) -> tuple[str, ...]:
        """Return the ids of the usable encoders that match ``encoders(seed=[0, 1], method=["simclr"])``; an empty list matches all."""
        complete = self.usable
        for name, values in wanted.items():
            if values:
                complete = complete & np.isin(self.tree[name].values.astype(object), np.array(list(values), object))
        return tuple(str(name) for name in self.tree[ENCODER].values[complete])

    @cached_property
    def usable(self) -> np.ndarray:
        """Encoders that scored every sample and, in a study that has other designs too, are of a pair of f and g, (encoder,) bool."""
        pairs = scores.of_pairs(self.tree.to_dataset())[ENCODER].values
        return self.tree["completeness/scored"].values.all(axis=1) & np.isin(self.tree[ENCODER].values, pairs)

    def choices(self, name: str) -> list[Any]:
        """Return the values of a coordinate of the usable encoders (``method``, ``backbone``, ``seed``), sorted."""
        return sorted(set(self.tree[name].values[self.usable].tolist()))

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Return the positions of sample ids on the sample axis; ids that the study does not have are left out."""
        ids = np.asarray(ids, np.int64)
        found = np.searchsorted(self.ids, ids)
        return found[self.ids[np.minimum(found, len(self.ids) - 1)] == ids] if len(self.ids) else found[:0]

    def scores(self, protocol: str, encoders: tuple[str, ...]) -> xr.Dataset:
        """Return the scores of :meth:`sslmem_kit.study.Study.scores`, as float32.

        The attributes hold ``verdict`` and ``effect``, of :func:`sslmem_kit.statistics.verdict.conclude`, and ``order_caveat``, empty where
        the order of single samples is to be relied on. That order is of all of a study's encoders that were trained for it, whichever
        ``encoders`` are named.
        """

        def make() -> xr.Dataset:
            with store.reading(self.study.results_path):
                results = self._root
                chosen = results.sel({ENCODER: list(encoders)})
                made = with_shrunken(scores.score_stored(results, protocol=protocol, encoders=encoders), chosen)
                ordered = rank_scores(self._scored, protocol=protocol) if self.ordering == RANK_SCORE else None
                known = order_of_pairs(chosen, protocol) if ordered is None else ordered
                wrong = meaningless(self._present, encoders)
            store.check_whole(self.study.results_path, made["difference"])
            made = with_significance(made)
            if ordered is not None:
                made = with_order(made, ordered)
            made.attrs |= conclude(made, known, meaningless=wrong) | {"order_caveat": order_caveat(known) or ""}
            made = made.drop_dims(ENCODER)
            small = {name: column.astype(np.float32) for name, column in made.data_vars.items() if column.dtype == np.float64}
            return made.assign(small).drop_vars("augmentation", errors="ignore")

        return self.cache.get((self.key, self.stamp, "scores", protocol, encoders), make)

    @property
    def _present(self) -> xr.DataTree:
        """Results store, which those who ask know to be there."""
        return self.tree  # pyright: ignore[reportReturnType]

    @property
    def _root(self) -> xr.Dataset:
        return self._present.to_dataset()

    @cached_property
    def _scored(self) -> xr.Dataset:
        """Root of the results, of the encoders that scored every sample."""
        complete = np.asarray(self._present["completeness/scored"]).all(axis=1)
        return self._root.isel({ENCODER: np.flatnonzero(complete)})

    @cached_property
    def ordering(self) -> str:
        """Quantity that orders single samples: ``rank_score`` where encoders were trained for an order, else ``sslmem``."""
        return RANK_SCORE if self.tree is not None and has_order(self._scored) else SSLMEM

    def crossed(self, protocol: str, encoders: tuple[str, ...], partition: str) -> CrossedScores:
        """Return the crossed scores of a partition, in which what chosen samples are worth is looked up."""

        def make() -> CrossedScores:
            with store.reading(self.study.results_path):
                return CrossedScores.of(self._root.sel({ENCODER: list(encoders)}), protocol, partition)

        return self.cache.get((self.key, self.stamp, "crossed", protocol, encoders, partition), make)

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """Per-sample quantities for axes, colour and order, by key."""
        return {quantity.key: quantity for quantity in (*of_scores(ordered=self.ordering == RANK_SCORE), *of_store(self._present))}

    def column(self, key: str, protocol: str, encoders: tuple[str, ...]) -> np.ndarray:
        """Return the values of a quantity, (sample,) float32; all NaN where these encoders do not have it."""
        quantity = self.quantities[key]

        def make() -> np.ndarray:
            with store.reading(self.study.results_path):
                return quantity.read(self.tree, encoders)

        if quantity.group is None:
            table = self.scores(protocol, encoders)
            return table[key].values.astype(np.float32, copy=False) if key in table else np.full(len(self.ids), np.nan, np.float32)
        return self.cache.get((self.key, self.stamp, key, encoders), make)

    def files(self, positions: np.ndarray) -> np.ndarray | None:
        """Return the names of the files of samples in the order of the positions; None where samples have none."""
        if FILE not in self.tree.coords:
            return None
        # Selected in ascending order, and by way of zarr, which reads the chunks of a shard that hold them and no others.
        ascending, place = np.unique(np.asarray(positions, np.int64), return_inverse=True)
        with store.reading(self.study.results_path):
            return zarr.open_array(self.study.results_path / FILE, mode="r").oindex[ascending][place]

    def is_damaged(self, array: str, position: int) -> bool:
        """Return whether the chunk of pictures (or neighbours) at a place along the first axis is lost or replaced by another."""
        encoding, group = self.tree[array].encoding, array.split("/")[0]
        block = position // (encoding.get("shards") or encoding["chunks"])[0]
        names = [name for name in self.tree.attrs.get("damaged_pictures", ()) if name.startswith(f"{group}/")]
        return any(not name.startswith(f"{array}/c/") or name.startswith(f"{array}/c/{block}/") for name in names)

    def sample(self, position: int) -> SampleRecord:
        """Return the record of one sample."""
        return SampleRecord(self, position)


@dataclass(frozen=True, eq=False)
class SampleRecord:
    """Record of one sample: images, alignment per encoder, path over epochs, neighbours. Every field is read on access."""

    opened: OpenStudy
    position: int

    @property
    def id(self) -> int:
        """Stable id of the sample."""
        return int(self.opened.ids[self.position])

    @cached_property
    def distances(self) -> xr.DataArray:
        """Distance of each pair of views under each usable encoder, (augmentation, encoder), with ``family`` and ``trained_on``."""
        tree = self.opened.tree
        at = {SAMPLE: self.position, ENCODER: np.flatnonzero(self.opened.usable)}
        with store.reading(self.opened.study.results_path):
            # A few small chunks: threads would cost more than they gain.
            seen = tree[TRAINED_ON].isel(at).load(scheduler="sync")
            return (
                tree[ALIGNMENT].isel(at).drop_vars(SAMPLE).load(scheduler="sync").assign_coords(trained_on=(ENCODER, seen.values))
            )

    @cached_property
    def file(self) -> str:
        """Name of the sample's file; empty where it has none."""
        names = self.opened.files(np.array([self.position]))
        return "" if names is None else str(names[0])

    @cached_property
    def original_shape(self) -> tuple[int, int] | None:
        """Height and width of the image before it was resized for scoring; None where they are not known."""
        tree = self.opened.tree
        if "images" not in tree.children or any(name not in tree["images"].data_vars for name in store.ORIGINAL):
            return None
        with store.reading(self.opened.study.results_path):
            height, width = (int(tree["images"][name][self.position]) for name in store.ORIGINAL)
        return height, width

    def alignment(self, protocol: str) -> xr.DataArray:
        """Return the mean alignment under each usable encoder, (encoder,), with ``family``, ``seed`` and ``trained_on``."""
        return scores.mean_over_pairs(scores.select_protocol(self.distances, protocol))

    def trajectory(self) -> xr.DataArray | None:
        """Return the mean alignment over epochs, (family, epoch); None where no epochs are recorded."""
        tree = self.opened.tree
        if "trajectory" not in tree.children:
            return None
        usable = np.flatnonzero(self.opened.usable)
        # A group inherits the indexes of the root, not its other coordinates.
        family = tree["family"].values[usable].astype(object)
        with store.reading(self.opened.study.results_path):
            row = tree["trajectory"][ALIGNMENT].isel({SAMPLE: self.position, ENCODER: usable}).load(scheduler="sync")
        if row.sizes[EPOCH] < 2 or not np.isfinite(row).any():
            return None
        values = row.transpose(ENCODER, EPOCH).values
        means = [values[family == name].mean(axis=0) for name in FAMILIES]
        return xr.DataArray(means, coords={"family": list(FAMILIES), EPOCH: row[EPOCH].values}, dims=("family", EPOCH))

    def views(self) -> np.ndarray | None:
        """Return the views that were scored, (view, y, x, channel) uint8, view 0 the clean image; None where they were not kept."""
        return self._kept("views", "thumbnail")

    def neighbours(self) -> xr.Dataset | None:
        """Return ``neighbour`` (ids) and ``distance`` under each usable encoder, (encoder, rank); None where they were not kept."""
        if not self._has("neighbours"):
            return None
        self._check("neighbours", "neighbour")
        group = self.opened.tree["neighbours"].to_dataset()
        with store.reading(self.opened.study.results_path):
            return group.isel({ENCODER: np.flatnonzero(self.opened.usable)}).sel(kept=self.id).load(scheduler="sync")

    def layers(self) -> xr.DataArray | None:
        """Return the alignment by layer under each usable encoder, (encoder, layer); None where the store has no layers."""
        if "layers" not in self.opened.tree.children:
            return None
        at = {SAMPLE: self.position, ENCODER: np.flatnonzero(self.opened.usable)}
        with store.reading(self.opened.study.results_path):
            return self.opened.tree["layers"].to_dataset()[ALIGNMENT].isel(at).load(scheduler="sync")

    def _has(self, group: str) -> bool:
        return group in self.opened.tree.children and bool((self.opened.tree[f"{group}/kept"].values == self.id).any())

    def _check(self, group: str, name: str) -> None:
        place = int(np.searchsorted(self.opened.tree[f"{group}/kept"].values, self.id))
        if self.opened.is_damaged(f"{group}/{name}", place):
            raise UserError(f"the {group} of this sample are damaged; `sslmem run` on the study's directory makes them again")

    def _kept(self, group: str, name: str) -> np.ndarray | None:
        if not self._has(group):
            return None
        self._check(group, name)
        with store.reading(self.opened.study.results_path):
            return self.opened.tree[group].to_dataset(inherit=False)[name].sel(kept=self.id).load(scheduler="sync").values


class Library:
    """Studies of an explorer.

    Raises
    ------
    UserError
        A path is no study, or the only study is damaged, or its store is of another schema. Of several studies, such a one is shown with
        its problem.
    """

    def __init__(self, paths: Sequence[Path | str], *, cache_bytes: int = CACHE_BYTES) -> None:
        if not paths:
            raise UserError("STUDY: name at least one study directory")
        self.cache = Cache(cache_bytes)
        self._lock = threading.Lock()
        self._studies: dict[str, StudyResults] = {}
        self._open: dict[str, OpenStudy] = {}
        for path in paths:
            study = StudyResults(find_study(path))
            if len(paths) == 1 or not study.spec_path.is_file():
                open_study(path)
            if any(study.path.resolve() == other.path.resolve() for other in self._studies.values()):
                continue
            name = key = study.path.resolve().name
            number = 1
            while key in self._studies:
                number += 1
                key = f"{name} ({number})"
            self._studies[key] = study
            opened = self.open(key)
            if len(paths) == 1 and opened.broken:
                raise UserError(opened.problem.rstrip("."))

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the studies, in the order in which they were given."""
        return tuple(self._studies)

    def open(self, key: str) -> OpenStudy:
        """Return the study, at the present state of its store."""
        study = self._studies[key]
        with self._lock:
            stamp = stamp_of(study.results_path)
            held = self._open.get(key)
            if held is None or held.stamp != stamp:
                held = self._open[key] = _opened(key, study, stamp, self.cache)
            return held


def _opened(key: str, study: StudyResults, stamp: Stamp, cache: Cache) -> OpenStudy:
    try:
        made_by = "sslmem score" if isinstance(study.spec, AuditSpec) else "sslmem run"
    except UserError as error:
        return OpenStudy(key, study, stamp, None, f"{error}.", cache, broken=True)
    command = f"run `{made_by}` on its directory to resume"
    if not study.results_path.exists():
        return OpenStudy(key, study, stamp, None, f"This study has no results yet: {command}.", cache)
    try:
        tree = store.open_results(study.results_path, allow_incomplete=True, allow_damage=True)
    except UserError as error:
        return OpenStudy(key, study, stamp, None, f"{error}.", cache, broken=True)
    absent = store.missing(tree)
    mode = mode_of(tree)
    if mode not in (None, PAIR):
        reason = (
            f"This is {NOT_SCORES}"
            if mode == ONE_MODEL
            else "The explorer shows scores of f against g, this audit has numbered subsets"
        )
        return OpenStudy(key, study, stamp, None, f"{reason}. `sslmem report` and `sslmem export` give what it holds.", cache)
    opened = OpenStudy(key, study, stamp, tree, f"This study is incomplete, {absent}: {command}." if absent else "", cache)
    kept = opened.encoders()
    families = {str(tree["family"].sel({ENCODER: name}).item()) for name in kept}
    if families >= set(FAMILIES):
        return opened
    return OpenStudy(
        key, study, stamp, None, f"Scores need an encoder of f and one of g, {len(kept)} are complete: {command}.", cache
    )
