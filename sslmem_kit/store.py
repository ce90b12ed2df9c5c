"""The results store: names, layout, creation, writing in whole chunks, completeness, opening and validation.

``results.zarr`` is an xarray ``DataTree`` in Zarr v3. The root holds ``alignment(sample, augmentation, encoder)``, the distance between
the representations of two views; an augmentation is a pair of views, and all pairs among the clean image (view 0) and the k random
views are stored. A writer owns whole chunks: one (sample block, encoder) of ``alignment``, one encoder's row of everything else. What is
written is recorded afterwards, per (encoder, block), in ``/completeness``; a reader is told what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.dtypes import StringDType
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from sslmem_kit import integrity
from sslmem_kit.errors import UserError, few
from sslmem_kit.files import folder_appearing, remove, write_atomically
from sslmem_kit.metadata import MENDED, own_documents, read_documents, write_root
from sslmem_kit.names import (
    ALIGNMENT,
    AUGMENTATION,
    ENCODER,
    EPOCH,
    FILE,
    LAYER,
    MODE,
    ONE_MODEL,
    PARTITIONS,
    SAMPLE,
    TRAINED_ON,
    UNIT,
    VIEW,
)

SCHEMA_VERSION = 1

RECORDED = ("probe_accuracy", "feature_std", "effective_rank", "embedding_std")
"""What is known of an encoder at each recorded epoch, beside alignment: one number each."""

PROBES = ("linear", "knn")

PER_ENCODER = {
    "training": ("loss", "learning_rate"),
    "trajectory": (ALIGNMENT, *RECORDED),
    "downstream": ("accuracy",),
}
"""Groups whose arrays hold one row an encoder, and their variables."""

THUMBNAIL_CHUNK, THUMBNAIL_SHARD = 64, 4096
"""Samples whose thumbnails are decoded together, and that share a file."""

FILE_CHUNK, FILE_SHARD = 512, 2**18
"""The same of the names of samples' files."""

ORIGINAL = ("height", "width")
"""Variables of ``/images`` that say how large an image was, on ``sample``; older stores lack them."""

READ_ENCODERS = 64
"""Encoders whose values are checked together."""

KEPT, RANK = "kept", "rank"
DETAILS = {
    "views": {"thumbnail": (KEPT, VIEW, "y", "x", "channel")},
    "neighbours": {"neighbour": (KEPT, ENCODER, RANK), "distance": (KEPT, ENCODER, RANK)},
}
"""Groups that :mod:`sslmem_kit.details` adds to a scored store, their variables and dimensions; a store may lack them. ``kept`` is a
dimension of its own, because a group inherits ``sample`` from the root, where it is longer."""

LAYERS, UNITS = "layers", "units"
LOCALIZED = {
    LAYERS: {ALIGNMENT: (SAMPLE, ENCODER, LAYER)},
    UNITS: dict.fromkeys(("unit_mem", "standard_error", "response", "background", "strongest"), (ENCODER, UNIT)),
}
"""Groups of a study with ``scoring.layers``: alignment by layer, the mean over augmentations, written with each block of scores; and what
:mod:`sslmem_kit.details` adds about units."""


CHECKED = {"compressors": (ZstdCodec(level=0), Crc32cCodec())}
"""How values are packed: a chunk ends with its checksum."""


class IncompleteStore(UserError):
    """The store lacks results that were asked for."""


def view_pairs(views: int) -> list[tuple[int, int]]:
    """All pairs among the clean image (0) and ``views`` random views, in the order of the augmentation axis."""
    return list(itertools.combinations(range(views + 1), 2))


