"""Caveats of a study's numbers, a sentence each: the report, its JSON, the explorer, the monitor, notebooks and exports all give these and
no others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from sslmem_kit.data.record import crossing, cut_batch, stored_record
from sslmem_kit.errors import join_names
from sslmem_kit.names import ALIGNMENT, ALIKE, COMPARED_ANYWAY, ENCODER, FAMILIES, MODE, ONE_MODEL, PAIRS_OF_VIEWS, SAMPLE
from sslmem_kit.scores import of_pairs, of_scores, whole_seeds
from sslmem_kit.statistics.collapse import collapse
from sslmem_kit.statistics.duplicates import crossing_twins
from sslmem_kit.store.integrity import DAMAGED_PICTURES, NO_CHECKSUMS
from sslmem_kit.store.metadata import SEAL
from sslmem_kit.store.provenance import training_caveats
from sslmem_kit.store.schema import LAYERS, OLD_UNIT_RULE, UNITS

_UNITS = f"UnitMem is that of an earlier version: {OLD_UNIT_RULE}; its values are too high"
FIRST_SAMPLES = 1024
"""Samples whose distances are looked at for collapsed and identical encoders: a block of the store at most, whatever its size."""
LEAST_DISTANCE = 1e-4
"""Distance of normalized representations that is rounding alone."""
EQUAL = 1e-7
"""Range of scores, as a share of the largest distance, below which they are equal but for rounding."""
ALL_EQUAL = "all scores are equal, as those of identical or collapsed encoders are: there is nothing to test, to order or to show"
_SPREAD = ("feature_std", "effective_rank", "embedding_std")


def caveats(tree: xr.DataTree) -> list[str]:
    """Sentences on what is wrong with a study, or limits what its numbers say, most severe first; none where nothing is.

    Parameters
    ----------
    tree
        Of :func:`sslmem_kit.store.open_results`; an incomplete one too.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> caveats(open_study("papermill_runs/digits").tree)
    []
    """
    return [
        *(f"{encoder}: {sentence}" for encoder, sentence in collapsed(tree).items()),
        *_of_distances(tree),
        *json.loads(tree.attrs.get(COMPARED_ANYWAY, "[]")),
        *_of_seeds(tree),
        *_of_data(tree),
        *_of_older_means(tree),
        *_of_mitigation(tree),
        *training_caveats({str(name): value for name, value in tree.attrs.items()}),
        *([_UNITS] if UNITS in tree.children and "rule" not in tree[UNITS].attrs else []),
        *filter(None, [crossing_twins(tree)]),
        *([DAMAGED_PICTURES] if tree.attrs.get("damaged_pictures") else []),
        *([] if SEAL in tree.attrs else [NO_CHECKSUMS]),
    ]


def _of_mitigation(tree: xr.DataTree) -> list[str]:
    """Sentences on what treating f's samples while it trained does to scores."""
    mitigation = (json.loads(tree.attrs.get("spec", "{}")).get("training") or {}).get("mitigation")
    if not mitigation:
        return []
    share, every, action = 100 * mitigation["share"], mitigation["every"], mitigation["action"]
    which = "most memorized candidates" if mitigation["by"] == "memorization" else "candidates at random"
    return [
        f"training.mitigation ({action}, every {every} epochs, {share:g} % of the candidates: the {which}) acted on f alone, g was not "
        "treated: (C-I)/2 is half of what f memorizes so and half of what g memorizes without"
    ]


def meaningless(tree: xr.DataTree, encoders: Sequence[str] | None = None) -> str | None:
    """Return why scores mean nothing, the first sentence on encoders that have collapsed or are one; None where there is none.

    Parameters
    ----------
    tree
        As in :func:`caveats`.
    encoders
        Ids of those that the scores rest on; None: those that a study's own do.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> meaningless(_example.tree())
    """
    flat = [f"{name}: {sentence}" for name, sentence in collapsed(tree).items() if encoders is None or name in encoders]
    return next(iter(flat or _of_distances(tree, encoders)), None)


def _of_distances(tree: xr.DataTree, encoders: Sequence[str] | None = None) -> list[str]:
    """Caveats of encoders to which everything looks the same, and of pairs that are one encoder, from the first samples' distances."""
    root = tree.to_dataset()
    results = of_scores(root) if encoders is None else root.sel({ENCODER: list(encoders)})
    if ALIGNMENT not in results or not results[ALIGNMENT].size:
        return []
    values = results[ALIGNMENT].transpose(SAMPLE, ..., ENCODER)[:FIRST_SAMPLES].values
    names = [str(name) for name in results[ENCODER].values]
    largest = values.max(axis=(0, 1))  # NaN where it is not scored yet
    flat = [name for name, value in zip(names, largest, strict=True) if value < LEAST_DISTANCE]
    sentences = []
    if flat:
        sentences.append(
            f"{join_names(flat)}: all views look the same, the largest distance is {largest[largest < LEAST_DISTANCE].max():.1g}; "
            "such encoders have collapsed, and scores of them mean nothing"
        )
    if tree.attrs.get(MODE) == ONE_MODEL:
        return sentences
    family = results["family"].values.astype(object)
    f, g, _ = whole_seeds(family, results["seed"].values)
    same = [
        f"{names[one]} and {names[other]}"
        for one, other in zip(f, g, strict=True)
        if np.array_equal(values[..., one], values[..., other])
    ]
    if same:
        sentences.append(
            f"{', '.join(same)}: their distances are the same to the last digit, they are one encoder and not an f and a g"
        )
    sides = [values[..., family == name].astype(float) for name in FAMILIES]
    if all(side.shape[-1] for side in sides) and len(values) > 1:
        score = sides[1].mean(axis=(1, 2)) - sides[0].mean(axis=(1, 2))
        if np.ptp(score) <= EQUAL * np.abs(values).max():
            sentences.append(ALL_EQUAL)
    return sentences


