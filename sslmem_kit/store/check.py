"""Checks of a store: results that are missing, and impossible layouts or values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from sslmem_kit.errors import join_names, one_line
from sslmem_kit.names import (
    ALIGNMENT,
    AUGMENTATION,
    ENCODER,
    MODE,
    ONE_MODEL,
    PAIRS_OF_VIEWS,
    PARTITIONS,
    SAMPLE,
    TRAINED_ON,
)
from sslmem_kit.store.schema import COMMON, DETAILS, LAYERS, LOCALIZED, PER_ENCODER, SECOND, TWINS, pair_weights


def missing(tree: xr.DataTree) -> str:
    """Return what is missing from a store, in words; empty when nothing is."""
    group = tree["completeness"].to_dataset()
    scored, evaluated = group["scored"].values, group["evaluated"].values
    ids = tree[ENCODER].values
    unscored = [f"{ids[i]} ({int((~row).sum())} of {row.size} sample blocks)" for i, row in enumerate(scored) if not row.all()]
    unevaluated = [str(ids[i]) for i in np.flatnonzero(~evaluated)]
    parts = []
    if unscored:
        parts.append(f"alignment is missing of {join_names(unscored)}")
    if unevaluated:
        parts.append(f"training history and probe are missing of {join_names(unevaluated)}")
    return " and ".join(parts)


def schema_problems(tree: xr.DataTree) -> Iterator[str]:
    """Yield where a store's layout departs from the schema, a message each; more may be missing where an audit wrote it."""
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
    for group, variables in {**DETAILS, **LOCALIZED, **SECOND, **TWINS}.items():
        for name, dims in variables.items() if group in tree.children else ():
            there = tree[group].variables[name].dims if name in tree[group].variables else None
            if there != dims:
                yield f"group /{group} has {name!r} with dimensions {there}, the schema has {dims}"
    if "partition" in tree.variables and tree["partition"].attrs.get("flag_meanings") != " ".join(PARTITIONS):
        yield f"partition has the flag_meanings {tree['partition'].attrs.get('flag_meanings')!r}, the schema has {' '.join(PARTITIONS)!r}"


def data_problems(tree: xr.DataTree) -> Iterator[str]:
    """Yield what is impossible in a complete store's values, a message each: reads everything."""
    ids = tree[SAMPLE].values
    if len(ids) and (np.diff(ids) <= 0).any():
        yield "sample ids are not strictly ascending"
    try:
        weights = pair_weights(int(tree.to_dataset()["view_b"].max()))
        if LAYERS in tree.children and PAIRS_OF_VIEWS not in tree[LAYERS][ALIGNMENT].attrs:  # of an earlier version
            weights = np.full(len(weights), 1 / len(weights))
        for start in range(0, len(ids), 65536):
            values = tree.to_dataset()[ALIGNMENT].isel(sample=slice(start, start + 65536)).values
            if not np.isfinite(values).all():
                yield f"alignment holds {int((~np.isfinite(values)).sum())} values that are not finite, in blocks recorded as scored"
                return
            if (values < 0).any() or (values > 2.0001).any():
                yield "alignment holds distances outside 0..2, which l2-normalized representations cannot have"
                return
            if COMMON in tree.children:
                second = tree[COMMON].to_dataset()[ALIGNMENT].isel(sample=slice(start, start + 65536)).values
                if not ((second >= 0) & (second <= 2.0001)).all():
                    yield f"/{COMMON}: alignment holds values outside 0..2, in blocks recorded as scored"
                    return
            if LAYERS in tree.children:
                layers = tree[LAYERS][ALIGNMENT].isel(sample=slice(start, start + 65536)).values
                if not ((layers >= 0) & (layers <= 2.0001)).all():
                    yield f"/{LAYERS}: alignment holds values outside 0..2, in blocks recorded as scored"
                    return
                if np.abs(layers[:, :, -1] - np.einsum("sae,a->se", values, weights)).max() > 1e-4:
                    yield f"/{LAYERS}: the alignment of the last layer, the full representation, is not that of the root"
                    return
        if "images" in tree.children:
            _ = tree["images/thumbnail"].isel(sample=slice(None, None, max(1, len(ids) // 64))).values
    except (ValueError, OSError, RuntimeError) as error:
        yield f"a chunk cannot be read ({one_line(error)})"
