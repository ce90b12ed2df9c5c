"""The explorer: all panels on one page, in a browser and in JupyterLab, and the link that restores its state."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import panel as pn
from panel.reactive import Syncable

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.comparison.comparison import Comparison
from sslmem_kit.explorer.downloads.downloads import Downloads
from sslmem_kit.explorer.filters import Filters
from sslmem_kit.explorer.gallery.detail import Detail
from sslmem_kit.explorer.gallery.gallery import Gallery
from sslmem_kit.explorer.link_state import State, from_query, to_query
from sslmem_kit.explorer.notebook import display
from sslmem_kit.explorer.scatter.plot_overlay import SOFTWARE_RENDERERS
from sslmem_kit.explorer.scatter.scatter import Scatter
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.explorer.theme import Text, palette, variables
from sslmem_kit.explorer.threshold.threshold import Threshold
from sslmem_kit.statistics.overview import as_sentence, effect_table
from sslmem_kit.store.files import read_beside
from sslmem_kit.study import StudyResults

TABS = ("explore", "compare", "take away")
LINK_DELAY_MS = 500
"""Milliseconds without a change of the view after which the address follows it."""

# By default Panel answers a message that comes while a change of a menu waits without the document's lock; without it Bokeh refuses
# changes of its models, and only half of the page would follow.
Syncable._event_coroutine.lock = Syncable._change_coroutine.lock = True
# Changes of a menu wait this long for others to come, in milliseconds; Panel's 50 are a quarter of what an answer may take.
Syncable._debounce = 5

_STYLE = read_beside(__file__, "page.css")
_TEXT_STYLE = read_beside(__file__, "text.css")
_TABS_STYLE = read_beside(__file__, "tabs.css")
_PAGE = read_beside(__file__, "page.html")


class Explorer(pn.viewable.Viewer):
    """Explorer of one session: filters, scatter, gallery, detail, threshold, comparison and downloads.

    Parameters
    ----------
    library
        The studies.
    state, note
        Initial state, and a remark on it that is shown.
    dark
        Use dark colours.
    """

    def __init__(self, library: Library, state: State | None = None, *, note: str = "", dark: bool = False, **params: Any) -> None:
        super().__init__(**params)
        self.session = session = Session(library, state, note=note, dark=dark)
        self.filters, self.scatter, self.threshold = Filters(session), Scatter(session), Threshold(session)
        self.gallery, self.detail = Gallery(session), Detail(session)
        self.comparison, self.downloads = Comparison(session), Downloads(session)
        self._note = Text("", stylesheets=[_TEXT_STYLE], sizing_mode="stretch_width", visible=False)
        self._verdict = Text("", stylesheets=[_TEXT_STYLE], sizing_mode="stretch_width", visible=False)
        self._status = Text("", stylesheets=[_TEXT_STYLE], sizing_mode="stretch_width", css_classes=["sm-status"])
        self.tabs = pn.Tabs(
            *zip(("Explore", "Compare", "Take away"), self._tabs(), strict=True),
            active=TABS.index(session.tab) if session.tab in TABS else 0,
            stylesheets=[_TABS_STYLE],
            sizing_mode="stretch_width",
        )
        self.tabs.param.watch(lambda event: session.param.update(tab=TABS[event.new]), ["active"])
        session.param.watch(self._follow_tab, ["tab"])
        session.param.watch(self._update_text, ["note", "problem", "shown", "selected", "limit", "scores"])
        session.param.watch(self._update_verdict, ["scores"])
        self._update_text()
        self._update_verdict()
        heading = pn.pane.HTML("<h1>sslmem explorer</h1>", stylesheets=[_TEXT_STYLE], margin=(8, 8, 0, 8))
        self.view = pn.Column(
            heading, self._note, self._verdict, self._status, self.tabs,
            stylesheets=[_STYLE], styles=variables(dark), sizing_mode="stretch_width", css_classes=["sm-explorer"],
        )  # fmt: skip

    def __panel__(self) -> pn.viewable.Viewable:
        return self.view

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a notebook's cell displays, and its metadata, by MIME type."""
        try:
            picture = b"".join(self.downloads.contents("scatter.png"))
        except UserError:  # there is nothing to plot, and the sentence says why
            picture = b""
        said = [] if self.session.scores is None else [as_sentence(self._said()["sentence"])]
        return display.bundle(self.view, picture, " ".join([self._sentence().rstrip(".") + ".", *said, *self._warnings()]))

    def address(self, href: str) -> None:
        """Set the address of the page, which links to views start with."""
        self.downloads.base = href.partition("#")[0].partition("?")[0] + "?"

    def _tabs(self) -> list[pn.Column]:
        self._about_scores = [
            _column("3 1 420px", self.scatter.view, self.gallery.view),
            _column("2 1 320px", self.detail.view, self.threshold.view),
        ]
        explore = _row(_column("1 1 220px", self.filters.view, most="280px"), *self._about_scores)
        return [explore, _row(self.comparison.view), _row(self.downloads.view)]

    def _follow_tab(self, *_: Any) -> None:
        if self.session.tab in TABS:
            self.tabs.active = TABS.index(self.session.tab)

    def _update_text(self, *_: Any) -> None:
        """Show the note, and how many samples are shown, above the threshold and selected in one line that screen readers read out."""
        session = self.session
        notes = [text for text in (session.note, session.problem or session.opened.problem, *self._warnings()) if text]
        for part in self._about_scores:
            part.visible = session.scores is not None
        self._note.param.update(object="".join(_paragraph(text, "note") for text in notes), visible=bool(notes))
        self._status.object = _paragraph("nothing to show yet" if session.scores is None else self._sentence(), "status")

    def _update_verdict(self, *_: Any) -> None:
        """Show what a report says first: the verdict and the effects of membership, of the encoders that are chosen."""
        scores = self.session.scores
        shown = "" if scores is None else verdict_html(self._said(), effect_table(scores.attrs["effect"]))
        self._verdict.param.update(object=shown, visible=bool(shown))

    def _said(self) -> dict[str, Any]:
        return self.session.scores.attrs["verdict"]

    def _warnings(self) -> list[str]:
        return [f"Warning: {sentence}." for sentence in self.session.opened.caveats]

    def _sentence(self) -> str:
        session = self.session
        if session.scores is None:
            return session.problem or session.opened.problem
        return (
            f"{session.opened.key}: {len(session.shown):,} of {len(session.opened.ids):,} samples shown, "
            f"{len(session.above()):,} above the threshold of {session.limit:.4g}, {len(session.selected):,} selected"
        )


