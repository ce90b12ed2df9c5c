"""Scores of several studies of the same samples, matched by id: what table 13 puts side by side.

Studies of methods train apart, so that no two seeds are one training; their data and their partition must be the same, or scores are of
other questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError, join_names
from sslmem_kit.names import PARTITION, PARTITION_CODE, SAMPLE, SEED, SSLMEM
from sslmem_kit.statistics.score_replicates import study_replicates

FINGERPRINT = "data_fingerprint"
"""Attribute of a study's scores that says which data they are of."""


def match_studies(studies: Mapping[str, xr.Dataset], *, partition: str | None = "candidate") -> dict[str, xr.DataArray]:
    """Replicates of several studies on the samples that all have, for :func:`sslmem_kit.statistics.score_agreement.score_agreement`.

    Parameters
    ----------
    studies
        Replicates by name of study: variables on (``sample``, ``seed``), with the coordinate ``partition`` on ``sample`` and the attribute
        ``data_fingerprint``.
    partition
        Whose samples are kept; None: all.

    Returns
    -------
    Replicates by the name of the study, with that of the score where a study has several. No two studies share a training.

    Raises
    ------
    UserError
        Studies of different data or partitions, or without a common sample: numbers that do not compare are not put side by side.

    Examples
    --------
    >>> one = xr.Dataset({"sslmem": (("sample", "seed"), np.eye(3))},
    ...                  {"sample": [1, 2, 3], "seed": [0, 1, 2], "partition": ("sample", [1, 1, 0])}, {"data_fingerprint": "a"})
    >>> both = match_studies({"simclr": one, "dino": one.isel(sample=[0, 1])})
    >>> list(both), both["simclr"].sizes["sample"], both["dino"]["seed"].values.tolist()
    (['simclr', 'dino'], 2, ['dino/0', 'dino/1', 'dino/2'])
    """
    _check(studies)
    ids = reduce(np.intersect1d, [study[SAMPLE].values for study in studies.values()])
    found = {}
    for name, study in studies.items():
        here = study.sel({SAMPLE: ids})
        if partition is not None:
            here = here.isel({SAMPLE: np.flatnonzero(here[PARTITION].values == PARTITION_CODE[partition])})
        if not here.sizes[SAMPLE]:
            what = "sample" if partition is None else f"{partition} sample"
            raise UserError(
                f"studies: {join_names(list(studies))} have no {what} in common; choose studies that score the same samples"
            )
        for column, array in here.data_vars.items():
            key = name if len(here.data_vars) == 1 else f"{name} {column}"
            seeds = [f"{name}/{seed}" for seed in array[SEED].values]
            found[key] = array.assign_coords(seed=seeds).reset_coords(drop=True)
    return found


def scores_of_studies(
    studies: Mapping[str, tuple[xr.Dataset, xr.DataTree]], *, partition: str | None = "candidate"
) -> dict[str, xr.DataArray]:
    """Replicates of all scores of one study, or of SSLMem of several.

    Parameters
    ----------
    studies
        Scores, of :meth:`sslmem_kit.study.Study.scores`, and results by name of study.
    partition
        Whose samples are kept; None: all.

    Raises
    ------
    UserError
        As :func:`match_studies`; or one of several studies has no pairs of f and g with seeds, and no replicates of SSLMem.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> results = _example.results()
    >>> one = score(results), xr.DataTree(results.assign_attrs(data_fingerprint="a"))
    >>> list(scores_of_studies({"simclr": one})), list(scores_of_studies({"simclr": one, "dino": one}))
    (['sslmem'], ['simclr', 'dino'])
    """
    if len(studies) == 1:
        ((scores, tree),) = studies.values()
        return study_replicates(scores, tree, partition=partition)
    tables = {}
    for name, (scores, tree) in studies.items():
        own = study_replicates(scores, tree, partition=None).get(SSLMEM)
        if own is None or SEED not in own.dims:
            raise UserError(f"studies: {name} has no pairs of f and g with seeds, whose scores can be compared; leave it out")
        coords = {PARTITION: (SAMPLE, scores[PARTITION].values)}
        attrs = {FINGERPRINT: tree.attrs.get(FINGERPRINT, "")}
        tables[name] = own.rename(SSLMEM).to_dataset().assign_coords(coords).assign_attrs(attrs)
    return match_studies(tables, partition=partition)


def _check(studies: Mapping[str, xr.Dataset]) -> None:
    """Refuse studies whose samples or partitions are not the same."""
    (first, reference), *others = studies.items()
    refused = "numbers that do not compare are not put side by side"
    for name, study in others:
        prints = [one.attrs.get(FINGERPRINT) or "" for one in (reference, study)]
        if "" in prints:
            raise UserError(
                f"studies: of {first} or {name} no data_fingerprint is known, so that ids may be of other samples: {refused}"
            )
        if prints[0] != prints[1]:
            raise UserError(
                f"studies: {first} and {name} are of different data (data_fingerprint {prints[0][:12]} and {prints[1][:12]}), choose "
                f"studies of one data set and seed: {refused}"
            )
        codes = [set(zip(one[SAMPLE].values.tolist(), one[PARTITION].values.tolist(), strict=True)) for one in (reference, study)]
        both = np.intersect1d(reference[SAMPLE].values, study[SAMPLE].values)
        moved = len(both) - len(codes[0] & codes[1])
        if moved:
            raise UserError(
                f"studies: {moved:,} of {len(both):,} samples are in another partition in {name} than in {first}, choose studies of one "
                f"partition: {refused}"
            )
