"""Groups of a results store for looking at samples: the views that were scored, and the nearest neighbours of a sample.

Two groups are about the *kept* samples: ``/views`` has ``thumbnail(kept, view, y, x, channel)``, view 0 the clean image; ``/neighbours``
has ``neighbour(kept, encoder, rank)``, sample ids, and ``distance(kept, encoder, rank)``, the l2 distance of l2-normalized pooled
representations of clean images, -1 and NaN under encoders that are no pairs of f and g. A study with ``scoring.layers`` has a third one,
``/units``, about the units of these layers: ``unit_mem(encoder, unit)`` and what it is made of. They are made when every score is there. A
group is built beside the store and moved into it, so that it is there only when it is whole; studies of earlier versions have none. This
module chooses, writes and checks; torch is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

from sslmem_kit.names import CHANNEL, ENCODER, LAYER, PARTITION, PARTITION_CODE, SAMPLE, UNIT, VIEW
from sslmem_kit.scores import pair_positions
from sslmem_kit.store import file_record, integrity
from sslmem_kit.store.files import folder_appearing
from sslmem_kit.store.layout import CHECKED
from sslmem_kit.store.schema import DETAILS, DUPLICATES, KEPT, LAYERS, LOCALIZED, RANK, TWINS, UNITS

if TYPE_CHECKING:
    from sslmem_kit.data import Dataset
    from sslmem_kit.data.duplicates import Twins

THUMBNAIL_SIDE = 64
"""Thumbnails are at most this many pixels a side."""

EXTREMES = 64
"""Samples that are kept of each end of each partition's scores."""

VIEWS_BYTES = 256 * 2**20
"""Views in a store are at most this large, before compression."""

REFERENCES = 50_000
"""Neighbours are sought among at most this many samples, or among the kept ones where these are more."""

NEIGHBOURS = 8

RULE = (
    f"candidates, and of every partition the {EXTREMES} highest and the {EXTREMES} lowest differences by protocol corrected; "
    f"where their views exceed {VIEWS_BYTES} bytes candidates give way, those nearest to the mean of shared and extra samples first"
)


def shrink(images: np.ndarray) -> np.ndarray:
    """Average images (..., y, x, channel) uint8 over squares of whole pixels, so that no side exceeds ``THUMBNAIL_SIDE``."""
    *leading, height, width, channels = images.shape
    factor = _factor(height, width)
    if factor == 1:
        return images
    y, x = height // factor, width // factor
    blocks = images[..., : y * factor, : x * factor, :].reshape(*leading, y, factor, x, factor, channels)
    return np.rint(blocks.mean(axis=(-4, -2))).astype(np.uint8)


