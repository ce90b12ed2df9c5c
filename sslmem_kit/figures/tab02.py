"""Tables 2 and 16: t-tests of the partitions' mean scores.

The paper prints the t statistic under the name "effect size"; here t and Cohen's d stand side by side. The tests are over samples,
given the encoders: they do not say how other training runs would come out. Table 16 is against the samples whose membership does not
differ; the paper's t against zero stands in a column of its own, for it contains the offset of the trainings.
"""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import dress
from sslmem_kit.statistics import LETTER

_WORDS = {">": "above", "<": "below", "!=": "differ from"}
COLUMNS = ("alternative", "in words", "t", "p", "Cohen's d", "n", "t against zero")


def plot(tests: xr.Dataset) -> hv.Table:
    """Make a table, one row a test.

    Numbers are written out as text, so that a p-value of 1e-300 reads the same in every backend; ``.dframe()`` gives the same rows
    as a pandas frame.

    Parameters
    ----------
    tests
        On ``alternative``, of :func:`sslmem_kit.statistics.partition_tests`.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> from sslmem_kit.scores import _example, score
    >>> table = plot(statistics.partition_tests(score(_example.results()), ("S!=0",)))
    >>> table.dframe().loc[0, ["alternative", "in words", "n"]].tolist()
    ['S!=0', 'shared differ from extra', '10 + 10']
    """
    alternatives = list(map(str, tests["alternative"].values))
    columns = (
        alternatives,
        [_in_words(alternative, str(others)) for alternative, others in zip(alternatives, tests["against"].values, strict=True)],
        [_number(t, ".2f") for t in tests["t"].values],
        [p_value(p) for p in tests["p"].values],
        [_number(d, ".3f") for d in tests["cohens_d"].values],
        [
            f"{first:,} + {second:,}"
            for first, second in zip(*(tests[name].values for name in ("n_first", "n_second")), strict=True)
        ],
        ["" if np.isnan(t) else f"{t:.2f}" for t in tests["t_zero"].values],
    )
    table = hv.Table(dict(zip(COLUMNS, columns, strict=True)), [], list(COLUMNS))
    height = len(alternatives) + 1
    return dress(
        table,
        bokeh={"width": 860, "height": 26 * height + 12, "editable": False, "index_position": None, "hooks": [_column_widths]},
        matplotlib={
            "fig_inches": (11, 0.36 * height),
            "aspect": 11 / (0.36 * height),
            "max_value_len": 60,
            "max_rows": 50,
            "float_precision": 3,
        },
    )


def _column_widths(plot: Any, element: hv.Table) -> None:
    """Give bokeh's columns the room that their text needs, in place of equal shares."""
    for column in plot.handles["table"].columns:
        texts = [column.title, *map(str, element.dimension_values(column.field))]
        column.width = 24 + 8 * max(map(len, texts))


def p_value(p: float) -> str:
    """Write a p-value as text that survives underflow.

    Examples
    --------
    >>> p_value(0.0312), p_value(1.23e-7), p_value(0.0)
    ('0.0312', '1.2e-07', '< 1e-300')
    """
    if np.isnan(p):
        return "not defined"
    if p < 1e-300:
        return "< 1e-300"
    return f"{p:.4f}" if p >= 0.001 else f"{p:.1e}"


def _in_words(alternative: str, others: str) -> str:
    """``C>S`` as "candidate above shared"."""
    sign = next(sign for sign in ("!=", ">", "<") if sign in alternative)
    return f"{LETTER[alternative.split(sign)[0]]} {_WORDS[sign]} {others}"


def _number(value: float, form: str) -> str:
    return "not defined" if np.isnan(value) else f"{value:{form}}"
