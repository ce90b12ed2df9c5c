"""Overlay of the scatter's figure: it takes mouse and keys, and shows the hover card, a status line and spoken text.

The figure says where it is on the screen (Bokeh's plot view has its frame and scales), so places are exchanged in units of the axes and
nothing else has to be known of it. The card is in the browser's top layer (a popover): no container clips it, and it takes no mouse.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import param
from panel.custom import Child, JSComponent

from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import OpenStudy
from sslmem_kit.explorer.thumbnails import thumbnails
from sslmem_kit.names import PARTITIONS, SSLMEM
from sslmem_kit.store.files import read_beside

HELP = (
    "Drag a box (or choose the lasso) to select, with Shift to add; click a point to open it. Keyboard, when the plot has the focus: "
    "arrows go to the nearest point in that direction, Page Up and Page Down to the next higher and lower value of the colour, Home to the "
    "highest; Enter opens the point, Space adds it to the selection or takes it out, Escape clears."
)

SOFTWARE_RENDERERS = "swiftshader|llvmpipe|softpipe|software|basic render"
"""Regular expression of the names of WebGL renderers that use no graphics card."""


class PlotOverlay(JSComponent):
    """Front end of a figure with its card, lines of text, mouse and keys.

    Messages to :meth:`on_msg` have ``kind``: ``move`` (x, y), ``leave``, ``key`` (key), ``adding`` (whether Shift was held as the mouse
    button was released), ``window`` (the fields of :class:`~sslmem_kit.explorer.scatter.points.Window`), ``renderer`` (renderer: how points
    are drawn).
    """

    plot = Child()
    card = param.Dict({}, doc="Empty, or rows (name, value), picture (data URI) and at (x, y).")
    line = param.String(doc="Text below the figure.")
    label = param.String(doc="Accessible name of the figure.")
    spoken = param.String(doc="Text that screen readers read out when it changes.")
    help = param.String(HELP, constant=True)
    software = param.String(SOFTWARE_RENDERERS, constant=True)

    _esm = read_beside(__file__, "plot_overlay.js")
    _stylesheets = [read_beside(__file__, "plot_overlay.css")]

    @classmethod
    def _patch_datamodel_ref(cls, props: Any, ref: str) -> None:
        """Tag the data model, for Panel to clean up; it would look for more of them through the whole figure, at every change."""
        data, tag = getattr(props, "data", props), f"__ref:{ref}"
        if tag not in data.tags:
            data.tags.append(tag)


@lru_cache(maxsize=400)
def picture(opened: OpenStudy, position: int) -> str:
    """Return the thumbnail of a sample as a data URI; the last few hundred are cached."""
    return thumbnails(opened, np.array([position]))[0]


def describe(session: Session, position: int) -> list[list[str]]:
    """Return rows (name, value) of a sample: id, class, partition, score with its interval, values on the axes and of the colour."""
    opened = session.opened
    rows = [
        ["sample", str(int(opened.ids[position]))],
        *([["file", file]] if (file := opened.sample(position).file) else []),
        ["class", session.class_name(position)],
        ["partition", PARTITIONS[int(opened.partitions[position])]],
        ["score", _number(session.scores[SSLMEM].values[position]) + _interval(session, position)],
    ]
    for key in dict.fromkeys((session.x, session.y, session.colour)):
        if key != SSLMEM:
            rows.append([session.quantities[key].label, _number(session.column(key)[position])])
    return rows


def _interval(session: Session, position: int) -> str:
    if "low" not in session.scores:
        return ""
    low, high = (float(session.scores[name].values[position]) for name in ("low", "high"))
    return f" [{low:.3g}, {high:.3g}]" if np.isfinite([low, high]).all() else " (interval not defined: one seed, or too few views)"


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "–"  # noqa: RUF001
