"""What the site of the documentation is made of, as far as it is seen without MkDocs; `make docs` builds it, and fails on any warning."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import ROOT

SITE = ROOT / "docs" / "site"
CODE = {"cell_type": "code", "metadata": {}, "outputs": []}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(str(SITE))
    return {name: importlib.import_module(name) for name in ("cells", "fields", "levels")}


def write_notebook(path: Path, *cells: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "# A title\n\nText.", "metadata": {}}, *cells]}))
    return path


def test_every_guide_package_and_page_is_in_the_menu() -> None:
    menu, pages = (ROOT / "mkdocs.yml").read_text(), (SITE / "pages.py").read_text()
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f": {path.name}\n" not in menu] == []
    package = ROOT / "sslmem_kit"
    packages = [path.parent.name for path in package.glob("*/__init__.py")]
    assert len(packages) == 13
    assert [name for name in packages if f'"{name}"' not in pages] == []


@pytest.mark.parametrize("kind", ["study", "audit"])
def test_the_page_of_a_spec_has_every_field(site: dict[str, ModuleType], kind: str) -> None:
    schema = json.loads((ROOT / "docs" / "schema" / f"{kind}.json").read_text(encoding="utf-8"))
    sections = [
        form for part in [schema, *schema["$defs"].values()] for form in [part, *part.get("anyOf", ())] if "properties" in form
    ]
    fields = [name for section in sections for name in section["properties"]]
    page = site["fields"].fields_page(kind)
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(fields)
    assert len(fields) > 70
    anchors = set(re.findall(r"\{ #(\w+) \}", page))
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= anchors
    assert f"[{'simclr' if kind == 'study' else 'encoders.normalize'}](#" in page  # links are called as their headings are
    assert "any value" not in page.replace("list of any value", "")


def test_the_graph_of_packages_is_drawn_whole(site: dict[str, ModuleType]) -> None:
    graph = re.search(r"```mermaid\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)[1]
    svg = site["levels"].as_svg(graph)
    for name in re.findall(r"^ {4}(\w+)$", graph, re.MULTILINE):
        assert svg.count(f">{name}</text>") == 1, name
    assert svg.count("<path d=") == graph.count("-->") + 1  # and the head of an arrow


def test_a_notebook_without_a_rendering_is_its_source(site: dict[str, ModuleType], tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "a.ipynb", {**CODE, "source": "1 + 1"})
    page = site["cells"].notebook_page(notebook, tmp_path / "runs")
    assert page.startswith("# A title\n")
    assert "```python\n1 + 1\n```" in page
    assert "Without outputs" in page


def test_a_rendered_notebook_has_its_outputs_and_no_paths_or_scripts(site: dict[str, ModuleType], tmp_path: Path) -> None:
    def output(**data: str) -> list[dict]:
        return [{"output_type": "execute_result", "data": {kind.replace("_", "/"): text for kind, text in data.items()}}]

    notebook = write_notebook(tmp_path / "a.ipynb")
    runs = tmp_path / "runs"
    (runs / "digits" / "figures").mkdir(parents=True)
    (runs / "digits" / "figures" / "fig.png").write_bytes(b"png")
    write_notebook(
        runs / "digits" / "notebooks" / "a.ipynb",
        {**CODE, "source": 'study = "/home/me"', "metadata": {"tags": ["injected-parameters"]}},
        {
            **CODE,
            "source": 'save_figure(plot, out or opened.figures, "fig")\nshow(plot)',
            "outputs": output(text_html="<script>1</script>"),
        },
        {**CODE, "source": "interactive_figures()", "outputs": output(text_html="<script>2</script>")},
        {**CODE, "source": "2", "outputs": output(text_plain="two")},
        {**CODE, "source": "t", "outputs": output(text_html='<style>x</style><table border="1" class="d"><td>3</td></table>')},
    )
    page = site["cells"].notebook_page(notebook, runs)
    assert "/home/me" not in page
    assert "<script" not in page
    assert page.count("data:image/png;base64,cG5n") == 1
    assert "Interactive" not in page
    assert "```text\ntwo\n```" in page
    assert "<table><td>3</td></table>" in page
    assert "study `digits`" in page
