"""Caveats of a study's numbers, a sentence each: the report, its JSON, the explorer, the monitor, notebooks and exports all give these and
no others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from sslmem_kit.data.record import crossing, cut_batch, stored_record
from sslmem_kit.names import COMPARED_ANYWAY, ENCODER, FAMILIES, MODE, ONE_MODEL
from sslmem_kit.scores import of_pairs
from sslmem_kit.statistics.collapse import collapse
from sslmem_kit.statistics.duplicates import crossing_twins
from sslmem_kit.store.integrity import DAMAGED_PICTURES, NO_CHECKSUMS
from sslmem_kit.store.metadata import SEAL

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
        *json.loads(tree.attrs.get(COMPARED_ANYWAY, "[]")),
        *_of_seeds(tree),
        *_of_data(tree),
        *filter(None, [crossing_twins(tree)]),
        *([DAMAGED_PICTURES] if tree.attrs.get("damaged_pictures") else []),
        *([] if SEAL in tree.attrs else [NO_CHECKSUMS]),
    ]


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
        sentences.append(
            f"{f'only {common} of the seeds have an f and a g' if common else 'no f and g have a seed in common'}: errors over encoders are "
            "those of encoders that do not belong together, larger than of pairs that were trained alike (the field seed says which do)"
        )
    return sentences


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
    last = last.sel({ENCODER: of_pairs(tree.to_dataset())[ENCODER].values})
    words = {
        str(name): collapse(*(float(last[variable].values[place]) for variable in _SPREAD))
        for place, name in enumerate(last[ENCODER].values)
    }
    return {encoder: sentence for encoder, sentence in words.items() if sentence}
