"""The gallery: pictures of the selected samples, or without a selection of those above the threshold, sorted, a page at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import param
from panel.custom import JSComponent

from sslmem_kit.explorer.gallery.chosen import caption
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.theme import PARTITION_COLOURS
from sslmem_kit.explorer.thumbnails import answer, known_ids, source
from sslmem_kit.names import PARTITIONS, SSLMEM
from sslmem_kit.store.files import read_beside

PAGE = 48
"""Number of samples on a page."""

NOT_DEFINED = "–"  # noqa: RUF001 - an en dash, as tables have it
_SWATCHES = "\n".join(f'.swatch[data-partition="{name}"] {{ background: {colour}; }}' for name, colour in PARTITION_COLOURS.items())


class GalleryGrid(JSComponent):
    """The front end of the gallery."""

    items = param.List([], doc="Samples of the page, a dictionary of texts each.")
    first = param.Integer(0, doc="Rank of the page's first sample.")
    total = param.Integer(0)
    summary = param.String("")
    orders = param.List([], doc="Key and label of quantities that the samples can be sorted by.")
    sort = param.String("")
    ascending = param.Boolean(False)
    current = param.Integer(None, allow_None=True, doc="Id of the sample whose detail is open.")
    source = param.String("")

    _esm = read_beside(__file__, "../thumbnails.js", "gallery.js")
    _stylesheets = [read_beside(__file__, "gallery.css"), _SWATCHES]


class Gallery:
    """The gallery of a session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.page = 0
        self._made_of: tuple[Any, ...] | None = None
        self._made: list[dict[str, Any]] = []
        self.view = GalleryGrid(sizing_mode="stretch_width", margin=(4, 8))
        self.view.on_msg(self._on_message)
        session.param.watch(self._follow, ["opened", "scores", "shown", "limit", "selected", "sort", "ascending", "sample"])
        self._offer()
        self._show(to=session.sample)

    def _follow(self, *events: Any) -> None:
        changed = {event.name for event in events}
        if "opened" in changed:
            self._offer()
        if changed & {"opened", "shown", "selected", "sort", "ascending"}:
            self.page = 0
        on_page = any(item["id"] == self.session.sample for item in self.view.items)
        self._show(to=None if on_page or "sample" not in changed else self.session.sample)

    def _offer(self) -> None:
        self.view.orders = [[key, quantity.label] for key, quantity in self.session.quantities.items()]

    def _show(self, *, to: int | None = None) -> None:
        """Send the differences from what is shown; with ``to``, turn to the page of that sample if it is listed."""
        session = self.session
        if session.scores is None:
            self.view.param.update(items=[], total=0, first=0, summary="", current=None)
            return
        listed = session.listed()
        key = sort_key(session, listed)
        if to is not None and (there := np.flatnonzero(listed == session.opened.positions(np.array([to])))).size:
            self.page = rank(key, int(there[0])) // PAGE
        self.page = min(self.page, max(0, -(-len(listed) // PAGE) - 1))
        first = self.page * PAGE
        shown = listed[ranked(key, first, first + PAGE)]
        self.view.param.update(
            items=self._items(shown),
            first=first,
            total=len(listed),
            summary=self._summary(listed),
            sort=session.sorted_by,
            ascending=session.ascending,
            current=session.sample,
            source=source(session.opened),
        )

    def _items(self, shown: np.ndarray) -> list[dict[str, Any]]:
        """Return the samples of the page, made again only where something on it differs: a slider that is dragged mostly changes nothing."""
        session = self.session
        made_of = (session.scores, session.sorted_by, shown.tobytes())
        if self._made_of is None or made_of[0] is not self._made_of[0] or made_of[1:] != self._made_of[1:]:
            self._made_of, opened = made_of, session.opened
            texts = zip(*score_texts(session, shown), strict=True)
            also = [""] * len(shown)
            if session.sorted_by not in (SSLMEM, "low", "high"):
                values = session.column(session.sorted_by)[shown].tolist()
                also = [f"{session.quantities[session.sorted_by].label} {number(value, 4)}" for value in values]
            about = zip(opened.ids[shown].tolist(), opened.labels[shown].tolist(), opened.partitions[shown].tolist(), strict=True)
            names = opened.class_names
            files = opened.files(shown) if len(shown) else None
            self._made = [
                {
                    "id": id_,
                    "file": file,
                    "class": names[label],
                    "partition": PARTITIONS[code],
                    "score": score,
                    "interval": interval,
                    "title": title,
                    "also": extra,
                }
                for (id_, label, code), (score, interval, title), extra, file in zip(
                    about, texts, also, [""] * len(shown) if files is None else map(str, files), strict=True
                )
            ]
        return self._made

    def _summary(self, listed: np.ndarray) -> str:
        """Describe the listed samples, what they are worth, and whether their order is to be relied on."""
        said = [self._which(len(listed))]
        if len(listed) and self.session.shown.size:
            said += [caption(self.session, listed), self.session.order_doubt()]
        return " ".join(filter(None, said))

    def _which(self, total: int) -> str:
        session = self.session
        if len(session.selected):
            return f"{total:,} selected {'sample' if total == 1 else 'samples'}."
        if not len(session.shown):
            return "No sample passes the filters: choose more classes or partitions."
        how = "draw a box or a lasso in the scatter, or tap a point"
        if not total:
            return f"Nothing is selected, and no shown sample is above the threshold of {session.limit:.4g}: lower it, or {how}."
        order = f"by {session.quantities[session.sorted_by].label}, {'lowest' if session.ascending else 'highest'} first"
        return f"Nothing is selected: {how}. Until then, the {total:,} above the threshold of {session.limit:.4g}, {order}."

    def _on_message(self, event: Any) -> None:
        """Handle a message of the front end; its content is checked like any input."""
        data, session = event.data, self.session
        if not isinstance(data, dict) or session.scores is None:
            return
        if "pictures" in data:
            answer(session, self.view, data["pictures"])
        if data.get("sort") in list(session.quantities):
            session.sort = data["sort"]
        if isinstance(data.get("ascending"), bool):
            session.ascending = data["ascending"]
        if data.get("turn") in (-1, 1):
            self.page = max(0, self.page + data["turn"])
            self._show()
        open_asked(session, data)


def open_asked(session: Session, data: dict[str, Any]) -> None:
    """Open the sample that a message of a front end names in ``open``, or with None close the detail."""
    wanted = data.get("open", False)
    if wanted is None or known_ids(session, [wanted]):
        session.sample = None if wanted is None else int(wanted)


def sort_key(session: Session, positions: np.ndarray) -> np.ndarray:
    """Return (sample,) numbers that sort these samples in ascending order; undefined values come last in both directions."""
    values = session.column(session.sorted_by)[positions]
    return np.nan_to_num(values if session.ascending else -values, nan=np.inf, posinf=np.inf, neginf=-np.inf)


def ranked(key: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return the indexes of ranks ``start`` to ``stop``, ties in their order in ``key``, without sorting everything."""
    stop = min(stop, len(key))
    if start >= stop:
        return np.empty(0, np.int64)
    up_to = np.flatnonzero(key <= np.partition(key, stop - 1)[stop - 1])
    return up_to[np.argsort(key[up_to], kind="stable")[start:stop]]


def rank(key: np.ndarray, index: int) -> int:
    """Return the rank that :func:`ranked` gives the sample at an index."""
    return int((key < key[index]).sum() + (key[:index] == key[index]).sum())


def number(value: float, digits: int) -> str:
    """Return a number as text; a dash where it is not finite."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}" if np.isfinite(value) else NOT_DEFINED


def score_texts(session: Session, positions: np.ndarray) -> tuple[list[str], list[str], list[str]]:
    """Return scores of samples, their 95 % intervals, and the intervals in words."""
    scores = session.scores
    width = float(scores.attrs.get("range", 1.0))  # scores may be shares of a range, intervals are of the difference itself
    digits = 3 if "range" in scores.attrs else 4
    score = [number(value, digits) for value in scores[SSLMEM].values[positions].tolist()]
    ends = (
        [
            number(value, digits)
            for value in (scores[SSLMEM] + (scores[name] - scores["difference"]) / width).values[positions].tolist()
        ]
        for name in ("low", "high")
    )
    pairs = list(zip(*ends, strict=True))
    intervals = [NOT_DEFINED if NOT_DEFINED in pair else "[{}, {}]".format(*pair) for pair in pairs]
    of_views = "standard_error_encoders" in scores and bool(np.isfinite(scores["standard_error_encoders"].values).any())
    why = "so few views" if of_views else "one seed"
    words = [
        f"interval not defined with {why}" if NOT_DEFINED in pair else "95 % interval {} to {}".format(*pair) for pair in pairs
    ]
    return score, intervals, words
