"""Small widgets for notebooks that pick samples out of scores: by a threshold, by a class.

Each has ``value``, the choice; ``selected``, the scores of the samples that it picks, from which a further picker can be made;
and ``table``, the same as a table, highest score first: sample, class, partition and sslmem.
"""

from __future__ import annotations

import math
from collections import Counter

import ipywidgets as widgets
import numpy as np
import pandas as pd
import traitlets
import xarray as xr

from sslmem_kit.errors import UserError, near
from sslmem_kit.names import PARTITIONS, SAMPLE, SSLMEM

STEPS = 1000
"""Number of steps of a slider."""


class _Picker(widgets.VBox):
    """Scores, controls, and below them a table of the number of samples that are picked, by partition."""

    def __init__(self, scores: xr.Dataset) -> None:
        if not isinstance(scores, xr.Dataset) or SSLMEM not in scores:
            raise UserError(f"scores: the dataset of Study.scores() is needed, got a {type(scores).__name__} without {SSLMEM!r}")
        if not scores.sizes[SAMPLE] or not np.isfinite(scores[SSLMEM]).all():
            raise UserError(f"scores: there are no samples, or some whose {SSLMEM} is not finite; a picker needs finite ones")
        self.scores, self._counts = scores, widgets.HTML()
        self._names, codes = _class_names(scores), scores["partition"].values
        present = {name: codes == code for code, name in enumerate(PARTITIONS) if (codes == code).any()}
        self._members = {"all": slice(None), **present}
        super().__init__()

    @property
    def selected(self) -> xr.Dataset:
        """Scores of the picked samples."""
        return self.scores.isel({SAMPLE: np.flatnonzero(self._picked())})

    @property
    def table(self) -> pd.DataFrame:
        """Table of the picked samples, highest score first."""
        chosen = self.selected
        frame = {SAMPLE: chosen[SAMPLE].values, "class": [self._names[label] for label in chosen["label"].values.tolist()]}
        frame |= {"partition": np.array(PARTITIONS)[chosen["partition"].values], SSLMEM: chosen[SSLMEM].values}
        return pd.DataFrame(frame).sort_values(SSLMEM, ascending=False, kind="stable", ignore_index=True)

    def _show_counts(self, counts: list[tuple[int, int]]) -> None:
        """Show the number of picked samples and of samples, of all and of each partition."""
        rows = [(name, f"{n:,}", f"{of:,}", f"{n / of:.1%}") for name, (n, of) in zip(self._members, counts, strict=True)]
        table = pd.DataFrame(rows, columns=["partition", "picked", "of", "share"])
        self._counts.value = table.to_html(index=False, border=0, justify="left", col_space=80)

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        """Return the widget, and beside it its present table as HTML for pages in which no kernel runs."""
        return {**super()._repr_mimebundle_(**kwargs), "text/html": self._counts.value}


class ThresholdPicker(_Picker):
    """Widget of :func:`pick_threshold`."""

    value = traitlets.Float(help="Threshold, in units of the score.")

    def __init__(self, scores: xr.Dataset, quantile: bool) -> None:
        super().__init__(scores)
        self._values, self._slider = scores[SSLMEM].values.astype(float), None
        self._sorted = [np.sort(self._values[members]) for members in self._members.values()]
        self._toggle = widgets.Checkbox(description="by quantile", value=quantile, indent=False)
        self._toggle.observe(self._new_slider, "value")
        self._new_slider()
        self.value = self._sorted[0][math.ceil(0.9 * self._values.size) - 1]
        self._follow()

    def _new_slider(self, _: object = None) -> None:
        if self._slider:
            self._slider.close()
        step = (np.ptp(self._values) / STEPS) or 1.0
        # One step below the lowest score, so that all samples can be picked.
        by_value = ("score above", self._sorted[0][0] - step, self._sorted[0][-1], step, ".5f")
        name, low, high, step, digits = ("above quantile", 0, 1, 1 / STEPS, ".3f") if self._toggle.value else by_value
        look = {"readout_format": digits, "style": {"description_width": "9em"}, "layout": {"width": "36em"}}
        self._slider = widgets.FloatSlider(description=name, min=low, max=high, step=step, **look)
        self._slider.observe(self._moved, "value")
        self._place()
        self.children = (self._toggle, self._slider, self._counts)

    def _at(self, position: float) -> float:
        """Return the threshold of a position of the slider."""
        if not self._toggle.value:
            return position
        # The position is not exactly a multiple of the step.
        below = math.ceil(round(position * self._values.size, 6))
        return float(self._sorted[0][below - 1] if below else np.nextafter(self._sorted[0][0], -np.inf))

    def _place(self) -> None:
        """Move the slider to the step nearest to the value."""
        slider, share = self._slider, np.searchsorted(self._sorted[0], self.value, side="right") / self._values.size
        wanted = np.clip(share if self._toggle.value else self.value, slider.min, slider.max)
        self._position = float(slider.min + round((wanted - slider.min) / slider.step) * slider.step)
        slider.value = self._position

    def _moved(self, change: dict) -> None:
        # A browser sends back, rounded, the position that was set from here: that is no move.
        slider = change["owner"]
        if slider is self._slider and abs(change["new"] - self._position) > slider.step / 2:
            self._position = change["new"]
            self.value = self._at(self._position)

    @traitlets.observe("value")
    def _follow(self, _: object = None) -> None:
        if self.value != self._at(self._position):
            self._place()
        above = [values.size - int(np.searchsorted(values, self.value, side="right")) for values in self._sorted]
        self._show_counts([(n, values.size) for n, values in zip(above, self._sorted, strict=True)])

    def _picked(self) -> np.ndarray:
        return self._values > self.value


