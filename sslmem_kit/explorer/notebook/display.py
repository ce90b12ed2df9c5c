"""Display of the explorer as the output of a notebook's cell: a picture that is saved, and the explorer, fetched from the kernel.

Panel's own display writes 6 MB of JavaScript and the contents of every part into the notebook, and is blank where no kernel runs. Here
the cell's output is a picture and a sentence. A script in it asks the kernel for the explorer, which comes through a connection of its
own and is saved nowhere. Where no kernel answers (a page, a notebook without its kernel) the picture stays.

An output can be fetched again: its page is reloaded, or JupyterLab makes it anew. Every fetch has a connection of its own, for both
directions, and ends that of the one before. Changes between its serialization and the moment when the page has built it wait until then.
"""

from __future__ import annotations

import base64
import html
import json
from collections import deque
from typing import Any

import bokeh
import panel as pn
from bokeh.core.json_encoder import serialize_json
from bokeh.embed.elements import div_for_render_item
from bokeh.embed.util import standalone_docs_json_and_render_items
from IPython import get_ipython
from IPython.utils.capture import capture_output
from panel.io.notebook import EXEC_MIME, LOAD_MIME, load_notebook
from panel.io.state import state
from panel.models.comm_manager import CommManager

from sslmem_kit.store.files import read_beside

TARGET = "sslmem-explorer"
"""Name of the connection, in the kernel."""

_HINT = "This is a picture of the explorer: it works in JupyterLab, with a kernel. Run this cell to explore."
_GONE = "The kernel does not have this explorer any more: run this cell again."
_ELSEWHERE = "This explorer was opened again, in another place: run this cell again to have it here."
_SCRIPT = read_beside(__file__, "display.js")


def load() -> None:
    """Prepare the kernel for explorers, where there is one; a page is sent Panel's JavaScript when it requests it."""
    with capture_output() as loading:
        # Everything from this machine: by default Panel would load its JavaScript from a CDN, and stay blank without a network.
        pn.extension(inline=True)
    if pn.config.comms != "default":
        # Notebooks that are not Jupyter's own have connections of another kind, which Panel handles.
        loading.show()


def bundle(view: pn.viewable.Viewable, picture: bytes, caption: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a cell displays for a view: data and metadata by MIME type.

    Parameters
    ----------
    view
        Component that is shown where a kernel is.
    picture
        PNG that is shown elsewhere; empty for none.
    caption
        A sentence about the picture.
    """
    shown = view._repr_mimebundle_()
    shell = get_ipython()
    if pn.config.comms != "default" or getattr(shell, "kernel", None) is None:
        return shown
    shell.kernel.comm_manager.register_target(TARGET, _answer)
    ref = shown[1][EXEC_MIME]["id"]
    *_, comm = state._views[ref]
    comm._comm = _Relay(ref)
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    alt = html.escape(caption, quote=True)
    image = f'<p>{alt}</p><img alt="{alt}" style="max-width: min(100%, 640px)" src="{source}"/>' if picture else f"<p>{alt}</p>"
    place = f'<div id="sslmem-{ref}" style="min-height: 40px"><p>{html.escape(_HINT)}</p>{image}</div>'
    arguments = json.dumps({"ref": ref, "target": TARGET, "version": bokeh.__version__})
    script = f"<script>(() => {{\n{_SCRIPT}fetchExplorer({arguments});\n}})();</script>"
    return {"text/html": f"{place}\n{script}", "text/plain": caption, EXEC_MIME: ""}, {EXEC_MIME: {"id": ref}}


class _Relay:
    """Connection of Panel to the page: that of the latest page, and none while no page has the explorer."""

    def __init__(self, ref: str) -> None:
        self._ref = ref
        self._line = self._events = None
        self._waiting: deque[tuple[Any, Any, Any]] | None = deque(maxlen=0)

    def send(self, data: Any = None, metadata: Any = None, buffers: Any = None) -> None:
        """Send a part of a change, or keep it while a page builds; without a page it is dropped: the next page fetches everything."""
        if self._waiting is None:
            self._line.send(data, metadata, buffers)
        else:
            self._waiting.append((data, metadata, buffers))

    def close(self) -> None:
        """Stop receiving and sending, which Panel requests when the output is removed."""
        # Not closed: JupyterLab reports an error for a connection that it does not know, and a page that was reloaded knows none.
        if self._line is not None:
            self._line.on_msg(None)
        self._line, self._waiting = None, deque(maxlen=0)

    def fetch(self, line: Any, loaded: bool) -> None:
        """Send the explorer in its present state, and keep changes from now on until the page has built it."""
        if self._line is not None:
            self._line.send({"message": _ELSEWHERE})
        self.close()
        view, root, document, _ = state._views[self._ref]
        manager = next(model for model in document.roots if isinstance(model, CommManager))
        if self._events is None:
            _, self._events = view._comms[self._ref]
        self._line = self._events._comm = line
        manager.update(
            plot_id=line.comm_id, client_comm_id=line.comm_id
        )  # names of this fetch, for pages keep what they once connected
        documents, items = standalone_docs_json_and_render_items([root], suppress_callback_warning=True)
        # What is sent now includes these changes. Sent again they would be late, and might name models that are gone.
        document.callbacks._held_events = []
        document.models.flush_synced()
        self._waiting = deque()
        line.send(
            {
                "libraries": [] if loaded else _libraries(),
                "element": div_for_render_item(items[0]),
                "document": serialize_json(documents),
                "items": serialize_json([item.to_json() for item in items]),
            }
        )

    def receive(self, line: Any, message: dict[str, Any]) -> None:
        """Handle a message of a page: that it has built the explorer, or an event of mouse or keys."""
        if line is not self._line:
            return
        if not message["content"]["data"].get("built"):
            self._events._handle_msg(message)
            return
        waiting, self._waiting = self._waiting, None
        for part in waiting:
            line.send(*part)


def _answer(line: Any, message: dict[str, Any]) -> None:
    """Send the explorer that a page requests."""
    asked = message["content"]["data"]
    kept = state._views.get(asked.get("ref"))
    if kept is None:
        line.send({"message": _GONE})
        return
    comm: Any = kept[-1]
    relay: _Relay = comm._comm
    loop = get_ipython().kernel.io_loop
    # JupyterLab has what comes from pages handled in threads of the kernel, beside the one that runs cells; Panel knows only that one.
    line.on_msg(lambda message: loop.add_callback(relay.receive, line, message))
    loop.add_callback(relay.fetch, line, bool(asked.get("loaded")))


def _libraries() -> list[dict[str, str]]:
    """Return Panel's JavaScript, 3 MB, and the markup that belongs to it."""
    with capture_output() as loading:
        load_notebook(inline=True)
    return [{"markup": output.data.get("text/html", ""), "script": output.data.get(LOAD_MIME, "")} for output in loading.outputs]
