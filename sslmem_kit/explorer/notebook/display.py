"""The explorer as the output of a notebook's cell: a picture that is saved, and the explorer itself, which is fetched from the kernel.

Panel's own display writes 6 MB of JavaScript and the contents of every part into the notebook, and is blank where no kernel runs. Here
the cell's output is a picture and a sentence. A script in it asks the kernel for the explorer, which comes through a connection of its
own and is saved nowhere. Where nobody answers (a page, a notebook without its kernel) the picture stays.
"""

from __future__ import annotations

import base64
import html
from typing import Any

import panel as pn
from IPython import get_ipython
from IPython.utils.capture import capture_output
from panel.io.notebook import EXEC_MIME, LOAD_MIME, load_notebook, render_model
from panel.io.state import state

TARGET = "sslmem-explorer"
"""Name of the connection, in the kernel."""

_HINT = "This is a picture of the explorer: it works in JupyterLab, with a kernel. Run this cell to explore."
_SCRIPT_TAG = '<script type="application/javascript">'

_SHELL = """<div id="sslmem-REF" style="min-height: 40px"><p>HINT</p>PICTURE</div>
<script>(function () {
  const ref = "REF", id = "sslmem-" + ref;
  // Outputs are attached late, and a kernel is there later still.
  const home = () => document.getElementById(id);
  const wait = (ready, then, left = 240) => {
    const found = ready();
    if (found) then(found); else if (left > 0) setTimeout(wait, 250, ready, then, left - 1);
  };
  const run = (text) => {
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
    script.remove();
  };
  const tell = (text) => {
    const said = home().querySelector("p") || document.createElement("p");
    said.textContent = text;
    home().prepend(said);
  };
  function show(sent) {
    if (sent.gone) return tell("The kernel does not have this explorer any more: run this cell again.");
    for (const { markup, script } of sent.libraries) {
      if (markup) document.head.append(document.createRange().createContextualFragment(markup));
      if (script) run(script);
    }
    home().dataset.lmSuppressShortcuts = "true";  // or Enter in a field, and letters, would be JupyterLab's
    home().innerHTML = sent.element;
    run(sent.script);
    const watch = setInterval(() => {
      if (!home()) clearInterval(watch);
      else if (!window.PyViz.kernels[ref]) { clearInterval(watch); tell("The kernel was stopped: run this cell again."); }
    }, 1000);
  }
  wait(() => home() && window.PyViz && window.PyViz.kernels && window.PyViz.kernels[ref], (kernel) => {
    if (home().dataset.asked) return;  // JupyterLab may run a script twice
    home().dataset.asked = "yes";
    const line = kernel.connectToComm("TARGET", id + "-" + Math.random());
    line.onMsg = (message) => wait(home, () => show(message.content.data));
    wait(() => line.active, () => {
      line.open({ ref: ref, loaded: Boolean(window.Bokeh && window.Bokeh.Panel && window.PyViz.comm_manager) });
    });
  });
})();</script>"""


def load() -> None:
    """Make the kernel ready for explorers, where there is one; what a page needs is sent when it asks."""
    with capture_output() as loading:
        # Everything from this machine: by default Panel would load its JavaScript from a CDN, and stay blank without a network.
        pn.extension(inline=True)
    if pn.config.comms != "default":
        # Notebooks that are not Jupyter's own have other ways, which are Panel's business.
        loading.show()


def bundle(view: pn.viewable.Viewable, picture: bytes, told: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a cell displays for a view: data and metadata by MIME type.

    Parameters
    ----------
    view
        What is shown where a kernel is.
    picture
        PNG for everywhere else; empty for none.
    told
        A sentence about what the picture shows.
    """
    shown = view._repr_mimebundle_()
    shell = get_ipython()
    if pn.config.comms != "default" or getattr(shell, "kernel", None) is None:
        return shown
    shell.kernel.comm_manager.register_target(TARGET, _answer)
    ref = shown[1][EXEC_MIME]["id"]
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    alt = html.escape(told, quote=True)
    image = f'<p>{alt}</p><img alt="{alt}" style="max-width: min(100%, 640px)" src="{source}"/>' if picture else f"<p>{alt}</p>"
    output = _SHELL.replace("REF", ref).replace("TARGET", TARGET).replace("HINT", html.escape(_HINT)).replace("PICTURE", image)
    return {"text/html": output, "text/plain": told, EXEC_MIME: ""}, {EXEC_MIME: {"id": ref}}


def _answer(line: Any, message: dict[str, Any]) -> None:
    """Send the explorer that a page asks for, as it is at this moment."""
    asked = message["content"]["data"]
    kept = state._views.get(asked.get("ref"))
    if kept is None:
        line.send({"gone": True})
        return
    _, root, _, comm = kept
    shown = render_model(root, comm, "inline")[0]["text/html"]
    # Apart, for in one piece of markup a class named `</script>` would end the script.
    element, _, script = shown.partition(_SCRIPT_TAG)
    libraries = [] if asked.get("loaded") else _libraries()
    line.send({"libraries": libraries, "element": element, "script": script.removesuffix("</script>")})


def _libraries() -> list[dict[str, str]]:
    """Panel's JavaScript, 3 MB, and the markup that goes with it."""
    with capture_output() as loading:
        load_notebook(inline=True)
    return [{"markup": output.data.get("text/html", ""), "script": output.data.get(LOAD_MIME, "")} for output in loading.outputs]
