"""JupyterLab for tests in a browser: a server with settings of its own, notebooks made of cells, and what their outputs say."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import nbformat

from tests.support import ROOT
from tests.support.browser import free_port
from tests.support.pages import wait_for

TOKEN = "test"
SETTINGS = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},
}


@contextlib.contextmanager
def running_lab(home: Path) -> Iterator[str]:
    """JupyterLab on the notebooks of ``home / "notebooks"``, with all it writes below ``home``; its address."""
    folders = {name: home / name for name in ("notebooks", "config", "data", "runtime", "ipython")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for name, settings in SETTINGS.items():
        path = folders["config"] / "lab" / "user-settings" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "JUPYTER_CONFIG_DIR": str(folders["config"]),
        "JUPYTER_DATA_DIR": str(folders["data"]),
        "JUPYTER_RUNTIME_DIR": str(folders["runtime"]),
        "IPYTHONDIR": str(folders["ipython"]),
        "JUPYTER_PLATFORM_DIRS": "1",
    }
    port = free_port()
    command = [
        *(sys.executable, "-m", "jupyter", "lab", str(folders["notebooks"]), "--no-browser", "--allow-root", f"--port={port}"),
        *("--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}", "--ServerApp.port_retries=0"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
    ]
    with (home / "lab.log").open("w") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for_server(process, f"{url}/api/status?token={TOKEN}", home / "lab.log")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _wait_for_server(process: subprocess.Popen, url: str, log: Path) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), urlopen(url, timeout=5):
            return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


def write_notebook(path: Path, *cells: str) -> Path:
    """A notebook of code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, path)
    return path


class Notebook:
    """A notebook that is open in a page."""

    def __init__(self, page: Any, url: str, path: Path) -> None:
        self.page, self.path = page, path
        page.goto(f"{url}/lab/tree/{path.name}?token={TOKEN}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        # Before that, JupyterLab shows an empty notebook, and asks for a kernel if a cell is run.
        page.evaluate("""async () => {
            const { context } = window.jupyterapp.shell.currentWidget;
            await context.ready;
            await context.sessionContext.ready;
        }""")

    def command(self, name: str, **options: Any) -> None:
        """Execute a command of JupyterLab, and wait until it is done."""
        self.page.evaluate("([name, options]) => window.jupyterapp.commands.execute(name, options)", [name, options])

    def wait_for_kernel(self) -> None:
        """Until the kernel has nothing to do."""
        status = "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
        self.page.wait_for_function(status, timeout=60_000)

    def cell(self, number: int) -> Any:
        """A cell, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def run_all(self) -> None:
        """Run all cells, and wait until they have run."""
        self.wait_for_kernel()
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def run(self, number: int, source: str) -> None:
        """Run one cell with other text, to its end."""
        self.page.evaluate(
            """async ([number, source]) => {
                const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.activeCellIndex = number;
                notebook.activeCell.model.outputs.clear();
                notebook.activeCell.model.sharedModel.setSource(source);
                await window.jupyterapp.commands.execute("notebook:run-cell");
            }""",
            [number, source],
        )

    def say(self, number: int, expression: str) -> str:
        """What Python says of an expression, asked in a cell."""
        self.run(number, f"str({expression})")
        told = "number => window.jupyterapp.shell.currentWidget.content.widgets[number].model.outputs.toJSON()"
        (output,) = wait_for(self.page, lambda: self.page.evaluate(told, number))
        assert output["output_type"] == "execute_result", output
        return ast.literal_eval("".join(output["data"]["text/plain"]))

    def save(self) -> dict[str, Any]:
        """Save the notebook; what is in its file then."""
        self.command("docmanager:save")
        return json.loads(self.path.read_text())

    def focus(self) -> str:
        """Mode of the notebook, and number of the cell that is chosen: what JupyterLab's own keys change."""
        return self.page.evaluate(
            "() => { const n = window.jupyterapp.shell.currentWidget.content; return `${n.mode} ${n.activeCellIndex} ${n.widgets.length}`; }"
        )
