"""The detail: everything that a store holds of one sample, and steps to the next one in the order of the gallery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import param
import xarray as xr
from panel.custom import JSComponent

from sslmem_kit.data.record import stored_record
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.gallery.gallery import NOT_DEFINED, number, open_asked, score_texts, sort_key
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import OpenStudy, SampleRecord
from sslmem_kit.explorer.theme import PARTITION_COLOURS
from sslmem_kit.explorer.thumbnails import answer, data_uri, source, thumbnails
from sslmem_kit.names import ENCODER, EPOCH, FAMILIES, PARTITION, PARTITIONS, SAMPLE, TRAINED_ON
from sslmem_kit.statistics.duplicates import SEEN_BY_THE_OTHER
from sslmem_kit.store import DUPLICATES, reading
from sslmem_kit.store.files import read_beside

NOTHING = "No sample is open: choose one in the gallery, or tap a point in the scatter."
NO_VIEWS = "Views are kept for candidates and extremes only."
NO_NEIGHBOURS = "Neighbours are kept for candidates and extremes only."
NONE_KEPT = "This study keeps none."
TWINS_HIDE = "the family that did not see this sample has seen a twin of it: a score near zero says nothing"
FAMILY_COLOURS = {"f": PARTITION_COLOURS["candidate"], "g": PARTITION_COLOURS["independent"]}
"""Colours of the families: those of the partitions that only this family saw."""


class DetailSheet(JSComponent):
    """The front end of the detail."""

    record = param.Dict(None, allow_None=True, doc="Content of the open sample; None where none is open.")
    neighbours = param.List([], doc="Nearest samples under `encoder`, nearest first.")
    encoder = param.String("")
    message = param.String("")
    colours = param.Dict({})
    source = param.String("")

    _esm = read_beside(__file__, "../thumbnails.js", "detail.js")
    _stylesheets = [read_beside(__file__, "detail.css")]


class Detail:
    """The detail of a session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._encoder = ""
        self._neighbours: xr.Dataset | None = None
        self.view = DetailSheet(sizing_mode="stretch_width", margin=(4, 10), colours={**PARTITION_COLOURS, **FAMILY_COLOURS})
        self.view.on_msg(self._on_message)
        session.param.watch(self._show, ["opened", "scores", "sample"])
        self._show()

    def _show(self, *_: Any) -> None:
        session = self.session
        self._neighbours = None
        if session.scores is None:
            self.view.param.update(record=None, neighbours=[], message="")
            return
        found = session.opened.positions(np.array([] if session.sample is None else [session.sample]))
        if not len(found):
            self.view.param.update(record=None, neighbours=[], message=NOTHING)
            return
        sample = session.opened.sample(int(found[0]))
        try:
            record = self._record(sample)
            self._neighbours, lost = _or_problem(sample.neighbours)
            record["neighbours_note"] = lost or record["neighbours_note"]
            record["neighbour_encoders"] = self._neighbour_encoders()
            if self._encoder not in record["neighbour_encoders"]:
                self._encoder = next(iter(record["neighbour_encoders"]), "")
            nearest = self._nearest(sample.position)
        except UserError as error:
            self.view.param.update(record=None, neighbours=[], message=f"{error}.")
            return
        self.view.param.update(record=record, neighbours=nearest, encoder=self._encoder, message="", source=source(session.opened))

    def _record(self, sample: SampleRecord) -> dict[str, Any]:
        opened, position = self.session.opened, sample.position
        pictures, lost = _or_problem(sample.views)
        return {
            "id": sample.id,
            "class": self.session.class_name(position),
            "partition": PARTITIONS[opened.partitions[position]],
            "picture": thumbnails(opened, np.array([position]))[0],
            "size": _size(sample),
            "file": sample.file,
            "facts": self._facts(position),
            "views": [] if pictures is None else self._views(sample, pictures),
            "views_note": lost or ("" if pictures is not None else NO_VIEWS if "views" in opened.tree.children else NONE_KEPT),
            "protocol": self.session.protocol,
            "encoders": self._encoders(sample),
            "charts": [chart for chart in (_path(sample), _layers(sample)) if chart],
            "neighbours_note": NO_NEIGHBOURS if "neighbours" in opened.tree.children else NONE_KEPT,
        }

    def _facts(self, position: int) -> list[list[str]]:
        """Return name, value and title of the score of the sample and of the statistics beside it."""
        scores = self.session.scores
        score, interval, words = (texts[0] for texts in score_texts(self.session, np.array([position])))
        undefined = f"not defined ({words.removeprefix('interval not defined with ')})"
        facts = [["score", score, ""], ["95 % interval", interval if interval != NOT_DEFINED else undefined, words]]
        for name, label, digits in (
            ("standard_error", "standard error", 4),
            ("z", "z against the null", 2),
            ("quantile", "quantile in the null", 3),
        ):
            value = number(scores[name].values[position], digits) if name in scores else NOT_DEFINED
            facts.append([label, value, "not defined" if value == NOT_DEFINED else ""])
        counts, hidden = opened_twins(self.session.opened, position)
        if counts:
            twins = ", ".join(f"{count:,} in {name}" for name, count in counts.items()) if any(counts.values()) else "none"
            facts.append(["near-duplicates", twins, TWINS_HIDE if hidden else ""])
        return facts

    def _views(self, sample: SampleRecord, pictures: np.ndarray) -> list[dict[str, str]]:
        """Return picture and name of each view, and its mean distance to the clean image under each family."""
        distances, view_a, view_b = sample.distances, sample.distances["view_a"].values, sample.distances["view_b"].values
        families = distances["family"].values.astype(object)
        counted = np.isin(distances[ENCODER].values.astype(object), np.array(self.session.encoders, object))
        views = [{"name": "clean image", "picture": data_uri(pictures[0]), "distances": ""}]
        for view in range(1, len(pictures)):
            pair = distances.values[(view_a == 0) & (view_b == view)]
            means = [(family, pair[:, counted & (families == family)]) for family in FAMILIES]
            text = "\n".join(f"{family} {number(values.mean(), 3)}" for family, values in means if values.size)
            views.append({"name": f"view {view}", "picture": data_uri(pictures[view]), "distances": text})
        return views

    def _encoders(self, sample: SampleRecord) -> list[dict[str, Any]]:
        """Return the alignment under each encoder; those that the filters leave out are excluded from the score."""
        alignment = sample.alignment(self.session.protocol)
        names, families, seen = (alignment[name].values.tolist() for name in (ENCODER, "family", TRAINED_ON))
        return [
            {
                "id": name,
                "family": family,
                "trained_on": trained,
                "counted": name in self.session.encoders,
                "value": value,
                "text": number(value, 4),
            }
            for name, family, trained, value in zip(names, families, seen, alignment.values.tolist(), strict=True)
        ]

    def _neighbour_encoders(self) -> list[str]:
        if self._neighbours is None:
            return []
        names = [str(name) for name in self._neighbours[ENCODER].values]
        return [
            *(name for name in names if name in self.session.encoders),
            *(name for name in names if name not in self.session.encoders),
        ]

    def _nearest(self, position: int) -> list[dict[str, Any]]:
        """Return the nearest samples under the chosen encoder."""
        if self._neighbours is None or not self._encoder:
            return []
        opened = self.session.opened
        at = {ENCODER: self._encoder}
        ids, distances = (self._neighbours[name].sel(at).values for name in ("neighbour", "distance"))
        known = np.isin(ids, opened.ids)
        positions = opened.positions(ids[known])
        ascending, place = np.unique(positions, return_inverse=True)
        seen = opened.tree[TRAINED_ON].isel({SAMPLE: ascending}).sel(at).load(scheduler="sync").values[place]
        return [
            {
                "id": int(opened.ids[other]),
                "class": self.session.class_name(other),
                "same": bool(opened.labels[other] == opened.labels[position]),
                "trained_on": bool(trained),
                "distance": number(distance, 3),
            }
            for other, trained, distance in zip(positions.tolist(), seen, distances[known], strict=True)
        ]

    def _on_message(self, event: Any) -> None:
        """Handle a message of the front end; its content is checked like any input."""
        data, session = event.data, self.session
        if not isinstance(data, dict) or session.scores is None:
            return
        if "pictures" in data:
            answer(session, self.view, data["pictures"])
        open_asked(session, data)
        if data.get("step") in (-1, 1):
            self._step(data["step"])
        if data.get("encoder") in self._neighbour_encoders():
            self._encoder = data["encoder"]
            nearest = self._nearest(int(session.opened.positions(np.array([session.sample]))[0]))
            self.view.param.update(encoder=self._encoder, neighbours=nearest)

    def _step(self, by: int) -> None:
        """Open the sample after or before the open one, in the order of the gallery."""
        session = self.session
        if session.sample is None:
            return
        position = int(session.opened.positions(np.array([session.sample]))[0])
        to = beside(session, position, by)
        if to is None:
            self.view.message = f"This is the {'last' if by > 0 else 'first'} one in the order of the gallery."
        else:
            session.sample = int(session.opened.ids[to])


