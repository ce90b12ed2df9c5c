"""The filters: choice of the study, encoders and samples that are shown, and of the axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import panel as pn

from sslmem_kit.explorer.session import ENCODER_FILTERS, Session
from sslmem_kit.explorer.theme import Text
from sslmem_kit.names import PARTITIONS
from sslmem_kit.scores import PROTOCOLS

SEEN_BY = {"shared": "f and g", "candidate": "f only", "independent": "g only", "extra": "neither"}
LISTED = 60
"""Largest number of classes that are listed without a search."""
_ENCODER_TITLES = {"method": "Methods", "backbone": "Backbones", "seed": "Seeds"}
_WIDTH = {"sizing_mode": "stretch_width", "margin": (2, 8, 6, 8)}


class Filters:
    """Menus bound to a session, in both directions."""

    def __init__(self, session: Session) -> None:
        self.session = session
        keys = session.library.keys
        self.study = pn.widgets.Select(label="Study", options=list(keys), visible=len(keys) > 1, **_WIDTH)
        self.protocol = pn.widgets.Select(label="Protocol", options=list(PROTOCOLS), **_WIDTH)
        partitions = {f"{name} (seen by {SEEN_BY[name]})": name for name in PARTITIONS}
        self.partition = pn.widgets.CheckBoxGroup(label="Partitions", options=partitions, **_WIDTH)
        # Check boxes and not MultiChoice, whose menu renders class names as HTML.
        self.find = pn.widgets.TextInput(label="Find a class", placeholder="part of its name", **_WIDTH)
        self.classes = pn.widgets.CheckBoxGroup(label="Classes", **_WIDTH)
        self.encoders = {name: pn.widgets.CheckBoxGroup(label=name, inline=True, **_WIDTH) for name in ENCODER_FILTERS}
        self._headed = {name: pn.Column(_heading(title), self.encoders[name]) for name, title in _ENCODER_TITLES.items()}
        self._class_note = Text("", styles={"color": "var(--sm-muted)"}, margin=(0, 8))
        self.axes = {
            name: pn.widgets.Select(label=title, **_WIDTH)
            for name, title in (("x", "x axis"), ("y", "y axis"), ("colour", "colour"))
        }
        listed = pn.Column(self.classes, styles={"max-height": "200px", "overflow-y": "auto"}, sizing_mode="stretch_width")
        self._choices = pn.Column(
            self.protocol,
            _heading("Partitions"),
            self.partition,
            pn.Column(_heading("Classes"), self.find, listed, self._class_note, sizing_mode="stretch_width"),
            *self._headed.values(),
            *self.axes.values(),
            sizing_mode="stretch_width",
        )
        self._offer()
        for name, widget in self._widgets.items():
            _bind(widget, session, name)
        session.param.watch(self._offer, ["opened"])
        session.param.watch(self._offer_classes, ["classes"])
        self.find.param.watch(self._offer_classes, ["value_input"])
        self.view = pn.Column(self.study, self._choices, sizing_mode="stretch_width", css_classes=["sm-filters"])

    @property
    def _widgets(self) -> dict[str, Any]:
        own = {"study": self.study, "protocol": self.protocol, "partition": self.partition, "classes": self.classes}
        return {**own, **self.encoders, **self.axes}

    def _offer(self, *_: Any) -> None:
        """Offer the values that the study has, together with the chosen ones: a menu refuses a value that it does not list."""
        session, opened = self.session, self.session.opened
        self._choices.visible = opened.tree is not None
        if opened.tree is None:
            for name, widget in self.axes.items():
                _offer(widget, [getattr(session, name)], getattr(session, name))
            return
        self.find.visible = len(opened.class_names) > LISTED
        self._offer_classes()
        for name, widget in self.encoders.items():
            choices = opened.choices(name)
            _offer(widget, choices, getattr(session, name))
            self._headed[name].visible = len(choices) > 1
        labels = {quantity.label: key for key, quantity in session.quantities.items()}
        for name, widget in self.axes.items():
            _offer(widget, labels, getattr(session, name))

    def _offer_classes(self, *_: Any) -> None:
        """Offer the chosen classes, and at most ``LISTED`` of those that the search finds."""
        if self.session.opened.tree is None:
            return
        names, chosen, wanted = self.session.opened.class_names, self.session.classes, self.find.value_input.strip().lower()
        found = [name for name in names if name not in chosen and wanted in name.lower()]
        _offer(
            self.classes,
            [*sorted(chosen, key=names.index), *found[:LISTED]] if wanted or len(names) > LISTED else list(names),
            chosen,
        )
        hidden = len(found) - LISTED
        self._class_note.object = f"{len(chosen) or 'all'} of {len(names):,} classes" + (
            f", {hidden:,} more to find" if hidden > 0 else ""
        )


def _offer(widget: Any, options: Sequence[Any] | Mapping[str, Any], value: Any) -> None:
    if widget.options != options:
        widget.param.update(options=options, value=value)


def _heading(text: str) -> pn.pane.HTML:
    return pn.pane.HTML(f"<h2 style='font-size: 14px; margin: 0'>{text}</h2>", margin=(4, 8, 0, 8))


def _bind(widget: Any, session: Session, name: str) -> None:
    """Keep a menu and a choice of the session equal."""

    def from_session(*_: Any) -> None:
        if widget.value != getattr(session, name):
            widget.value = getattr(session, name)

    def from_widget(event: Any) -> None:
        if event.new != getattr(session, name):
            session.param.update(**{name: event.new})

    from_session()
    session.param.watch(from_session, [name])
    widget.param.watch(from_widget, ["value"])
