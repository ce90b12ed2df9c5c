"""Front ends of the comparison: the two menus with remarks, the numbers, and the two galleries.

Each has one parameter ``data``, which :class:`sslmem_kit.explorer.comparison.comparison.Comparison` fills, and answers with messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import param
from panel.custom import JSComponent

from sslmem_kit.store.files import read_beside


class _Part(JSComponent):
    data = param.Dict({}, doc="Content, as the class describes it.")

    __abstract = True

    def __init__(self, answer: Callable[[Any], None] | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._answer = answer

    def _handle_msg(self, data: Any) -> None:
        if self._answer is not None:
            self._answer(data)


class Menus(_Part):
    """Two menus and a line of text; answers with ``{"left": side}`` or ``{"right": side}``.

    ``data``: ``left``, ``right`` (sides as text), ``groups`` (study and its sides: text and label), ``remarks``, ``problem``, ``busy``.
    """

    _stylesheets = [read_beside(__file__, "panels.css", "menus.css")]
    _esm = read_beside(__file__, "element.js", "menus.js")


class Numbers(_Part):
    """Two tables and a sentence. ``data``: ``title``, ``ranks`` and ``overlap`` (rows of cells) and ``help``."""

    _stylesheets = [read_beside(__file__, "panels.css", "numbers.css")]
    _esm = read_beside(__file__, "element.js", "numbers.js")


class Tops(_Part):
    """Highest samples of either side; answers with ``{"id": id}`` of the one that was chosen.

    ``data``: ``sides``, each with ``title`` and ``samples`` (``id``, ``picture``, ``name``, ``value``, ``both``); ``opens``, true where
    samples can be opened. ``current`` is the id of the open one.
    """

    current = param.Integer(None, allow_None=True)

    _stylesheets = [read_beside(__file__, "panels.css", "tops.css")]
    _esm = read_beside(__file__, "element.js", "tops.js")