def opened_twins(opened: OpenStudy, position: int) -> tuple[dict[str, int], bool]:
    """Return the near-duplicates of a sample by partition, those that there are, and whether they hide what is memorized of it; nothing where
    nobody looked."""
    if opened.tree is None or DUPLICATES not in opened.tree.children:
        return {}, False
    with reading(opened.study.results_path):
        row = opened.tree[DUPLICATES].to_dataset()["twins"].isel({SAMPLE: position}).load(scheduler="sync")
    counts = dict(zip(row[PARTITION].values.tolist(), row.values.tolist(), strict=True))
    own = PARTITIONS[opened.partitions[position]]
    hidden = any(counts[name] for name in SEEN_BY_THE_OTHER.get(own, ()))
    return {name: count for name, count in counts.items() if count} or {"shared": 0}, hidden


def _or_problem(read: Callable[[], Any]) -> tuple[Any, str]:
    """Return what is read and no problem, or None and the problem where it is damaged: the rest of a page is shown without it."""
    try:
        return read(), ""
    except UserError as error:
        problem = str(error)
        return None, f"{problem[0].upper()}{problem[1:]}."


def beside(session: Session, position: int, by: int) -> int | None:
    """Return the position of the sample just after (1) or before (-1) another, listed or not, in the order of the gallery."""
    listed = session.listed()
    key, own = sort_key(session, listed), sort_key(session, np.array([position]))[0]
    # Before in the order is before in (key, position).
    beyond = (key > own) | ((key == own) & (listed > position)) if by > 0 else (key < own) | ((key == own) & (listed < position))
    if not beyond.any():
        return None
    nearest = key[beyond].min() if by > 0 else key[beyond].max()
    return int(listed[beyond & (key == nearest)][0 if by > 0 else -1])