def _of_seeds(tree: xr.DataTree) -> list[str]:
    """Caveats of too few encoders, or of some that do not belong together, for the scores of f against g."""
    pairs = of_pairs(tree.to_dataset())
    seeds = [pairs["seed"].values[pairs["family"].values.astype(object) == family] for family in FAMILIES]
    return of_seeds(*seeds)


def of_seeds(f: Sequence[int], g: Sequence[int]) -> list[str]:
    """Caveats that follow from the training seeds of the encoders of both families; none where one has no encoder.

    Examples
    --------
    >>> of_seeds([0, 1], [0, 1])
    []
    >>> of_seeds([0], [0])[0].partition(":")[0]
    'one encoder of f or of g'
    """
    if not len(f) or not len(g):
        return []
    if min(len(f), len(g)) < 2:
        return [
            "one encoder of f or of g: how much scores change with the training seed is not known, single scores have no intervals"
        ]
    sentences = []
    if len(set(f)) < len(f) or len(set(g)) < len(g):
        sentences.append(
            "several encoders of f, or of g, have the same seed: they are counted as trained apart, and if they were not, errors are too small "
            "and intervals too narrow"
        )
    if set(f) != set(g):
        common = np.intersect1d(f, g).size
        if common > 1 and len(set(f)) == len(f) and len(set(g)) == len(g):
            return [
                *sentences,
                f"only {common} of the seeds have an f and a g: scores rest on these, the other encoders are left out",
            ]
        sentences.append(
            f"{f'only {common} of the seeds have an f and a g' if common else 'no f and g have a seed in common'}: errors over encoders are "
            "those of encoders that do not belong together, larger than of pairs that were trained alike (the field seed says which do)"
        )
    return sentences


def _of_older_means(tree: xr.DataTree) -> list[str]:
    """Caveat of means over pairs of views that an earlier version stored with other weights than those of the scores."""
    views = int(tree.to_dataset()["view_b"].max())
    older = [
        f"/{group}"
        for group in (LAYERS, "trajectory")
        if group in tree.children and PAIRS_OF_VIEWS not in tree[group][ALIGNMENT].attrs and views not in (1, ALIKE)
    ]
    if not older:
        return []
    return [
        f"{' and '.join(older)}, stored by an earlier version, weigh all pairs of views alike, which with {views} views is not what scores of "
        "protocol corrected are made of: the two do not compare"
    ]


def _of_data(tree: xr.DataTree) -> list[str]:
    """Caveats of the data that was read; stores of earlier versions have no record of it."""
    read = stored_record(tree.attrs, tree["label"].attrs.get("class_names", ()))
    sentences = [] if tree.attrs.get(MODE) == ONE_MODEL else [crossing(read["copies"])]
    test_in_train = (read["copies"] or {}).get("test_in_train") if MODE not in tree.attrs else 0  # audits have no probes
    if test_in_train:
        sentences.append(
            f"exact copies of held-out samples ({test_in_train:,}) are not held out: accuracies of probes are too high"
        )
    if "batch_size" in read:
        sentences.append(cut_batch(read["batch_size"]))
    return [sentence for sentence in sentences if sentence]


def collapsed(tree: xr.DataTree) -> dict[str, str]:
    """Sentence on what has collapsed, by the encoder of a pair of which something has; stores of version 0.1 have no record of it.

    Parameters
    ----------
    tree
        Of :func:`sslmem_kit.store.open_results`; an incomplete one too.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> collapsed(_example.tree())
    {}
    """
    if "trajectory" not in tree.children:
        return {}
    last = tree["trajectory"].to_dataset().isel(epoch=-1)
    if any(name not in last for name in _SPREAD):
        return {}
    last = last[list(_SPREAD)].sel({ENCODER: of_pairs(tree.to_dataset())[ENCODER].values}).load(scheduler="sync")
    words = {
        str(name): collapse(*(float(last[variable].values[place]) for variable in _SPREAD))
        for place, name in enumerate(last[ENCODER].values)
    }
    return {encoder: sentence for encoder, sentence in words.items() if sentence}