def create(
    path: Path,
    *,
    samples: xr.Dataset,
    encoders: Sequence[Mapping[str, Any]],
    trained_on: np.ndarray | None,
    views: int,
    policy: str,
    block: int,
    attrs: Mapping[str, Any],
    thumbnails: np.ndarray | None,
    original_shapes: np.ndarray | None = None,
    epochs: int = 0,
    recorded_epochs: Sequence[int] = (),
    tasks: Sequence[str] = (),
    layers: Sequence[str] = (),
) -> None:
    """Create an empty store that appears under its name only when its layout is whole.

    Parameters
    ----------
    path
        Of ``results.zarr``; must not exist.
    samples
        Coordinates on ``sample``: ``sample`` (ascending ids), ``label``, ``partition`` (codes; not where ``trained_on`` is None) and ``file``
        (text; not where samples are in no files of their own).
    encoders
        One mapping each: ``encoder`` (id), ``family``, ``seed``, ``method``, ``backbone``, ``dataset``, and ``design``, by default ``pair``.
    trained_on
        (sample, encoder) bool; None where it is not known, which an audit of one model may be without.
    views
        Number of random views beside the clean image.
    policy
        Name of the policy that the random views are drawn by.
    block
        Samples in a chunk.
    attrs
        Attributes of the root: spec, versions and so on; values must be JSON scalars or strings.
    thumbnails
        (sample, y, x, channel) uint8; None where samples are no images, and there is no ``/images``.
    original_shapes
        (sample, 2) height and width of the images before they were brought to one size; None where it is not known.
    epochs, recorded_epochs
        Length of training; the epochs after which alignment and probe accuracy are recorded. 0 where encoders were trained elsewhere: there
        is no ``/training``, ``/trajectory`` or ``/downstream`` then, and nothing to evaluate.
    tasks
        Names of the downstream tasks.
    layers
        Names of the layers whose alignment is stored too, in forward order, the whole output last.
    """
    pairs = np.array(view_pairs(views))
    n, e = samples.sizes[SAMPLE], len(encoders)
    text = StringDType()
    encoder_coords = {
        name: (ENCODER, np.array([row[name] for row in encoders], np.int64 if name == "seed" else text))
        for name in (ENCODER, "family", "seed", "method", "backbone", "dataset")
    }
    encoder_coords["design"] = (ENCODER, np.array([row.get("design", "pair") for row in encoders], text))
    root = xr.Dataset(
        {
            ALIGNMENT: ((SAMPLE, AUGMENTATION, ENCODER), _absent(n, len(pairs), e)),
            **({} if trained_on is None else {TRAINED_ON: ((SAMPLE, ENCODER), trained_on)}),
        },
        coords={
            **samples.coords,
            "view_a": (AUGMENTATION, pairs[:, 0], {"long_name": "first view of the pair, 0 = clean image"}),
            "view_b": (AUGMENTATION, pairs[:, 1], {"long_name": "second view of the pair"}),
            "policy": (AUGMENTATION, np.full(len(pairs), policy, text)),
            **encoder_coords,
        },
        attrs={"schema_version": SCHEMA_VERSION, "created": datetime.now(UTC).isoformat(timespec="seconds"), **attrs},
    )
    root[ALIGNMENT].attrs = {"long_name": "l2 distance between the l2-normalized representations of two views", "units": "1"}
    if "partition" in root:
        root["partition"].attrs = {"flag_values": list(range(len(PARTITIONS))), "flag_meanings": " ".join(PARTITIONS)}

    blocks = -(-n // block)
    tree = xr.DataTree.from_dict(
        {
            "/": root,
            **_image_group(thumbnails, original_shapes),
            **(_training_groups(n, e, epochs, recorded_epochs, tasks) if epochs else {}),
            "/completeness": xr.Dataset(
                {"scored": ((ENCODER, "block"), np.zeros((e, blocks), bool)), "evaluated": (ENCODER, np.full(e, not epochs))},
                coords={"block_start": ("block", np.arange(blocks) * block)},
                attrs={"block": block},
            ),
            **({f"/{LAYERS}": _layer_group(n, e, layers)} if layers else {}),
        }
    )
    # A group's chunks are one encoder wide, so that writers of different encoders never meet in one.
    encoding = {
        f"/{group.path.strip('/')}": {
            **{name: _file_layout(coord) | CHECKED for name, coord in group.to_dataset(inherit=False).coords.items()},
            **{name: {**_layout(name, variable, block), **CHECKED} for name, variable in group.data_vars.items()},
        }
        for group in tree.subtree
    }
    partial = path.with_name(path.name + ".partial")
    with folder_appearing(path, partial):
        tree.to_zarr(partial, mode="w-", zarr_format=3, consolidated=False, encoding=encoding, write_inherited_coords=False)
        integrity.begin(partial)


def _image_group(thumbnails: np.ndarray | None, original_shapes: np.ndarray | None) -> dict[str, xr.Dataset]:
    if thumbnails is None:
        return {}
    group = xr.Dataset({"thumbnail": ((SAMPLE, "y", "x", "channel"), thumbnails)})
    for axis, name in enumerate(ORIGINAL if original_shapes is not None else ()):
        group[name] = SAMPLE, original_shapes[:, axis].astype(np.int32), {"long_name": f"original {name}", "units": "pixels"}
    return {"/images": group}


def _training_groups(
    samples: int, encoders: int, epochs: int, recorded_epochs: Sequence[int], tasks: Sequence[str]
) -> dict[str, xr.Dataset]:
    """What is known of encoders because they were trained here."""
    recorded, text = np.array(recorded_epochs, np.int64), StringDType()
    losses = {name: ((ENCODER, EPOCH), _absent(encoders, epochs)) for name in PER_ENCODER["training"]}
    path = {
        ALIGNMENT: ((SAMPLE, ENCODER, EPOCH), _absent(samples, encoders, len(recorded))),
        **{name: ((ENCODER, EPOCH), _absent(encoders, len(recorded))) for name in RECORDED},
    }
    accuracy = {"accuracy": ((ENCODER, "task", "probe"), _absent(encoders, len(tasks), len(PROBES)))}
    return {
        "/training": xr.Dataset(losses, {EPOCH: np.arange(1, epochs + 1)}),
        "/trajectory": xr.Dataset(path, {EPOCH: recorded}),
        "/downstream": xr.Dataset(accuracy, {"task": np.array(tasks, text), "probe": np.array(PROBES, text)}),
    }


def _layer_group(samples: int, encoders: int, layers: Sequence[str]) -> xr.Dataset:
    group = xr.Dataset({ALIGNMENT: (LOCALIZED[LAYERS][ALIGNMENT], _absent(samples, encoders, len(layers)))})
    group[ALIGNMENT].attrs = {"long_name": "mean over augmentations; the last layer is the whole output", "units": "1"}
    return group.assign_coords({LAYER: np.array(layers, StringDType())})


def _absent(*shape: int) -> np.ndarray:
    """NaN of a shape, without its memory: chunks that hold nothing else are not written."""
    return np.broadcast_to(np.float32(np.nan), shape)


def _layout(name: str, variable: xr.DataArray, block: int) -> dict[str, tuple[int, ...]]:
    """Chunks of a variable, and shards where these would be too many files."""
    if name == TRAINED_ON:  # written once and read whole
        return {"chunks": variable.shape}
    if name == "thumbnail":  # written once, read a few samples at a time
        inner = min(THUMBNAIL_CHUNK, variable.sizes[SAMPLE])
        outer = -(-min(THUMBNAIL_SHARD, variable.sizes[SAMPLE]) // inner) * inner
        return {"chunks": (inner, *variable.shape[1:]), "shards": (outer, *variable.shape[1:])}
    return {"chunks": tuple(_chunk(dim, size, block) for dim, size in variable.sizes.items())}


def _file_layout(coord: xr.DataArray) -> dict[str, tuple[int, ...]]:
    """Chunks and shards of the names of files, of which a few are read at a time; of other coordinates what zarr takes."""
    if coord.name != FILE:
        return {}
    inner = min(FILE_CHUNK, coord.size)
    return {"chunks": (inner,), "shards": (-(-min(FILE_SHARD, coord.size) // inner) * inner,)}


def _chunk(dim: str, size: int, block: int) -> int:
    if dim == SAMPLE:
        return max(1, min(size, block))
    return 1 if dim in (ENCODER, "block") else max(1, size)


def write_alignment(path: Path, *, encoder: int, block: int, values: np.ndarray, layers: np.ndarray | None = None) -> None:
    """Write one block of samples of one encoder, (sample, augmentation) float32, and record it as scored.

    ``layers`` is the same block's alignment by layer, (sample, layer) float32, for a store that was created with layers.
    """
    group = _open_for_writing(path)
    start = int(group["completeness/block_start"][block])
    group[ALIGNMENT][start : start + len(values), :, encoder] = values
    if layers is not None:
        group[f"{LAYERS}/{ALIGNMENT}"][start : start + len(layers), encoder, :] = layers
    integrity.note(path, str(encoder), integrity.block_names(encoder, block, layers=layers is not None))
    group["completeness/scored"][encoder, block] = True


def mean_alignment(path: Path, *, encoder: int) -> np.ndarray:
    """Mean over augmentations of an encoder's alignment, (sample,) float32."""
    return _open_for_writing(path)[ALIGNMENT][:, :, encoder].mean(axis=1)


def write_evaluation(path: Path, *, encoder: int, rows: Mapping[str, np.ndarray]) -> None:
    """Write an encoder's rows, keys ``group/variable``, and record the encoder as evaluated.

    A store that an earlier version began has a place for fewer numbers: the others are left out.
    """
    group = _open_for_writing(path)
    for name, row in rows.items():
        if name not in group:
            continue
        array = group[name]
        if name == "downstream/accuracy":
            row = row[:, : array.shape[-1]]
        if name == f"trajectory/{ALIGNMENT}":
            array[:, encoder, :] = row
        else:
            array[encoder] = row
    integrity.note(path, str(encoder), integrity.rows_of(own_documents(path), encoder))
    group["completeness/evaluated"][encoder] = True


def take_back(path: Path, *, encoder: int, block: int | None) -> None:
    """Record a block of an encoder as not scored, or with None the encoder as not evaluated."""
    _mark(path, encoder, block, done=False)


def give_back(path: Path, *, encoder: int, block: int | None) -> None:
    """Undo :func:`take_back`, for values that have turned out to be whole."""
    _mark(path, encoder, block, done=True)


def forget_encoder(path: Path, encoder: int) -> None:
    """Take back all that rests on an encoder's weights, where it has other ones now."""
    for block in np.flatnonzero(_open_for_writing(path)["completeness/scored"][encoder]).tolist():
        take_back(path, encoder=encoder, block=block)
    take_back(path, encoder=encoder, block=None)
    for group in ("neighbours", UNITS):
        remove(path / group)


def _mark(path: Path, encoder: int, block: int | None, *, done: bool) -> None:
    group = _open_for_writing(path)["completeness"]
    if block is None:
        remove(path / "completeness" / "evaluated" / "c" / str(encoder))  # it may be damaged
        group["evaluated"][encoder] = done
    else:
        remove(path / "completeness" / "scored" / "c" / str(encoder) / str(block))
        group["scored"][encoder, block] = done


def unscored_blocks(path: Path, encoder: int) -> list[int]:
    """Numbers of the blocks that are still to be scored by an encoder."""
    return np.flatnonzero(~_open_for_writing(path)["completeness/scored"][encoder]).tolist()


def complete(path: Path) -> np.ndarray:
    """Whether each encoder is scored and evaluated, (encoder,) bool."""
    group = _open_for_writing(path)
    return group["completeness/scored"][:].all(axis=1) & group["completeness/evaluated"][:]


def is_evaluated(path: Path, encoder: int) -> bool:
    """Whether an encoder's training, trajectory and downstream rows are written."""
    return bool(_open_for_writing(path)["completeness/evaluated"][encoder])


def attributes(path: Path) -> dict[str, Any]:
    """Attributes of the root, as stored."""
    return dict(_open_for_writing(path).attrs)


def set_attributes(path: Path, attrs: Mapping[str, Any]) -> None:
    """Add attributes to the root."""
    write_root(path, attributes=attrs, consolidated=False)


def finish(path: Path) -> None:
    """Consolidate the metadata: the last write of a run."""
    write_root(path, attributes={}, consolidated=True)


def is_finished(path: Path) -> bool:
    """Whether :func:`finish` was the last to write here."""
    return b'"consolidated_metadata"' in (path / "zarr.json").read_bytes()


def sample_ids(path: Path) -> np.ndarray:
    """Ids of the scored samples, ascending."""
    return _open_for_writing(path)[SAMPLE][:]


def unlisted_details(path: Path) -> list[str]:
    """Groups of ``DETAILS`` that a reader does not see: not there, or moved in after the last :func:`finish`."""
    listed = zarr.open_group(path, mode="r")
    return [name for name in (*DETAILS, *([UNITS] if LAYERS in listed else [])) if name not in listed]


class _OnDisk(LocalStore):
    """A store on disk of which every file is there for good before the next is written: what is recorded has survived a loss of power."""

    async def set(self, key: str, value: Buffer) -> None:
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, value.to_bytes())


def _open_for_writing(path: Path) -> zarr.Group:
    try:
        return zarr.open_group(_OnDisk(path), mode="r+", use_consolidated=False)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise UserError(f"{path}: the results store cannot be opened, its metadata is damaged ({_one_line(error)})") from None


def open_results(path: Path | str, *, allow_incomplete: bool = False, allow_damage: bool = False) -> xr.DataTree:
    """Open a results store lazily.

    That every file is there, of the size and with the last bytes that were written, is seen first; a chunk's checksum when it is read.

    Parameters
    ----------
    path
        Of ``results.zarr``.
    allow_incomplete
        Open a store that lacks results too; what is missing is NaN there, and :func:`missing` names it.
    allow_damage
        Open a store in which values of encoders are damaged too: such a block counts as not scored, such rows as not evaluated. Damaged
        pictures never keep a store from being opened: their files are in the attribute ``damaged_pictures``.

    Raises
    ------
    UserError
        Not a results store, of another schema version, or damaged.
    IncompleteStore
        Results are missing.
    """
    path = Path(path)
    if not (path / "zarr.json").is_file():
        raise UserError(f"{path}: there is no results store here (a folder with a zarr.json)")
    documents = read_documents(path)
    try:
        done = integrity.completeness(path)
        found = integrity.damages(path, documents, whole=False, done=done)
        pictures = [damage.name for damage in found if damage.name.split("/")[0] in integrity.PICTURES]
        numbers = [damage for damage in found if damage.name not in pictures]
        if not all(allow_damage and integrity.place(damage) for damage in numbers):
            raise UserError(_refusal(path, documents, numbers))
        tree = xr.open_datatree(path, engine="zarr", consolidated=is_finished(path), chunks={})
        root = tree.to_dataset(inherit=False)
        # Labels of the axes are small and every reader selects by them: they come into memory, the data and names of files stay lazy.
        tree.dataset = root.assign_coords({name: coord.variable.load() for name, coord in root.coords.items() if name != FILE})
        if "completeness" in tree.children:
            held = dict(zip(("scored", "evaluated"), done[:2], strict=True))
            integrity.mark(found, held["scored"], held["evaluated"])
            kept = {name: (tree["completeness"][name].dims, values) for name, values in held.items()}
            tree["completeness"].dataset = tree["completeness"].to_dataset(inherit=False).assign(kept)
        if pictures:
            tree.attrs["damaged_pictures"] = pictures
    except UserError:
        raise
    except (ValueError, KeyError, OSError, TypeError, RuntimeError) as error:
        if _of_checksum(error):
            raise UserError(f"{path}: the results are damaged, a chunk {_of_checksum(error)}; {_REMEDY}") from None
        raise UserError(f"{path}: the results store cannot be opened, its metadata is damaged ({_one_line(error)})") from None
    version = tree.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(f"{path}: schema_version is {version!r}, this version of sslmem_kit reads {SCHEMA_VERSION}")
    problems = list(schema_problems(tree))
    if problems:
        raise UserError(f"{path}: {problems[0]}")
    absent = missing(tree)
    if absent and not allow_incomplete:
        raise IncompleteStore(
            f"{path}: the study is incomplete, {absent}; `{command(tree)}` on the same directory goes on where it stopped"
        )
    return tree


_REMEDY = f"`sslmem validate` names it, {MENDED}"


def _refusal(path: Path, documents: Mapping[str, Any], found: Sequence[integrity.Damage]) -> str:
    told = integrity.describe(found, documents, integrity.encoder_ids(path))
    more = f" and {len(told) - 1} more" if len(told) > 1 else ""
    return f"{path}: the results are damaged, {told[0]}{more}; `sslmem validate` names all of it, {MENDED}"


def command(tree: xr.DataTree) -> str:
    """What has made a store, and goes on with it."""
    return "sslmem score" if MODE in tree.attrs else "sslmem run"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around what reads values: a chunk that is damaged is the user's to mend."""
    try:
        yield
    except UserError:
        raise
    except (RuntimeError, OSError, ValueError) as error:  # what zarr's codecs raise
        raise UserError(
            f"{path}: a chunk of the results cannot be read ({_of_checksum(error) or _one_line(error)}); {_REMEDY}"
        ) from None


def _of_checksum(error: Exception) -> str:
    """What zarr's codec says with the bytes of two checksums; empty of other errors."""
    return "is not what was written" if "computed checksum do not match" in str(error) else ""


def check_whole(path: Path, values: xr.DataArray, *, what: str = ALIGNMENT) -> None:
    """Refuse values that a complete store has to have and that are not finite; those of a few encoders at a time are in memory.

    Raises
    ------
    UserError
        Chunks were lost after they had been recorded: zarr reads NaN in their place.
    """
    dim = next(name for name in values.dims if name != ENCODER)
    lost = np.zeros(values.sizes[dim], bool)
    for start in range(0, values.sizes.get(ENCODER, 1), READ_ENCODERS):
        part = values.isel({ENCODER: slice(start, start + READ_ENCODERS)}, missing_dims="ignore")
        lost |= ~np.isfinite(part).all([other for other in part.dims if other != dim]).values
    if lost.any():
        raise UserError(
            f"{path}: the {what} of {int(lost.sum())} of {len(lost)} {dim}s is not finite though recorded as scored; chunks are lost, "
            "`sslmem validate` tells more"
        )


def missing(tree: xr.DataTree) -> str:
    """What a store lacks, in words; empty when nothing."""
    group = tree["completeness"].to_dataset()
    scored, evaluated = group["scored"].values, group["evaluated"].values
    ids = tree[ENCODER].values
    unscored = [f"{ids[i]} ({int((~row).sum())} of {row.size} sample blocks)" for i, row in enumerate(scored) if not row.all()]
    unevaluated = [str(ids[i]) for i in np.flatnonzero(~evaluated)]
    parts = []
    if unscored:
        parts.append(f"alignment is missing of {few(unscored)}")
    if unevaluated:
        parts.append(f"training history and probe are missing of {few(unevaluated)}")
    return " and ".join(parts)


def schema_problems(tree: xr.DataTree) -> Iterator[str]:
    """What in a store's layout departs from the schema; the store of an audit, which has a mode, may lack more than others."""
    audited = MODE in tree.attrs
    membership = {TRAINED_ON: (SAMPLE, ENCODER), "partition": (SAMPLE,)}
    unknown = tree.attrs.get(MODE) == ONE_MODEL and not any(name in tree.variables for name in membership)
    expected = {
        ALIGNMENT: (SAMPLE, AUGMENTATION, ENCODER),
        **({} if unknown else membership),
        "label": (SAMPLE,),
        **dict.fromkeys(("view_a", "view_b", "policy"), (AUGMENTATION,)),
        **dict.fromkeys(("family", "seed", "method", "backbone", "dataset"), (ENCODER,)),
    }
    for name, dims in expected.items():
        if name not in tree.variables:
            yield f"the results store has no variable {name!r}"
        elif tree[name].dims != dims:
            yield f"variable {name!r} has dimensions {tree[name].dims}, the schema has {dims}"
    for group in ("completeness",) if audited else ("images", *PER_ENCODER, "completeness"):
        if group not in tree.children:
            yield f"the results store has no group /{group}"
    for group, variables in {**DETAILS, **LOCALIZED}.items():
        for name, dims in variables.items() if group in tree.children else ():
            there = tree[group].variables[name].dims if name in tree[group].variables else None
            if there != dims:
                yield f"group /{group} has {name!r} with dimensions {there}, the schema has {dims}"
    if "partition" in tree.variables and tree["partition"].attrs.get("flag_meanings") != " ".join(PARTITIONS):
        yield f"partition has the flag_meanings {tree['partition'].attrs.get('flag_meanings')!r}, the schema has {' '.join(PARTITIONS)!r}"


def data_problems(tree: xr.DataTree) -> Iterator[str]:
    """What in a complete store's values cannot be: reads everything."""
    ids = tree[SAMPLE].values
    if len(ids) and (np.diff(ids) <= 0).any():
        yield "sample ids are not strictly ascending"
    try:
        for start in range(0, len(ids), 65536):
            values = tree[ALIGNMENT].isel(sample=slice(start, start + 65536)).values
            if not np.isfinite(values).all():
                yield f"alignment holds {int((~np.isfinite(values)).sum())} values that are not finite, in blocks recorded as scored"
                return
            if (values < 0).any() or (values > 2.0001).any():
                yield "alignment holds distances outside 0..2, which l2-normalized representations cannot have"
                return
            if LAYERS in tree.children:
                layers = tree[LAYERS][ALIGNMENT].isel(sample=slice(start, start + 65536)).values
                if not ((layers >= 0) & (layers <= 2.0001)).all():
                    yield f"/{LAYERS}: alignment holds values outside 0..2, in blocks recorded as scored"
                    return
                if np.abs(layers[:, :, -1] - values.mean(axis=1)).max() > 1e-4:
                    yield f"/{LAYERS}: the alignment of the last layer, the whole output, is not that of the root"
                    return
        if "images" in tree.children:
            _ = tree["images/thumbnail"].isel(sample=slice(None, None, max(1, len(ids) // 64))).values
    except (ValueError, OSError, RuntimeError) as error:
        yield f"a chunk cannot be read ({_one_line(error)})"


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