def _row(*parts: pn.viewable.Viewable) -> pn.Column:
    return pn.Column(*parts, stylesheets=[_STYLE], css_classes=["sm-row"], sizing_mode="stretch_width")


def _column(flex: str, *parts: pn.viewable.Viewable, most: str = "100%") -> pn.Column:
    return pn.Column(*parts, styles={"flex": flex, "min-width": "0", "max-width": most}, sizing_mode="stretch_width")


def verdict_html(said: Mapping[str, Any], effect: Mapping[str, Any]) -> str:
    """HTML of a verdict, its effects, and what can and what cannot be said.

    Parameters
    ----------
    said
        ``verdict`` of :func:`sslmem_kit.statistics.verdict.conclude`.
    effect
        Of :func:`sslmem_kit.statistics.overview.effect_table`.
    """
    lists = [
        f"<li>{html.escape(f'{mark} {sentence}')}</li>"
        for mark, key in (("can say:", "can"), ("cannot say:", "cannot"))
        for sentence in said[key]
    ]
    cells = [
        "".join(
            f"<td>{html.escape(text)}</td>" if place else f'<th scope="row">{html.escape(text)}</th>'
            for place, text in enumerate(row)
        )
        for row in effect["rows"]
    ]
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in effect["head"])
    rows = "".join(f"<tr>{row}</tr>" for row in cells)
    region = "class='effects' role='region' aria-label='Effects of membership' tabindex='0'"  # it scrolls where it is too wide
    table = f"<div {region}><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>" if cells else ""
    more = f"<details><summary>What can and what cannot be said</summary><ul>{''.join(lists)}</ul></details>"
    return f'<p class="verdict" role="status">{html.escape(as_sentence(said["sentence"]))}</p>{table}{more}'


def _paragraph(text: str, role: str) -> str:
    return f'<p class="{role}" role="status">{html.escape(text)}</p>'


def make_page(library: Library) -> pn.Template:
    """Make the page of a session of the served app: its state comes from the address, and the address follows it."""
    location = pn.state.location
    state, note = from_query(location.search if location else "")
    dark = pn.state.session_args.get("theme", [b""])[0] == b"dark"
    explorer = Explorer(library, state, note=note, dark=dark)
    if location:
        # As the browser sees it: behind a proxy, this process is asked for another address.
        pn.bind(explorer.address, location.param.href, watch=True)
        explorer.address(location.href)
        _follow(explorer, location, "&theme=dark" if dark else "")
    page = pn.Template(_PAGE, location=True)
    page.add_variable("paper", palette(dark)["paper"])
    page.add_variable("software_renderers", SOFTWARE_RENDERERS)
    page.add_panel("explorer", explorer.view)
    return page


def _follow(explorer: Explorer, location: Any, theme: str) -> None:
    """Keep the address and the view equal: the address after a short rest, the view when a person goes back in history."""
    session, document = explorer.session, pn.state.curdoc
    written = {"search": location.search, "query": to_query(session.state()), "pending": None}

    def write() -> None:
        written["pending"] = None
        # An address that only says the same in other words stays: another one would end the way forward in history.
        query = to_query(session.state())
        if query != written["query"]:
            written.update(query=query, search=f"?{query}{theme}")
            location.search = written["search"]

    def later(*_: Any) -> None:
        if written["pending"] is not None:
            document.remove_timeout_callback(written["pending"])
        written["pending"] = document.add_timeout_callback(write, LINK_DELAY_MS)

    def read(event: Any) -> None:
        if event.new != written["search"]:
            written["search"] = event.new
            session.restore(*from_query(event.new))
            written["query"] = to_query(session.state())

    session.param.watch(later, [*(name for name in State.model_fields if name in session.param), "selected"])
    location.param.watch(read, ["search"])


def explore(*studies: StudyResults | Path | str, link: str = "", dark: bool = False) -> Explorer:
    """Open studies in the explorer, in a notebook.

    Parameters
    ----------
    studies
        Study directories, or results of :func:`sslmem_kit.open_study`; the first is shown.
    link
        Initial view: the part after the ``?`` of the address of a served explorer, or the whole address.
    dark
        Use dark colours, for a dark theme: kernels of JupyterLab do not know which theme it has.

    Returns
    -------
    The explorer, which JupyterLab shows where it is the last line of a cell. ``.session`` holds the choices: ``.session.selected`` and so on.
    A saved notebook holds a picture of it; to have the explorer again, run the cell.

    Raises
    ------
    UserError
        A path is no study.

    Examples
    --------
    >>> explorer = explore("papermill_runs/digits", link="partition=[]")
    >>> explorer.session.opened.key, len(explorer.session.shown)
    ('digits', 223)
    """
    display.load()
    paths: Sequence[Path | str] = [study.path if isinstance(study, StudyResults) else study for study in studies]
    state, note = from_query(link.partition("?")[2] or link)
    return Explorer(Library(paths), state, note=note, dark=dark)
