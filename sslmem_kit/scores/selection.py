"""Selection of the encoders of a store that scores rest on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError, join_names, near
from sslmem_kit.names import ENCODER, FAMILIES, PAIR


def designs(results: xr.Dataset | xr.DataTree) -> np.ndarray:
    """Return the design of each encoder, ``pair``, ``subset`` or ``leave_one_out``, (encoder,); older stores hold pairs.

    Parameters
    ----------
    results
        Results with ``encoder``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> designs(_example.design())[[0, 6]].tolist()
    ['pair', 'subset']
    """
    return results.coords["design"].values if "design" in results.coords else np.full(results.sizes[ENCODER], PAIR, object)


def of_pairs(results: xr.Dataset) -> xr.Dataset:
    """Select the encoders that are pairs of f and g, in a study that also has others; else all.

    Parameters
    ----------
    results
        Root of a results store.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> design = _example.design()
    >>> design.sizes["encoder"], of_pairs(design).sizes["encoder"]
    (22, 6)
    """
    return results.isel({ENCODER: pair_positions(results)})


def of_scores(results: xr.Dataset) -> xr.Dataset:
    """Select the encoders that scores of f against g rest on: pairs, and of these those of whole seeds.

    Where at least two seeds have one encoder of each family, and all others have encoders of one family alone, these others are left out.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> results = _example.results()
    >>> of_scores(results.isel(encoder=[0, 1, 2, 3, 4]))["encoder"].values.tolist()
    ['f-0', 'g-0', 'f-1', 'g-1']
    """
    return results.isel({ENCODER: scored_positions(results)})


def scored_positions(results: xr.Dataset | xr.DataTree) -> np.ndarray:
    """Ascending positions of the encoders of :func:`of_scores`.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> scored_positions(_example.results().isel(encoder=[0, 1, 2, 3, 4]))
    array([0, 1, 2, 3])
    """
    pairs = pair_positions(results)
    family, seed = (results.coords[name].values[pairs] for name in ("family", "seed"))
    f, g, left_out = whole_seeds(family, seed)
    if len(f) < 2 or not len(left_out) or np.isin(seed[left_out], seed[f]).any() or len(np.unique(seed[left_out])) < len(left_out):
        return pairs
    return pairs[np.sort(np.concatenate([f, g]))]


def pair_positions(results: xr.Dataset | xr.DataTree) -> np.ndarray:
    """Positions of the encoders that are pairs of f and g.

    Parameters
    ----------
    results
        Results with ``encoder``.

    Returns
    -------
    Ascending positions on ``encoder``; of all encoders where none belongs to a pair, or where an older store has no ``design``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> pair_positions(_example.design())
    array([0, 1, 2, 3, 4, 5])
    """
    pairs = np.flatnonzero(designs(results) == PAIR)
    return pairs if len(pairs) else np.arange(results.sizes[ENCODER])


def whole_seeds(family: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the encoders of f and of g that make pairs: the seeds that have one encoder of each family.

    Parameters
    ----------
    family, seed
        Of each encoder, (encoder,).

    Returns
    -------
    Positions of the encoders of f, and of those of g in the same order of seeds, (pair,) each; and the positions of the encoders that are left
    out, of seeds where one family has none or several.

    Examples
    --------
    Three encoders of f and two of g: two whole seeds.

    >>> whole_seeds(np.array(["f", "g", "f", "f", "g"]), np.array([0, 0, 2, 1, 2]))
    (array([0, 2]), array([1, 4]), array([3]))
    """
    family, seed = np.asarray(family, object), np.asarray(seed)
    single = []
    for name in FAMILIES:
        members = np.flatnonzero(family == name)
        seeds, first, counts = np.unique(seed[members], return_index=True, return_counts=True)
        single.append(dict(zip(seeds[counts == 1].tolist(), members[first[counts == 1]].tolist(), strict=True)))
    common = sorted(single[0].keys() & single[1].keys())
    f, g = (np.array([positions[number] for number in common], np.intp) for positions in single)
    return f, g, np.setdiff1d(np.flatnonzero(np.isin(family, FAMILIES)), np.concatenate([f, g]))


def _select_encoders(results: xr.Dataset, encoders: Sequence[str]) -> xr.Dataset:
    """Select the named encoders, in the order of the store."""
    known = [str(name) for name in results[ENCODER].values]
    for name in encoders:
        if name not in known:
            raise UserError(f"encoders: there is none named {name!r}, this study has {join_names(known)}{near(name, known)}")
    return results.isel({ENCODER: [position for position, name in enumerate(known) if name in encoders]})
