"""Per-sample quantities of a store, read off its schema: choices for axes, colour and order of the explorer.

Every variable on ``sample`` of a group counts, so that groups which later versions add appear by themselves. A variable on ``encoder``
too becomes three quantities: its mean over family f, over family g, and g minus f. One further dimension with a coordinate (layer,
epoch, task ...) is spelled out. Excluded: pictures, references to samples, replicates of scores, and variables of more dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from sslmem_kit.names import AUGMENTATION, ENCODER, FAMILIES, SAMPLE

SCORES = {
    "sslmem": "score",
    "alignment_f": "alignment on f",
    "alignment_g": "alignment on g",
    "difference": "difference g - f",
    "shrunken": "score that other encoders are expected to give",
    "rank_score": "score that orders samples",
    "rank_error": "error of the score that orders samples",
    "rank": "rank by the score that orders samples",
    "standard_error": "standard error",
    "standard_error_views": "standard error over views",
    "standard_error_encoders": "standard error over encoders",
    "low": "lower end of the interval",
    "high": "upper end of the interval",
    "z": "z against the null",
    "quantile": "quantile in the null",
    "p_value": "p value against the null",
    "q_value": "q value against the null",
    "q_value_shared": "q value against shared samples alone",
    "q_value_extra": "q value against extra samples alone",
}
"""Columns of the scores, and their labels."""
ORDER = ("rank_score", "rank_error", "rank")
"""Columns that studies have whose encoders order single samples, of :func:`sslmem_kit.statistics.order.with_order`."""
MOST = 64
"""Largest size of a further dimension that is spelled out."""


@dataclass(frozen=True)
class Quantity:
    """A number for every sample.

    Attributes
    ----------
    key
        Name in links: ``sslmem``, ``layers/alignment:g-f@layer=3``.
    label
        Label of axes.
    group, variable
        Group and name of the stored variable; ``group`` is None for a column of the scores.
    family
        ``f``, ``g``, ``g-f`` or None for a variable without encoders.
    at
        Name of a further dimension, and the position that it is fixed at.
    """

    key: str
    label: str
    group: str | None = None
    variable: str = ""
    family: str | None = None
    at: tuple[str, int] | None = None

    def read(self, tree: xr.DataTree, encoders: tuple[str, ...]) -> np.ndarray:
        """Read the values over these encoders, (sample,) float32; NaN where a family has none."""
        values = tree[self.group].to_dataset()[self.variable] if self.group else tree.to_dataset()[self.variable]
        if self.at:
            values = values.isel({self.at[0]: self.at[1]})
        if self.family is None:
            return values.values.astype(np.float32)
        chosen = values.sel({ENCODER: list(encoders)}).transpose(SAMPLE, ENCODER)
        family = tree["family"].sel({ENCODER: list(encoders)}).values.astype(object)
        block = chosen.values
        means = {
            name: block[:, family == name].mean(axis=1) if (family == name).any() else np.full(len(block), np.nan)
            for name in FAMILIES
        }
        result = means["g"] - means["f"] if self.family == "g-f" else means[self.family]
        return result.astype(np.float32)


def of_scores(*, ordered: bool) -> Iterator[Quantity]:
    """Yield the columns of the scores; those of an order of single samples where it is ``ordered`` by encoders of its own."""
    for key, label in SCORES.items():
        if ordered or key not in ORDER:
            yield Quantity(key, label)


def of_store(tree: xr.DataTree) -> Iterator[Quantity]:
    """Yield the quantities that the groups of a store hold."""
    for group in tree.subtree:
        path = group.path.strip("/")
        dataset = group.to_dataset()
        for name, variable in dataset.data_vars.items():
            if (not path and name in ("alignment", "trained_on")) or not _counts(variable):
                continue
            rest = [dim for dim in variable.dims if dim not in (SAMPLE, ENCODER)]
            for at, place in _places(dataset, rest):
                words = [path, str(variable.attrs.get("short_name", name)).replace("_", " "), place]
                label = " ".join(word for word in words if word)
                key = f"{path}/{name}"
                if ENCODER not in variable.dims:
                    yield Quantity(_at(key, place), label, path, name, None, at)
                    continue
                for family in (*FAMILIES, "g-f"):
                    shown = "g - f" if family == "g-f" else f"on {family}"
                    yield Quantity(_at(f"{key}:{family}", place), f"{label} {shown}", path, name, family, at)


def _counts(variable: xr.DataArray) -> bool:
    numeric = variable.dtype.kind in "fiub" and not {"references", "replicates"} & set(variable.attrs)
    rest = [dim for dim in variable.dims if dim not in (SAMPLE, ENCODER)]
    spelled = not rest or (len(rest) == 1 and rest[0] in variable.coords and variable.sizes[rest[0]] <= MOST)
    return SAMPLE in variable.dims and numeric and spelled and AUGMENTATION not in rest


def _places(dataset: xr.Dataset, rest: list[str]) -> Iterator[tuple[tuple[str, int] | None, str]]:
    if not rest:
        yield None, ""
        return
    for position, value in enumerate(dataset[rest[0]].values.tolist()):
        yield (rest[0], position), f"{rest[0]}={value}"


def _at(key: str, place: str) -> str:
    return f"{key}@{place}" if place else key