def _size(sample: SampleRecord) -> str:
    """Describe width and height of the image in its file, as it was scored, and as the store keeps it, where known and different."""
    tree = sample.opened.tree
    if "images" not in tree.children:
        return "no image"
    scored = stored_record(tree.attrs, sample.opened.class_names)["sizes"]
    sizes = {
        "in its file" if sample.file else "original": sample.original_shape,
        "scored": scored and scored["used"],
        "here": tree["images/thumbnail"].shape[1:3],
    }
    known = {name: f"{size[1]} x {size[0]}" for name, size in sizes.items() if size}
    if len(set(known.values())) == 1:
        return f"{known['here']} pixels"
    return "pixels: " + ", ".join(f"{text} {name}" for name, text in known.items())


def _path(sample: SampleRecord) -> dict[str, Any] | None:
    """Make the chart of the mean alignment of both families over epochs."""
    path = sample.trajectory()
    if path is None:
        return None
    series = [{"name": family, "family": family, "y": _numbers(path.sel(family=family))} for family in FAMILIES]
    return _chart("Path over epochs", "epoch", path[EPOCH].values, series)


def _layers(sample: SampleRecord) -> dict[str, Any] | None:
    """Make the chart of the alignment by layer, a line for each encoder."""
    layers = sample.layers()
    if layers is None:
        return None
    families = sample.opened.tree["family"].values[sample.opened.usable]
    layer = next(dim for dim in layers.dims if dim != ENCODER)
    rows = layers.transpose(ENCODER, layer)
    names = rows[ENCODER].values
    series = [
        {"name": str(name), "family": str(family), "y": _numbers(row)}
        for name, family, row in zip(names, families, rows, strict=True)
        if np.isfinite(row).any()
    ]
    return _chart("Alignment by layer", "layer", layers[layer].values, series) if series else None


def _chart(title: str, x_label: str, at: np.ndarray, series: list[dict[str, Any]]) -> dict[str, Any]:
    numeric = np.issubdtype(at.dtype, np.number)
    return {
        "title": title,
        "x_label": x_label,
        "x": at.astype(float).tolist() if numeric else list(range(len(at))),
        "x_names": [str(value) for value in at.tolist()],
        "series": series,
    }


def _numbers(values: xr.DataArray) -> list[float | None]:
    return [round(value, 5) if np.isfinite(value) else None for value in values.values.astype(float).tolist()]
