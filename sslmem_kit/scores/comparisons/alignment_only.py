"""Score by the alignment of one encoder f, without g: what SSLMem is before anything is taken off.

The sign is minus: what f has memorized it represents alike under all views, so that its alignment distance is low, and low enters SSLMem
= d(g) - d(f) as high. But a sample that is easy for every encoder has a low distance too, which g takes off and this score does not: where
samples are memorized because they are hard, the score points the other way, as on the bundled digits.
"""

from __future__ import annotations

import xarray as xr

from sslmem_kit.names import ALIGNMENT
from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.replicates import of_f_by_seed
from sslmem_kit.scores.protocols import mean_over_pairs


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """Return ``alignment_only``, minus the mean alignment under f, (sample, seed).

    Parameters
    ----------
    raw
        None: the store holds what it takes.
    results
        Results of the study.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> float(reduce(None, _example.tree())["alignment_only"].max()) < 0
    True
    """
    return xr.Dataset({"alignment_only": of_f_by_seed(mean_over_pairs(results.to_dataset()[ALIGNMENT]), results, sign=-1)})


COMPARISON = Comparison(
    name="alignment_only",
    title="Alignment of one encoder",
    source="eq. 1 of Wang et al. 2024, without eq. 2",
    definition="minus the mean distance between representations of views under f alone: high where a sample is memorized, or easy",
    columns={"alignment_only": "minus alignment under f"},
    reduce=reduce,
)
