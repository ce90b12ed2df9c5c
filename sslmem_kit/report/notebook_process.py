"""The process that executes one notebook, started by :mod:`sslmem_kit.report.notebooks` with the path of an order.

Its output is captured by the runner, so that what papermill, nbconvert and Jupyter print on the way reaches nobody's terminal. Its
standard input is a pipe that the runner holds open: it ends with the runner, however that ends, and takes kernel and scratch folder along.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

import nbformat
import papermill
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from sslmem_kit.spec.paths import allow_files
from sslmem_kit.store.files import read_beside, remove

_PAGE = read_beside(__file__, "notebook_page.html")
"""JupyterLab's look without the four libraries that its template loads from the network."""


def execute(order: dict) -> None:
    """Execute a notebook into the scratch folder; a failing cell is described in ``failure.txt`` there."""
    scratch, name = Path(order["scratch"]), order["name"]
    output = scratch / f"{name}.ipynb"
    try:
        papermill.execute_notebook(
            order["notebook"],
            output,
            order["parameters"],
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=str(scratch / "work"),
            start_timeout=120,
        )
    except PapermillExecutionError as error:
        first = next(iter(error.source.strip().splitlines()), "")
        # The traceback of a cell is coloured text; its last line is the exception's name and message.
        last = " ".join(f"{error.ename}: {error.evalue}".split())
        kept = Path(order["final"]) / f"{name}.failed.ipynb"
        message = f"notebook {name}: cell [{error.exec_count}], which starts `{first}`, failed with {last} (see {kept})"
        (scratch / "failure.txt").write_text(message, encoding="utf-8")
        _tidy(output, order)
        return
    notebook = _tidy(output, order)
    if order["html"]:
        # Without the state of widgets, whose script would have to be fetched, a page shows what each of them gives as HTML.
        notebook.metadata.pop("widgets", None)
        page, _ = HTMLExporter(raw_template=_PAGE).from_notebook_node(notebook, {"metadata": {"name": name}})
        (scratch / f"{name}.html").write_text(page, encoding="utf-8")


def _tidy(path: Path, order: dict) -> nbformat.NotebookNode:
    """Take the scratch folder's name out of what papermill recorded."""
    notebook = nbformat.read(path, as_version=4)
    record = notebook.metadata.get("papermill", {})
    record["input_path"], record["output_path"] = order["notebook"], str(Path(order["final"]) / path.name)
    nbformat.write(notebook, path)
    return notebook


def _end_with_runner(scratch: Path) -> None:
    """End the kernel, this process and what they have made, once the runner's end of the pipe is closed."""
    while os.read(0, 1):
        pass
    with contextlib.suppress(OSError, ValueError):  # a kernel that is not there yet finds that nobody waits for it
        os.kill(int((scratch / "kernel.pid").read_text(encoding="utf-8")), signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    remove(scratch)
    remove(scratch.with_suffix(".lock"))
    os._exit(1)


if __name__ == "__main__":
    allow_files()
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    threading.Thread(target=_end_with_runner, args=(Path(order["scratch"]),), daemon=True).start()
    execute(order)
