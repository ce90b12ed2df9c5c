"""Creation of a store: its groups, and how arrays are cut into chunks and shards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType
from zarr.codecs import Crc32cCodec, ZstdCodec

from sslmem_kit.names import (
    ALIGNMENT,
    AUGMENTATION,
    ENCODER,
    EPOCH,
    FILE,
    FIXED_WEIGHTS,
    LAYER,
    PAIRS_OF_VIEWS,
    PARTITIONS,
    SAMPLE,
    TRAINED_ON,
)
from sslmem_kit.store import integrity
from sslmem_kit.store.files import folder_appearing
from sslmem_kit.store.schema import (
    COMMON,
    LAYERS,
    LOCALIZED,
    MOST_CONFUSED,
    ORIGINAL,
    PER_ENCODER,
    PROBES,
    RECORDED,
    SCHEMA_VERSION,
    SECOND,
    view_pairs,
)

CHECKED = {"compressors": (ZstdCodec(level=0), Crc32cCodec())}
"""Encoding of values: a chunk ends with its checksum."""

THUMBNAIL_CHUNK, THUMBNAIL_SHARD = 64, 4096
"""Samples whose thumbnails are decoded together, and that share a file."""

FILE_CHUNK, FILE_SHARD = 512, 2**18
"""The same of the names of samples' files."""


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
    tasks: Mapping[str, Sequence[str]] | None = None,
    layers: Sequence[str] = (),
    common_policy: str | None = None,
) -> None:
    """Create an empty store that appears under its name only when its layout is whole.

    Parameters
    ----------
    path
        Path of ``results.zarr``; must not exist.
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
        Name of the policy that the random views are sampled from.
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
        Names of the classes of each downstream task.
    layers
        Names of the layers whose alignment is stored too, in forward order, the full (unpooled) representation last.
    common_policy
        Name of the policy of a second scoring; None: there is none.
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
            **(_training_groups(n, e, epochs, recorded_epochs, tasks or {}) if epochs else {}),
            "/completeness": xr.Dataset(
                {"scored": ((ENCODER, "block"), np.zeros((e, blocks), bool)), "evaluated": (ENCODER, np.full(e, not epochs))},
                coords={"block_start": ("block", np.arange(blocks) * block)},
                attrs={"block": block},
            ),
            **({f"/{LAYERS}": _layer_group(n, e, layers)} if layers else {}),
            **({f"/{COMMON}": _common_group(root, common_policy)} if common_policy else {}),
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
        integrity.start(partial)


def _image_group(thumbnails: np.ndarray | None, original_shapes: np.ndarray | None) -> dict[str, xr.Dataset]:
    if thumbnails is None:
        return {}
    group = xr.Dataset({"thumbnail": ((SAMPLE, "y", "x", "channel"), thumbnails)})
    for axis, name in enumerate(ORIGINAL if original_shapes is not None else ()):
        group[name] = SAMPLE, original_shapes[:, axis].astype(np.int32), {"long_name": f"original {name}", "units": "pixels"}
    return {"/images": group}


def _training_groups(
    samples: int, encoders: int, epochs: int, recorded_epochs: Sequence[int], tasks: Mapping[str, Sequence[str]]
) -> dict[str, xr.Dataset]:
    """Return the groups of encoders that were trained here: their training, trajectory and downstream accuracy."""
    recorded, text = np.array(recorded_epochs, np.int64), StringDType()
    losses = {name: ((ENCODER, EPOCH), _absent(encoders, epochs)) for name in PER_ENCODER["training"]}
    path = {
        ALIGNMENT: ((SAMPLE, ENCODER, EPOCH), _absent(samples, encoders, len(recorded)), {PAIRS_OF_VIEWS: FIXED_WEIGHTS}),
        **{name: ((ENCODER, EPOCH), _absent(encoders, len(recorded))) for name in RECORDED},
    }
    accuracy = {
        "accuracy": ((ENCODER, "task", "probe"), _absent(encoders, len(tasks), len(PROBES))),
        "n_test": ((ENCODER, "task"), _absent(encoders, len(tasks)), {"long_name": "samples that accuracy is of"}),
    }
    confused = {name: list(classes) for name, classes in tasks.items() if len(classes) <= MOST_CONFUSED}
    if confused:
        most = max(map(len, confused.values()))
        about = {
            "long_name": "test samples by class and by the class that a probe takes them for",
            "class_names": json.dumps(confused),
        }
        sizes = (encoders, len(tasks), len(PROBES), most, most)
        accuracy["confusion"] = (ENCODER, "task", "probe", "class", "predicted"), _absent(*sizes), about
    return {
        "/training": xr.Dataset(losses, {EPOCH: np.arange(1, epochs + 1)}),
        "/trajectory": xr.Dataset(path, {EPOCH: recorded}),
        "/downstream": xr.Dataset(accuracy, {"task": np.array(list(tasks), text), "probe": np.array(PROBES, text)}),
    }


def _layer_group(samples: int, encoders: int, layers: Sequence[str]) -> xr.Dataset:
    group = xr.Dataset({ALIGNMENT: (LOCALIZED[LAYERS][ALIGNMENT], _absent(samples, encoders, len(layers)))})
    long_name = "mean over augmentations; the last layer is the whole output"
    group[ALIGNMENT].attrs = {"long_name": long_name, "units": "1", PAIRS_OF_VIEWS: FIXED_WEIGHTS}
    return group.assign_coords({LAYER: np.array(layers, StringDType())})


def _common_group(root: xr.Dataset, policy: str) -> xr.Dataset:
    group = xr.Dataset({ALIGNMENT: (SECOND[COMMON][ALIGNMENT], _absent(*root[ALIGNMENT].shape), root[ALIGNMENT].attrs)})
    return group.assign_attrs(policy=policy)


def _absent(*shape: int) -> np.ndarray:
    """Return NaN of a shape, without its memory: chunks that hold nothing else are not written."""
    return np.broadcast_to(np.float32(np.nan), shape)


def _layout(name: str, variable: xr.DataArray, block: int) -> dict[str, tuple[int, ...]]:
    """Return the chunks of a variable, and shards where these would be too many files."""
    if name == TRAINED_ON:  # written once and read whole
        return {"chunks": variable.shape}
    if name == "thumbnail":  # written once, read a few samples at a time
        inner = min(THUMBNAIL_CHUNK, variable.sizes[SAMPLE])
        outer = -(-min(THUMBNAIL_SHARD, variable.sizes[SAMPLE]) // inner) * inner
        return {"chunks": (inner, *variable.shape[1:]), "shards": (outer, *variable.shape[1:])}
    return {"chunks": tuple(_chunk(dim, size, block) for dim, size in variable.sizes.items())}


def _file_layout(coord: xr.DataArray) -> dict[str, tuple[int, ...]]:
    """Return chunks and shards of the names of files, of which a few are read at a time; none for other coordinates."""
    if coord.name != FILE:
        return {}
    inner = min(FILE_CHUNK, coord.size)
    return {"chunks": (inner,), "shards": (-(-min(FILE_SHARD, coord.size) // inner) * inner,)}


def _chunk(dim: str, size: int, block: int) -> int:
    if dim == SAMPLE:
        return max(1, min(size, block))
    return 1 if dim in (ENCODER, "block") else max(1, size)