class ClassPicker(_Picker):
    """Widget of :func:`pick_class`."""

    value = traitlets.Unicode(help="Name of the class.")

    def __init__(self, scores: xr.Dataset) -> None:
        super().__init__(scores)
        self._labels = {name: label for label, name in self._names.items()}
        # In a plain list JupyterLab takes the keys for itself, and typing `dd` deletes the cell; not so in a text field.
        names = list(self._labels)
        select = widgets.Combobox(description="class", options=names, value=names[0], ensure_option=True, continuous_update=False)
        self.children = (select, self._counts)
        traitlets.link((select, "value"), (self, "value"))

    @traitlets.validate("value")
    def _known(self, proposal: dict) -> str:
        value = proposal["value"]
        if value not in self._labels:
            hint = near(str(value), self._labels)
            raise UserError(f"value: there is no class {value!r} here, choose one of {', '.join(self._labels)}{hint}")
        return value

    @traitlets.observe("value")
    def _count(self, _: object) -> None:
        picked = self._picked()
        self._show_counts([(int(picked[members].sum()), picked[members].size) for members in self._members.values()])

    def _picked(self) -> np.ndarray:
        return self.scores["label"].values == self._labels[self.value]


def pick_threshold(scores: xr.Dataset, *, quantile: bool = False) -> ThresholdPicker:
    """Make a slider that picks the samples whose score is above it.

    Parameters
    ----------
    scores
        Scores of ``Study.scores()``, or a part of them such as another picker's ``selected``.
    quantile
        Start with the slider by quantile; a box of the widget switches.

    Raises
    ------
    UserError
        ``scores`` are no such dataset, hold no samples, or some whose score is not finite.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> picker = pick_threshold(open_study("papermill_runs/digits").scores())
    >>> picker.value = 0.2
    >>> bool((picker.selected["sslmem"] > 0.2).all())
    True
    """
    return ThresholdPicker(scores, quantile)


def pick_class(scores: xr.Dataset) -> ClassPicker:
    """Make a field with the list of classes that picks the samples of one.

    Parameters
    ----------
    scores
        Scores of ``Study.scores()``, or a part of them such as another picker's ``selected``.

    Raises
    ------
    UserError
        ``scores`` are no such dataset, hold no samples, or some whose score is not finite.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> picker = pick_class(open_study("papermill_runs/digits").scores())
    >>> picker.value = "two"
    >>> set(picker.table["class"])
    {'two'}
    """
    return ClassPicker(scores)


def _class_names(scores: xr.Dataset) -> dict[int, str]:
    """Return the name of each label that occurs: with its number where several labels share a name, its number alone where it has none."""
    names = scores["label"].attrs.get("class_names", ())
    plain = {i: str(names[i]) if 0 <= i < len(names) else str(i) for i in np.unique(scores["label"].values).tolist()}
    counts = Counter(plain.values())
    return {label: f"{name} ({label})" if counts[name] > 1 else name for label, name in plain.items()}
