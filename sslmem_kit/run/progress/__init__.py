"""Display of a run's progress: bars in a terminal and in JupyterLab, plain lines in logs and in notebooks that run in batch.

>>> from sslmem_kit.run.progress import shown
>>> with shown() as on_event:  # doctest: +SKIP
...     run_study(spec, out, on_event=on_event)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sslmem_kit.events import OnEvent


@contextmanager
def shown() -> Iterator[OnEvent]:
    """Yield a function for the events of :func:`sslmem_kit.run.study.run_study` that displays the progress of the run.

    In a terminal: a bar for each encoder at work and one for all, on standard error. In a cell of JupyterLab: the same in the cell's
    output, where the last state stays when the notebook is saved. Elsewhere (a log, papermill, nbconvert): a line every 15 seconds.
    """
    if _is_interactive_cell():
        from sslmem_kit.run.progress.notebook import Cell

        with Cell() as on_event:
            yield on_event
    elif sys.stderr.isatty() and not _is_dumb():
        from sslmem_kit.run.progress.terminal import Bars

        with Bars() as on_event:
            yield on_event
    else:
        from sslmem_kit.run.progress.lines import Lines

        yield Lines(sys.stderr if _kernel() is None else sys.stdout)


def _kernel() -> object | None:
    """Return the Jupyter kernel that runs this process; None outside of one."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython.get_ipython(), "kernel", None) if ipython else None


def _is_interactive_cell() -> bool:
    """Return whether an interactive front end asked for the cell that runs.

    An interactive front end can be asked for input, and says so with every request. Runners of notebooks in batch (papermill,
    nbconvert: both by nbclient) say that they cannot.
    """
    kernel = _kernel()
    return kernel is not None and bool(kernel.get_parent("shell").get("content", {}).get("allow_stdin"))


def _is_dumb() -> bool:
    """Return whether the terminal cannot move its cursor."""
    from rich.console import Console

    return Console(stderr=True).is_dumb_terminal
