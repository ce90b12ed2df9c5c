"""Pages of notebooks: with the outputs of a rendering, where a study has been rendered here, else their sources alone."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST = 200_000
"""Characters of one output that a page takes."""
INTERACTIVE = "*Interactive: to be seen in the rendered notebook.*"


def title(path: Path) -> str:
    """Return the heading of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown").splitlines()[0].lstrip("# ")


def notebook_page(path: Path, runs: Path) -> str:
    """Return a notebook as a page; ``runs`` holds studies, of which that of the demo is taken first."""
    executed = [runs / "digits" / "notebooks" / path.name, *sorted(runs.glob(f"*/notebooks/{path.name}"))]
    rendered = next((there for there in executed if there.is_file()), None)
    how = (
        f"As rendered of the study `{rendered.parents[1].name}`"
        if rendered
        else "Without outputs; `sslmem render STUDY` makes them"
    )
    cells = json.loads((rendered or path).read_text(encoding="utf-8"))["cells"]
    first = next(
        number for number, cell in enumerate(cells) if cell["cell_type"] == "markdown"
    )  # papermill may put a warning before it
    figures = rendered.parents[1] / "figures" if rendered else None
    head, *body = (text for cell in cells[first:] for text in _cell(cell, figures))
    return "\n\n".join([head, f'!!! note ""\n    {how}. Source: `notebooks/{path.name}`.', *body]) + "\n"


def _cell(cell: dict[str, Any], figures: Path | None) -> Iterator[str]:
    source = "".join(cell["source"])
    if "injected-parameters" in cell.get("metadata", {}).get("tags", ()):  # of papermill, with paths of the machine
        return
    if cell["cell_type"] == "markdown":
        yield source
    elif cell["cell_type"] == "code" and source.strip():
        yield f"```python\n{source}\n```"
    saved = re.findall(r"save_figure\([^)]*\"(\w+)\"\)", source)
    for output in cell.get("outputs", ()):
        text = _output(output)
        if text == INTERACTIVE and figures and saved and (figures / f"{saved[0]}.png").is_file():
            text = _picture(base64.b64encode((figures / f"{saved.pop(0)}.png").read_bytes()).decode())
        elif text == INTERACTIVE and "interactive_figures" in source:  # loads scripts
            continue
        if text:
            yield f'<div class="output" markdown="block">\n\n{text}\n\n</div>'


def _output(output: dict[str, Any]) -> str:
    """An output as Markdown: a picture, a table or text; scripts are left out."""
    data = {kind: "".join(value) if isinstance(value, list) else value for kind, value in output.get("data", {}).items()}
    if output["output_type"] == "stream":
        data = {"text/plain": "".join(output["text"])}
    if "image/png" in data:
        return _picture(data["image/png"].strip())
    html = data.get("text/html", "")
    if "<script" in html or "application/javascript" in data:
        return INTERACTIVE if html else ""
    if html and len(html) < MOST:
        html = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL).replace("\n", "")
        return re.sub(r"<table[^>]*>", "<table>", html)
    plain = data.get("text/markdown") or data.get("text/plain", "")
    return plain if "text/markdown" in data else f"```text\n{plain.rstrip()[:MOST]}\n```" if plain.strip() else ""


def _picture(png: str) -> str:
    return f"![output](data:image/png;base64,{png})"
