"""What the comparison shows in plain DOM: the two menus with what is to be told, the numbers, and the two galleries.

Each has one parameter ``data``, which the class of :mod:`sslmem_kit.explorer.comparison.comparison` fills, and answers with messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import param
from panel.custom import JSComponent

from sslmem_kit.store.files import read_beside


class _Part(JSComponent):
    data = param.Dict({}, doc="What is shown.")

    __abstract = True

    def __init__(self, answer: Callable[[Any], None] | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._answer = answer

    def _handle_msg(self, data: Any) -> None:
        if self._answer is not None:
            self._answer(data)


class Menus(_Part):
    """Two menus and a line of text; answers with ``{"left": side}`` or ``{"right": side}``.

    ``data``: ``left``, ``right`` (sides as text), ``groups`` (study and its sides: text and label), ``told``, ``problem``, ``busy``.
    """

    _stylesheets = [read_beside(__file__, "panels.css", "menus.css")]
    _esm = read_beside(__file__, "element.js", "menus.js")


class Numbers(_Part):
    """Two tables and a sentence. ``data``: ``ranks`` and ``overlap`` (rows of cells) and ``help``."""

    _stylesheets = [read_beside(__file__, "panels.css", "numbers.css")]
    _esm = read_beside(__file__, "element.js", "numbers.js")


class Tops(_Part):
    """The highest samples of either side; answers with the id of the one that was chosen.

    ``data``: ``sides``, each with ``title`` and ``samples`` (``id``, ``picture``, ``name``, ``value``, ``both``); ``opens``, whether a
    sample can be opened. ``current`` is the id of the open one.
    """

    current = param.Integer(None, allow_None=True)

    _stylesheets = [read_beside(__file__, "panels.css", "tops.css")]
    _esm = read_beside(__file__, "element.js", "tops.js")
