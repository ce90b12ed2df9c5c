"""The layout holds: imports run down the levels, in no circle, without torch right of the store, and no module is long."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

import pytest

from benchmarks import layout
from tests.support import ROOT

FRONT_END = re.compile(r"[;{}>]\s*$", re.MULTILINE)
"""Ends of lines of JavaScript, style sheets and HTML."""
HEAVY = {"torch", "torchvision", "timm", "lightly", "accelerate", "opacus", "sklearn", "safetensors"}


def test_every_unit_has_a_level() -> None:
    assert set(layout.graph_of_units()) == set(layout.level_of())


def test_imports_run_down() -> None:
    assert layout.running_up() == []


def test_there_is_no_circle() -> None:
    assert layout.circles(layout.graph_of_units()) == []
    assert layout.circles(layout.graph_of_modules()) == []


def test_a_circle_and_an_import_that_runs_up_are_found(tmp_path: Path) -> None:
    for name, text in {
        "__init__": "",
        "errors": "def f():\n    from sslmem_kit.cli import main",
        "cli": "from sslmem_kit import errors",
    }.items():
        (tmp_path / "sslmem_kit").mkdir(exist_ok=True)
        (tmp_path / "sslmem_kit" / f"{name}.py").write_text(text)
    assert layout.running_up(tmp_path) == ["errors -> cli"]
    assert layout.circles(layout.graph_of_units(tmp_path)) == [("cli", "errors")]


def test_the_house_has_few_rooms() -> None:
    found = layout.count()
    assert found["packages"] <= 13
    assert found["top_level_files"] <= 8
    assert found["levels"] <= 9
    assert found["arrows"] <= 110


@pytest.mark.parametrize("unit", layout.WITHOUT_TORCH)
def test_right_of_the_store_nothing_imports_torch(unit: str) -> None:
    """Neither at the top of a module nor through what these import; what a function imports belongs to who calls it with the extra."""
    graph = layout.graph_of_modules(at_the_top=True)
    files = layout.modules()
    todo, seen = [name for name in files if layout.unit_of(name) == unit], set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += graph[name]
    assert not {f"{name}: {package}" for name in seen for package in layout.packages_at_the_top(files[name]) & HEAVY}


def test_no_module_is_long() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in layout.modules().items()}
    assert {name: count for name, count in lines.items() if count > 400} == {}
    assert statistics.median(lines.values()) < 150


def test_stubs_name_what_is_there() -> None:
    """Every name that a package hands on is defined where its stub says, and is in ``__all__``."""
    import importlib

    for stub in sorted((ROOT / "sslmem_kit").rglob("*.pyi")):
        module = importlib.import_module(".".join(stub.relative_to(ROOT).parent.parts))
        assert all(getattr(module, name) is not None for name in module.__all__), stub


def front_end_strings(path: Path) -> list[int]:
    """Lines of strings, docstrings aside, that hold several lines of JavaScript, style sheets or HTML."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    expressions = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [node.lineno for node in strings if node not in expressions and len(FRONT_END.findall(node.value)) > 3]


def test_front_end_code_lies_in_files(tmp_path: Path) -> None:
    """JavaScript, style sheets and HTML are files beside their module (``store.files.read_beside``)."""
    path = tmp_path / "module.py"
    path.write_text('"""Module;\n\n1;\n2;\n3;\n4;\n"""\nA = """\nf(1);\nf(2);\n</p>\n.a { b: c }\n"""\nB = "one;\\n"\n')
    assert front_end_strings(path) == [8]
    assert {name: lines for name, file in layout.modules().items() if (lines := front_end_strings(file))} == {}
