"""State of a session: the choices, and what follows from them. Every part of the page reads and writes this and nothing else.

Choices are the fields of :class:`~sslmem_kit.explorer.link_state.State`. From them follow, in this order: the open study and the encoders,
their scores, the samples that pass the filters (``shown``), the threshold as a score (``limit``), and the selection (``selected``).
Positions are places on the study's ``sample`` axis; they never leave a session, links carry ids. Arrays are shared: do not change them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import param

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.link_state import State, pack_ids, unpack_ids
from sslmem_kit.explorer.study_cache import Library, OpenStudy
from sslmem_kit.names import PARTITION_CODE, PARTITIONS, SSLMEM
from sslmem_kit.scores import PROTOCOLS, default_protocol, usable_protocols

ENCODER_FILTERS = ("method", "backbone", "seed")
DEFAULT_QUANTILE = 0.9
OUTLINE_CORNERS = 200

_NOTHING = np.empty(0, np.int64)


class Session(param.Parameterized):
    """State of one browser tab or notebook cell.

    Parameters
    ----------
    library
        Studies, shared with other sessions.
    state
        Initial state; what the studies do not have is left out and listed in ``note``.
    note
        Remark on it that is shown.
    dark
        Use dark colours.
    """

    study = param.String(doc="Key of the study in the library.")
    protocol = param.String("corrected")
    method = param.List([], doc="Methods whose encoders count; empty is all.")
    backbone = param.List([])
    seed = param.List([])
    classes = param.List([], doc="Names of the classes that are shown; empty is all.")
    partition = param.List(["candidate"], doc="Names of the partitions that are shown; empty is all.")
    x = param.String("alignment_f", doc="Key of the quantity on the x axis.")
    y = param.String("alignment_g")
    colour = param.String(SSLMEM)
    threshold = param.Number(None, allow_None=True, doc="Threshold in the unit of threshold_by.")
    threshold_by = param.Selector(default="value", objects=["value", "quantile", "fdr"])
    sort = param.String(
        "", doc="Key of the quantity that the gallery is ordered by; empty: what orders the samples of the study best."
    )
    ascending = param.Boolean(False)
    sample = param.Integer(None, allow_None=True, doc="Id of the sample whose detail is open.")
    tab = param.String("explore")
    left = param.String("")
    right = param.String("")
    dark = param.Boolean(False, doc="Dark colours; fixed for a session.", constant=True)

    opened = param.Parameter(doc="The OpenStudy that is shown.")
    encoders = param.Parameter((), doc="Ids of the encoders whose alignments are scored.")
    scores = param.Parameter(doc="Dataset of scores on sample; None where there are none, then `problem` says why.")
    problem = param.String("", doc="Reason why there is nothing to see, and what to do.")
    shown = param.Parameter(_NOTHING, doc="Positions of the samples that pass the filters, ascending.")
    limit = param.Number(float("nan"), doc="The threshold as a score.")
    selected = param.Parameter(_NOTHING, doc="Positions of the selected samples, ascending.")
    note = param.String("", doc="Remark on the last action.")

    def __init__(self, library: Library, state: State | None = None, *, note: str = "", dark: bool = False) -> None:
        super().__init__(dark=dark)
        self.library = library
        self._outline: tuple[tuple[float, float], ...] = ()
        self._restore(state or State(), note)
        self.param.watch(self._update, ["study", "protocol", *ENCODER_FILTERS, "classes", "partition", "threshold", "threshold_by"])

    # -- from choices to what is shown --------------------------------------------------------------------------------------------

    def _update(self, *events: Any) -> None:
        changed = {event.name for event in events}
        derived: dict[str, Any] = {}
        if "study" in changed:
            before, opened = self.opened, self.library.open(self.study)
            # The same data: ids mean the same samples, so the selection stays.
            same = opened.tree is not None and before.tree is not None and opened.fingerprint == before.fingerprint != ""
            ids = before.ids[self.selected] if same else _NOTHING
            derived |= {"opened": opened, "selected": opened.positions(ids) if same else _NOTHING, "note": ""}
            if not same:
                derived |= {"sample": None}
            # Filters are the old study's; those that fit nothing here would leave an empty page.
            derived |= self._fitting(opened)
        with param.parameterized.batch_call_watchers(self):
            self.param.update(**derived)
            if changed & {"study", "protocol", *ENCODER_FILTERS}:
                self._score()
            if changed & {"study", "classes", "partition"}:
                self.shown = self._passing()
            if changed & {"study", "protocol", *ENCODER_FILTERS, "threshold", "threshold_by"}:
                self.limit = self._limit()

    def _score(self) -> None:
        opened = self.opened
        if opened.tree is None:
            self.param.update(scores=None, encoders=(), problem=opened.problem)
            return
        encoders = opened.encoders(**{name: getattr(self, name) for name in ENCODER_FILTERS})
        try:
            self.param.update(encoders=encoders, scores=opened.scores(self.protocol, encoders), problem="")
        except UserError as error:
            self.param.update(encoders=encoders, scores=None, problem=f"{error}. Choose other methods, backbones or seeds.")

    def _passing(self) -> np.ndarray:
        opened = self.opened
        if opened.tree is None:
            return _NOTHING
        passing = np.ones(len(opened.ids), bool)
        if self.partition:
            wanted = np.array([name in self.partition for name in PARTITIONS])
            passing &= wanted[opened.partitions]
        if self.classes:
            wanted = np.isin(np.array(opened.class_names, object), np.array(self.classes, object))
            passing &= wanted[opened.labels]
        return np.flatnonzero(passing)

    def _limit(self) -> float:
        if self.scores is None:
            return float("nan")
        if self.threshold is None:
            return self.quantile_limit(DEFAULT_QUANTILE)
        if self.threshold_by == "quantile":
            return self.quantile_limit(min(max(self.threshold, 0.0), 1.0))
        if self.threshold_by == "fdr":
            below = self.scores[SSLMEM].values[self.q_values() <= self.threshold]
            # Above a limit is strictly above: the lowest of them lies above the next number down.
            return float(np.nextafter(below.min(), below.dtype.type("-inf"))) if len(below) else float("inf")
        return float(self.threshold)

    def quantile_limit(self, quantile: float) -> float:
        """Return the quantile of the scores of the candidates (of all samples, without candidates)."""
        values = self.scores[SSLMEM].values
        among = values[self.opened.partitions == PARTITION_CODE["candidate"]]
        return float(np.quantile(among if len(among) else values, quantile))

    def q_values(self) -> np.ndarray:
        """Return the false-discovery rates of the candidates, (sample,); NaN for other samples, whose scores are not high where memorized."""
        return np.where(self.opened.partitions == PARTITION_CODE["candidate"], self.column("q_value"), np.float32(np.nan))

    # -- for the parts of the page --------------------------------------------------------------------------------------------

    @property
    def quantities(self) -> dict[str, Any]:
        """Choices for axes, colour and order, by key: :class:`~sslmem_kit.explorer.quantities.Quantity`."""
        return {} if self.opened.tree is None else self.opened.quantities

    @property
    def sorted_by(self) -> str:
        """Key of the quantity that the gallery is ordered by."""
        return self.sort or self.opened.ordering

    def order_doubt(self) -> str:
        """Return why the order by score is not to be relied on, as a sentence; empty where it is, or another quantity orders."""
        doubt = "" if self.scores is None or self.sorted_by != SSLMEM else self.scores.attrs["order_caveat"]
        return f"{doubt[0].upper()}{doubt[1:]}." if doubt else ""

    def column(self, key: str) -> np.ndarray:
        """Return the values of a quantity for every sample of the study, (sample,) float32."""
        return self.opened.column(key, self.protocol, self.encoders)

    def class_name(self, position: int) -> str:
        """Return the name of a sample's class."""
        return self.opened.class_names[self.opened.labels[position]]

    def above(self) -> np.ndarray:
        """Return the positions of the shown samples whose score is strictly above the threshold, ascending; needs scores."""
        return self.shown[self.scores[SSLMEM].values[self.shown] > self.limit]

    def listed(self) -> np.ndarray:
        """Return the positions of the samples of gallery and downloads, ascending: the selection, else those above the threshold."""
        return self.selected if self.scores is None or len(self.selected) else self.above()

    def select(self, positions: np.ndarray, outline: tuple[tuple[float, float], ...] = ()) -> None:
        """Select samples; ``outline`` is the polygon, in units of the axes, that chose them, if one did."""
        self._outline = outline
        positions = np.asarray(positions, np.int64)
        # Most come in ascending order; np.unique takes seconds for a million.
        self.selected = positions if (np.diff(positions) > 0).all() else np.unique(positions)

    def select_inside(self, outline: tuple[tuple[float, float], ...]) -> None:
        """Select the shown samples whose (x, y) lies inside a polygon; a long outline is thinned first, so that a link repeats it."""
        step = -(-len(outline) // OUTLINE_CORNERS)
        outline = tuple((_short(a), _short(b)) for a, b in outline[::step])
        x, y = self.column(self.x)[self.shown], self.column(self.y)[self.shown]
        self.select(self.shown[inside(x, y, outline)], outline)

    # -- links ---------------------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Return the state that a link to this view carries."""
        own = {name: getattr(self, name) for name in State.model_fields if name not in ("ids", "outline", "v")}
        own |= {name: tuple(value) for name, value in own.items() if isinstance(value, list)}
        ids = pack_ids(self.opened.ids[self.selected]) if self.opened.tree is not None else ""
        # A selection that is too large for ids is repeated from its outline.
        return State(**own, ids=ids, outline=() if ids else self._outline)

    def restore(self, state: State, note: str = "") -> None:
        """Go to the view of a link; what the studies do not have is left out and listed in ``note``."""
        with param.parameterized.discard_events(self):
            self._restore(state, note)
        self.param.trigger(*(name for name in self.param if name != "name"))

    def _restore(self, state: State, note: str) -> None:
        notes = [note] if note else []
        key = state.study or self.library.keys[0]
        if key not in self.library.keys:
            notes.append(f"There is no study {key!r} here.")
            key, state = self.library.keys[0], State()
        opened = self.library.open(key)
        fields = {name: value for name, value in state.model_dump().items() if name not in ("ids", "outline", "v", "study")}
        for name in (*ENCODER_FILTERS, "classes", "partition"):
            fields[name] = list(fields[name])
        if state.protocol not in PROTOCOLS:
            notes.append(f"There is no protocol {state.protocol!r}.")
            fields["protocol"] = "corrected"
        with param.parameterized.discard_events(self):
            self.param.update(**fields, study=key, opened=opened, selected=_NOTHING)
            dropped = self._fitting(opened)
            if dropped:
                notes.append(f"Left out of the link, because this study does not have it: {', '.join(sorted(dropped))}.")
            self.param.update(**dropped)
            self._score()
            if self.scores is None and opened.tree is not None and any(getattr(self, name) for name in ENCODER_FILTERS):
                notes.append(self.problem)
                self.param.update(**{name: [] for name in ENCODER_FILTERS})
                self._score()
            self.shown = self._passing()
            self.limit = self._limit()
            self._select_from(state, notes)
            self.note = " ".join(notes)

    def _select_from(self, state: State, notes: list[str]) -> None:
        if self.opened.tree is None:
            return
        try:
            ids = unpack_ids(state.ids)
        except ValueError:
            ids = _NOTHING
            notes.append("The selection in the link could not be read.")
        if len(ids):
            positions = self.opened.positions(ids)
            if len(positions) < len(ids):
                notes.append(f"{len(ids) - len(positions)} selected samples are not in this study.")
            self.select(positions)
        elif state.outline and self.scores is not None:
            self.select_inside(state.outline)

    def _fitting(self, opened: OpenStudy) -> dict[str, Any]:
        """Return changes of the choices that a study cannot satisfy, to ones that it can."""
        if opened.tree is None:
            return {}
        changes: dict[str, Any] = {}
        has = {"classes": set(opened.class_names), "partition": set(PARTITIONS)}
        has |= {name: set(opened.choices(name)) for name in ENCODER_FILTERS}
        for name, known in has.items():
            chosen = getattr(self, name)
            if kept := [value for value in chosen if value in known]:
                if len(kept) < len(chosen):
                    changes[name] = kept
            elif chosen:
                changes[name] = []
        quantities = opened.quantities
        for name in ("x", "y", "colour", "sort"):
            if getattr(self, name) not in quantities and getattr(self, name) != getattr(State(), name):
                changes[name] = getattr(State(), name)
        if self.protocol not in usable_protocols(opened.tree.to_dataset()):
            changes["protocol"] = default_protocol(opened.tree.to_dataset())
        if self.sample is not None and not len(opened.positions(np.array([self.sample]))):
            changes["sample"] = None
        return changes


def inside(x: np.ndarray, y: np.ndarray, outline: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Return whether points lie inside a polygon, (point,) bool, by the parity of the edges that a ray to the right crosses.

    Parameters
    ----------
    x, y
        (point,) coordinates.
    outline
        Corners; the last is joined to the first.
    """
    result = np.zeros(len(x), bool)
    if len(outline) < 3:
        return result
    corners = np.asarray(outline, float)
    low, high = corners.min(axis=0), corners.max(axis=0)
    near = np.flatnonzero((x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]))
    # By height, so that an edge looks only at the points that it passes: a lasso has many edges.
    near = near[np.argsort(y[near])]
    px, py = x[near].astype(float), y[near].astype(float)
    crossings = np.zeros(len(near), bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        passed = slice(*np.searchsorted(py, (min(y1, y2), max(y1, y2))))
        crossings[passed] ^= px[passed] < (x2 - x1) * (py[passed] - y1) / (y2 - y1) + x1
    result[near] = crossings
    return result


def _short(value: float) -> float:
    return float(f"{value:.6g}")