def view_bytes(image_shape: tuple[int, int, int], views: int) -> int:
    """Return the bytes of one kept sample's views: the clean one and ``views`` random ones."""
    height, width, channels = image_shape
    factor = _factor(height, width)
    return (views + 1) * (height // factor) * (width // factor) * channels


def required_bytes(image_shape: tuple[int, int, int], *, views: int, encoders: int, candidates: int, samples: int) -> int:
    """Return the bytes of disk that both groups take, uncompressed."""
    each = view_bytes(image_shape, views)
    kept = min(candidates + 2 * EXTREMES * len(PARTITION_CODE), samples, VIEWS_BYTES // each)
    return kept * (each + encoders * NEIGHBOURS * (8 + 4))


def choose_kept(scores: xr.Dataset, *, bytes_each: int) -> xr.Dataset:
    """Choose the samples that are kept.

    Parameters
    ----------
    scores
        ``difference`` and ``partition`` on ``sample``, by protocol ``corrected``.
    bytes_each
        Size of a sample's views.

    Returns
    -------
    Coordinate ``kept``, ascending sample ids; the attrs hold the rule, and how many samples were dropped.
    """
    difference, codes = scores["difference"].values, scores["partition"].values
    null = difference[np.isin(codes, [PARTITION_CODE["shared"], PARTITION_CODE["extra"]])]
    distance = np.abs(difference - (null.mean() if len(null) else 0.0))
    extreme = np.zeros(len(codes), bool)
    for code in PARTITION_CODE.values():
        members = np.flatnonzero(codes == code)
        ascending = members[np.argsort(difference[members], kind="stable")]
        extreme[ascending[:EXTREMES]] = extreme[ascending[-EXTREMES:]] = True
    wanted = np.flatnonzero(extreme | (codes == PARTITION_CODE["candidate"]))
    by_right = wanted[np.lexsort((-distance[wanted], ~extreme[wanted]))]
    kept = np.sort(by_right[: VIEWS_BYTES // bytes_each])
    attrs = {"kept_rule": RULE, "n_gave_way": len(wanted) - len(kept)}
    return xr.Dataset(coords={KEPT: (KEPT, scores[SAMPLE].values[kept], {"references": SAMPLE})}, attrs=attrs)


def thumbnails(dataset: Dataset, ids: np.ndarray) -> np.ndarray:
    """Return the images of samples, (sample, y, x, channel) uint8, shrunk where they are large, a few at a time."""
    return np.concatenate([shrink(dataset.read(ids[start : start + 1024])) for start in range(0, len(ids), 1024)])


def choose_references(ids: np.ndarray, kept: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the ascending ids of the samples that neighbours are sought among: all, or the kept ones and others, up to ``REFERENCES``."""
    if len(ids) <= REFERENCES:
        return ids
    others = np.setdiff1d(ids, kept)
    sampled = np.random.Generator(np.random.Philox(seed)).choice(others, max(0, REFERENCES - len(kept)), replace=False)
    return np.sort(np.concatenate([kept, sampled]))


def unwritten(path: Path) -> list[str]:
    """Return the names of the groups that ``results.zarr`` at ``path`` does not hold yet."""
    wanted = [*DETAILS, DUPLICATES, *([UNITS] if (path / LAYERS / "zarr.json").is_file() else [])]
    return [name for name in wanted if not (path / name / "zarr.json").is_file()]


def written_kept(path: Path) -> xr.Dataset | None:
    """Return the kept samples of the group that an earlier run wrote: both groups are about the same."""
    for name in DETAILS:
        if name not in unwritten(path):
            group = xr.open_zarr(path / name, consolidated=False)
            return xr.Dataset(
                coords={KEPT: group[KEPT].load()}, attrs={key: group.attrs[key] for key in ("kept_rule", "n_gave_way")}
            )
    return None


def write_views(path: Path, kept: xr.Dataset, thumbnails: np.ndarray) -> None:
    """Add ``/views`` to a store: (kept, view, y, x, channel) uint8."""
    group = kept.assign(thumbnail=(DETAILS["views"]["thumbnail"], thumbnails))
    group["thumbnail"].attrs = {"long_name": "view that was scored, shrunk; view 0 is the clean image"}
    _write(path, "views", group.assign_coords({VIEW: np.arange(thumbnails.shape[1])}), chunk=64)


def write_neighbours(path: Path, kept: xr.Dataset, neighbour: np.ndarray, distance: np.ndarray, *, references: int) -> None:
    """Add ``/neighbours`` to a store: sample ids and distances, (kept, encoder, rank)."""
    dims = DETAILS["neighbours"]
    group = kept.assign(neighbour=(dims["neighbour"], neighbour), distance=(dims["distance"], distance.astype(np.float32)))
    group["neighbour"].attrs = {"long_name": "nearest other samples, by id", "references": SAMPLE}
    group["distance"].attrs = {"long_name": "l2 distance of the l2-normalized pooled representations of clean images", "units": "1"}
    group.attrs["n_reference"] = references
    _write(path, "neighbours", group.assign_coords({RANK: np.arange(1, neighbour.shape[2] + 1)}), chunk=1024)


def write_units(path: Path, pairs: Sequence[xr.Dataset], *, encoders: int) -> None:
    """Add ``/units`` to a store: what :func:`sslmem_kit.measures.unitmem.measure_units` gives for each encoder of a pair, which come
    first among the ``encoders`` of the store."""
    none = pairs[0].map(lambda values: xr.full_like(values, -1 if values.dtype.kind == "i" else np.nan))
    every = [*pairs, *[none] * (encoders - len(pairs))]
    group = xr.concat(every, dim=ENCODER, coords="minimal", compat="equals", join="exact")
    group["unit_mem"].attrs = {"long_name": "(response - background) / (response + background)", "units": "1"}
    group["standard_error"].attrs = {"long_name": "of unit_mem, over views", "units": "1"}
    group["null"].attrs = {"long_name": "unit_mem of a sample that was chosen at random", "units": "1"}
    group["response"].attrs = {"long_name": "mean absolute activation for the strongest sample"}
    group["background"].attrs = {"long_name": "mean absolute activation for all other samples"}
    group["strongest"].attrs = {"long_name": "sample that the unit responds to most, by id; -1: none", "references": SAMPLE}
    text = {LAYER: (UNIT, group[LAYER].values.astype(StringDType())), CHANNEL: (UNIT, group[CHANNEL].values)}
    _write(path, UNITS, group.drop_vars(text).assign_coords(text), chunk=1)


def write_duplicates(path: Path, twins: Twins, ids: np.ndarray, scored: np.ndarray, codes: np.ndarray) -> None:
    """Add ``/duplicates`` to a store.

    Parameters
    ----------
    path
        Path of ``results.zarr``.
    twins
        Near-duplicates of the whole data set, by position.
    ids
        Sample ids of the whole data set.
    scored
        Positions of the scored samples, ascending, as the store has them.
    codes
        Partition code of each scored sample.
    """
    inside = np.zeros(len(ids), bool)
    inside[scored] = True
    kept = inside[twins.first] & inside[twins.second]
    groups = twins.group[scored]
    _, place = np.unique(groups, return_inverse=True)
    members = np.zeros((place.max(initial=-1) + 1, len(PARTITION_CODE)), np.int32)
    np.add.at(members, (place, codes), 1)
    counts = members[place]
    counts[np.arange(len(codes)), codes] -= 1
    dims = TWINS[DUPLICATES]
    group = xr.Dataset(
        {
            "first": (dims["first"], ids[twins.first[kept]], {"references": SAMPLE}),
            "second": (dims["second"], ids[twins.second[kept]], {"references": SAMPLE}),
            "distance": (dims["distance"], twins.distance[kept], {"long_name": "distance of the thumbnails of a pair of twins", "units": "1"}),
            "by": (dims["by"], twins.by[kept], {"long_name": "what found a pair", "flag_masks": [1, 2, 4],
                                                "flag_meanings": "equal_pixels perceptual_hash nearest_neighbours"}),
            "twin_group": (dims["twin_group"], ids[groups], {"long_name": "id of the first of a sample and its twins", "references": SAMPLE}),
            "twins": (dims["twins"], counts, {"long_name": "twins of a sample, by their partition"}),
        },
        {PARTITION: np.array(list(PARTITION_CODE), StringDType())},
        {"threshold": twins.threshold, "views_kept": twins.facts.get("views_kept"), "n_images": len(ids)},
    )  # fmt: skip
    _write(path, DUPLICATES, group, chunk=1)


def problems(tree: xr.DataTree) -> Iterator[str]:
    """Yield what is impossible in the groups that are there, or does not fit the rest of the store, a message each."""
    ids = tree[SAMPLE].values
    for name in DETAILS:
        if name not in tree.children:
            continue
        kept = tree[name][KEPT].values
        if (np.diff(kept) <= 0).any() or not np.isin(kept, ids).all():
            yield f"/{name}: kept is not an ascending list of this study's samples"
        try:
            yield from {"views": _view_problems, "neighbours": _neighbour_problems}[name](tree, kept)
        except (ValueError, OSError, RuntimeError) as error:  # what zarr's codecs raise
            yield f"/{name}: a chunk cannot be read ({' '.join(str(error).split())[:120]})"
    if DUPLICATES in tree.children:
        yield from _twin_problems(tree)
    if UNITS in tree.children:
        yield from _unit_problems(tree)


def _view_problems(tree: xr.DataTree, kept: np.ndarray) -> Iterator[str]:
    thumbnail = tree["views/thumbnail"]
    expected = (len(kept), int(tree["view_b"].max()) + 1, *tree["images/thumbnail"].shape[1:])
    if thumbnail.shape != expected:
        yield f"/views: thumbnail has the shape {thumbnail.shape}, {expected} is what the study has"
    _ = thumbnail.isel({KEPT: slice(None, None, max(1, len(kept) // 64))}).values


def _neighbour_problems(tree: xr.DataTree, kept: np.ndarray) -> Iterator[str]:
    neighbour, distance = tree["neighbours/neighbour"].values, tree["neighbours/distance"].values
    if neighbour.shape != distance.shape or neighbour.shape[:2] != (len(kept), tree.sizes[ENCODER]):
        yield f"/neighbours: the shapes {neighbour.shape} and {distance.shape} do not fit {len(kept)} samples and their encoders"
        return
    pairs = pair_positions(tree)
    neighbour, distance = neighbour[:, pairs], distance[:, pairs]
    if not np.isin(neighbour, tree[SAMPLE].values).all() or (neighbour == kept[:, None, None]).any():
        yield "/neighbours: neighbour holds ids that are no other samples of this study"
    if not ((distance >= 0) & (distance <= 2.0001)).all():
        yield "/neighbours: distance holds values outside 0..2, which l2-normalized representations cannot have"


def _twin_problems(tree: xr.DataTree) -> Iterator[str]:
    group, ids = tree[DUPLICATES].to_dataset(), np.asarray(tree[SAMPLE])
    try:
        first, second, twins = (group[name].values for name in ("first", "second", "twins"))
    except (ValueError, OSError, RuntimeError) as error:
        yield f"/{DUPLICATES}: a chunk cannot be read ({' '.join(str(error).split())[:120]})"
        return
    if not (np.isin(first, ids) & np.isin(second, ids) & (first < second)).all():
        yield f"/{DUPLICATES}: first and second are no pairs of samples of this study"
    if twins.shape != (len(ids), len(PARTITION_CODE)) or (twins < 0).any():
        yield f"/{DUPLICATES}: twins has the shape {twins.shape} or negative counts"


def _unit_problems(tree: xr.DataTree) -> Iterator[str]:
    units = tree[UNITS].to_dataset().isel({ENCODER: pair_positions(tree)})
    try:
        values, strongest = units["unit_mem"].values, units["strongest"].values
    except (ValueError, OSError, RuntimeError) as error:
        yield f"/{UNITS}: a chunk cannot be read ({' '.join(str(error).split())[:120]})"
        return
    one_view = tree.to_dataset()["view_b"].values.max() == 1  # none is left to measure on
    if not (((values >= -1) & (values <= 1)) | (one_view & np.isnan(values))).all():
        yield f"/{UNITS}: unit_mem holds values outside -1..1"
    if not np.isin(strongest, np.append(tree[SAMPLE].values, -1)).all():
        yield f"/{UNITS}: strongest holds ids that are no samples of this study"


def _factor(height: int, width: int) -> int:
    return -(-max(height, width) // THUMBNAIL_SIDE)


def _write(path: Path, name: str, group: xr.Dataset, *, chunk: int) -> None:
    """Build a group beside the store, ``chunk`` kept samples in a chunk, and move it in."""
    encoding = {
        variable: {
            "chunks": tuple(min(chunk, size) if dim == KEPT else max(1, size) for dim, size in group[variable].sizes.items())
        }
        for variable in {**DETAILS, **LOCALIZED, **TWINS}[name]
    }
    if file_record.is_recorded(path):
        encoding = {variable: {**encoding.get(variable, {}), **CHECKED} for variable in group.variables}
    partial = path.with_name(f"{path.name}.{name}.partial")
    with folder_appearing(path / name, partial):
        group.to_zarr(partial, mode="w-", zarr_format=3, consolidated=False, encoding=encoding)
    integrity.note_group(path, name)
