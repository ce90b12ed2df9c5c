"""Downloads: samples with their scores as tables or as a split for a removal study, figures, and a link to the view.

Files travel through the connection of the page, in pieces and only when they are asked for: nothing of a study has an address, and of a
million rows no more than some thousands are in memory at a time. They are made beside the event loop, so that others need not wait.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import param
from panel.custom import JSComponent

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.downloads.files import csv_file, figure_file, means, npz_file, parquet_file, plain
from sslmem_kit.explorer.gallery.chosen import caption
from sslmem_kit.explorer.link_state import State, to_query
from sslmem_kit.explorer.session import Session
from sslmem_kit.store.files import read_beside

SAMPLES = {
    "csv": ("scores", "csv", "CSV", "scores as a table for spreadsheets"),
    "parquet": ("scores", "parquet", "Parquet", "scores as a table with types"),
    "npz": ("split", "npz", "Split (npz)", "sample ids for a removal study: sslmem run SPEC --remove FILE"),
}
FIGURES = {"scatter": "Scatter", "distributions": "Distributions", "shares": "Share above the threshold"}


class DownloadsPanel(JSComponent):
    """Buttons, the line that says which samples they give, and the link."""

    items = param.List([], doc="Mappings: key, group, text, title, name of the file, and ready (whether it can be requested).")
    text = param.String("")
    link = param.String("")

    _esm = read_beside(__file__, "downloads.js")
    _stylesheets = [read_beside(__file__, "downloads.css")]


class Downloads(param.Parameterized):
    """Downloads of the selection (without one: of the shown samples above the threshold) and of figures, and the link."""

    base = param.String("?", doc="Start of a link, the question mark included.")

    def __init__(self, session: Session, **params: Any) -> None:
        super().__init__(**params)
        self.session = session
        self._running: tuple[str, Iterator[bytes]] | None = None
        self.view = DownloadsPanel(sizing_mode="stretch_width", margin=(4, 10))
        self.view.on_msg(self._answer)
        session.param.watch(self._update_items, ["opened", "scores", "shown", "limit", "selected"])
        fields = [name for name in State.model_fields if name in session.param]
        session.param.watch(self._link, [*fields, "selected"])
        self.param.watch(self._link, ["base"])
        self._update_items()
        self._link()

    def file_name(self, what: str, ending: str) -> str:
        """Return ``<study>-<what>.<ending>``, of characters that every operating system allows."""
        study = re.sub(r"[^A-Za-z0-9._-]+", "-", self.session.opened.key).strip("-.") or "study"
        return f"{study[:80]}-{what}.{ending}"

    def contents(self, key: str) -> Iterator[bytes]:
        """Return a file in pieces: ``csv``, ``parquet``, ``npz``, or a figure such as ``scatter.svg``.

        Its content is fixed by this call, and computed as the pieces are taken.

        Raises
        ------
        UserError
            There is no such file, or nothing to put into it.
        """
        session = self.session
        figure, _, ending = key.partition(".")
        if session.scores is None or not len(session.shown if figure == "scatter" else session.opened.ids):
            raise UserError("nothing is shown: choose other filters")
        if key in SAMPLES:
            positions = self.session.listed()
            if not len(positions):
                raise UserError("nothing is selected and no shown sample is above the threshold")
            if key == "npz":
                return npz_file(session.opened, session.scores, positions, caption(session, positions))
            return {"csv": csv_file, "parquet": parquet_file}[key](session.opened, session.scores, positions)
        if figure not in FIGURES or ending not in ("svg", "png"):
            raise UserError(f"key: there is no file {key!r}")
        return figure_file(self._plot(figure), ending)

    # -- what the page shows ---------------------------------------------------------------------------------------------------------

    def _update_items(self, *_: Any) -> None:
        session, number = self.session, len(self.session.listed())
        if session.scores is None:
            text = "There is nothing to take away yet."
        elif len(session.selected):
            text = f"The {number:,} selected samples:" if number > 1 else "The selected sample:"
        elif number:
            text = f"Nothing is selected. The {number:,} shown samples above the threshold of {session.limit:.4g}:"
        else:
            text = "Nothing is selected, and no shown sample is above the threshold: draw a box or a lasso in the scatter, or lower it."
        if worth := caption(session, session.listed()) if number else "":
            text = f"{text.removesuffix(':')}. {worth}"
        items = [
            {
                "key": key,
                "group": "Samples",
                "text": text,
                "title": title,
                "name": self.file_name(what, ending),
                "ready": number > 0,
            }
            for key, (what, ending, text, title) in SAMPLES.items()
        ]
        for key, name in FIGURES.items():
            ready = session.scores is not None and (key != "scatter" or len(session.shown) > 0)
            items += [
                {"key": f"{key}.{ending}", "group": name, "text": ending.upper(), "title": f"{name}, as it is chosen now, as {ending.upper()}",
                 "name": self.file_name(key, ending), "ready": ready}
                for ending in ("svg", "png")
            ]  # fmt: skip
        self.view.param.update(items=items, text=text)

    def _link(self, *_: Any) -> None:
        self.view.link = self.base + to_query(self.session.state())

    async def _answer(self, event: Any) -> None:
        """Send the next piece of a file when the page requests it: no more than one is on its way."""
        asked = event.data
        name = str(asked.get("id", ""))
        try:
            if "get" in asked:
                self._running = (name, self.contents(str(asked["get"])))
            if self._running is None or self._running[0] != name:
                return
            piece = await asyncio.to_thread(next, self._running[1], None)
        except UserError as error:
            self._running = None
            self.view._send_msg({"id": name, "error": f"There is no file: {error}."})
            return
        except Exception:
            self._running = None
            self.view._send_msg({"id": name, "error": "The file could not be made; the server's log says why."})
            raise
        if piece is None:
            self._running = None
        self.view._send_msg({"id": name, "piece": piece} if piece else {"id": name, "type": "application/octet-stream"})

    # -- figures -----------------------------------------------------------------------------------------------------------------------

    def _plot(self, figure: str) -> Callable[[Any], Any]:
        """Return a function that plots a figure of the present choices, given the package of figures."""
        session = self.session
        scores, limit, study = session.scores, session.limit, plain(session.opened.key)
        if figure == "distributions":
            return lambda figures: figures.fig02c.plot(scores, means(scores))
        if figure == "shares":
            return lambda figures: figures.fig05.plot(scores, limit=limit if np.isfinite(limit) else None)
        shown, selected = session.shown, session.selected
        keys = (session.x, session.y, session.colour)
        columns = {axis: session.column(key)[shown] for axis, key in zip(("x", "y", "colour"), keys, strict=True)}
        finite = columns["colour"][np.isfinite(columns["colour"])]
        low, high = np.quantile(finite, (0.005, 0.995)).tolist() if len(finite) else (0.0, 1.0)
        ringed = np.isin(shown, selected, assume_unique=True)
        labels = tuple(plain(session.quantities[key].label) for key in keys)
        rings = f", {int(ringed.sum()):,} selected" if ringed.any() else ""
        return lambda figures: figures.scatter.plot(
            columns,
            labels=labels,
            title=f"{study}: {len(shown):,} samples{rings} ({scores.attrs['protocol']} protocol)",
            identity=set(keys[:2]) == {"alignment_f", "alignment_g"},
            ringed=ringed,
            colour_limits=(low, high) if low < high else None,
        )
