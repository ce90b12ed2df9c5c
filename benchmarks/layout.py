"""Count the layout of the package from its imports: packages, files, levels, arrows, circles, arrows that run up, sizes of modules.

``python benchmarks/layout.py`` prints a table, with ``--json`` JSON, with ``--picture`` the flow as a Mermaid graph (docs/architecture.md).
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "sslmem_kit"

LEVELS = (
    ("errors", "events", "names"),
    ("spec", "scores"),
    ("data", "views", "store", "arguments"),
    ("encoders", "statistics"),
    ("training", "figures", "study"),
    ("measures", "report"),
    ("run", "explorer"),
    ("cli",),
    ("__main__",),
)
"""Units by level, lowest first: a module imports from its own level or lower ones only."""

WITHOUT_TORCH = (
    "errors",
    "events",
    "names",
    "spec",
    "store",
    "scores",
    "statistics",
    "figures",
    "study",
    "report",
    "explorer",
    "arguments",
)
"""Units that a reader of finished studies needs: none of their modules imports torch, nor anything that does."""


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Files of the package by dotted name below it; "" is the package itself."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root / PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path = ROOT) -> dict[str, dict[str, bool]]:
    """Modules of the package that each one imports, and whether at the top, where importing one imports the other.

    A name that a package hands on lazily counts as the module that defines it. Imports for type checkers alone do not count.
    """
    files = modules(root)
    homes = {name: _handed_on(path, name) for name, path in files.items() if path.name == "__init__.py"}
    return {name: dict(_imported(path, files, homes)) for name, path in files.items()}


def _imported(path: Path, files: dict[str, Path], homes: dict[str, dict[str, str]]) -> Iterator[tuple[str, bool]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {inner for node in ast.walk(tree) if _is_for_types(node) for inner in ast.walk(node)}
    inside = {
        inner for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for inner in ast.walk(node)
    }
    deferred, direct = [], []
    for node in ast.walk(tree):
        if node in for_types:
            continue
        for name in _named(node, files, homes):
            (deferred if node in inside else direct).append(name)
    yield from ((name, False) for name in deferred)
    yield from ((name, True) for name in direct)


def _named(node: ast.AST, files: dict[str, Path], homes: dict[str, dict[str, str]]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (_below(alias.name) for alias in node.names if alias.name.split(".")[0] == PACKAGE)
    elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
        parent = _below(node.module)
        for alias in node.names:
            below = f"{parent}.{alias.name}".lstrip(".")
            yield below if below in files else homes.get(parent, {}).get(alias.name, parent)


def _below(dotted: str) -> str:
    return dotted.partition(".")[2]


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _handed_on(path: Path, package: str) -> dict[str, str]:
    """Names of a package's stub, and the modules that define them."""
    stub = path.with_suffix(".pyi")
    if not stub.exists():
        return {}
    nodes = [node for node in ast.parse(stub.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: f"{package}.{node.module}".lstrip(".") for node in nodes for alias in node.names}


def packages_at_the_top(path: Path) -> set[str]:
    """Packages, other than this one, that a module imports as soon as it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {inner for node in ast.walk(tree) if _is_for_types(node) for inner in ast.walk(node)}
    skipped |= {
        inner for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for inner in ast.walk(node)
    }
    nodes = [node for node in ast.walk(tree) if node not in skipped]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names} - {PACKAGE}


def unit_of(module: str) -> str:
    """The package, or file, right below ``sslmem_kit`` that a module is in."""
    return module.split(".")[0]


def arrows(root: Path = ROOT) -> set[tuple[str, str]]:
    """Pairs of units of which one imports the other; the package's own ``__init__``, which hands on lazily, is none."""
    pairs = {(unit_of(one), unit_of(other)) for one, others in imports(root).items() for other in others}
    return {(one, other) for one, other in pairs if one != other and "" not in (one, other)}


def level_of() -> dict[str, int]:
    """Number of the level of each unit."""
    return {unit: number for number, units in enumerate(LEVELS) for unit in units}


def running_up(root: Path = ROOT) -> list[str]:
    """Imports from a higher level, as ``module -> module``."""
    level = level_of()
    return sorted(
        f"{one} -> {other}"
        for one, others in imports(root).items()
        for other in others
        if "" not in (one, other) and level[unit_of(other)] > level[unit_of(one)]
    )


def circles(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """Groups of nodes that reach each other (Tarjan 1972, by reachability: the graph is small)."""
    reach = {node: set(others) for node, others in graph.items()}
    for middle in graph:
        for node in graph:
            if middle in reach[node]:
                reach[node] |= reach[middle]
    found = {tuple(sorted({node} | {other for other in reach[node] if node in reach.get(other, ())})) for node in graph}
    return sorted(group for group in found if len(group) > 1)


def graph_of_modules(root: Path = ROOT, *, at_the_top: bool = False) -> dict[str, set[str]]:
    """The modules that each module imports; ``at_the_top``: as soon as it is imported itself."""
    return {
        one: {other for other, top in others.items() if other and (top or not at_the_top)}
        for one, others in imports(root).items()
        if one
    }


def graph_of_units(root: Path = ROOT) -> dict[str, set[str]]:
    """The units that each unit imports."""
    found: dict[str, set[str]] = {unit_of(name): set() for name in modules(root) if name}
    for one, other in arrows(root):
        found[one].add(other)
    return found


def depth(graph: dict[str, set[str]]) -> int:
    """Length of the longest chain of imports, in nodes; circles count once."""
    seen: dict[str, int] = {}

    def of(node: str, above: frozenset[str]) -> int:
        if node not in seen:
            below = [of(other, above | {node}) for other in graph.get(node, ()) if other not in above | {node}]
            seen[node] = 1 + max(below, default=0)
        return seen[node]

    return max(of(node, frozenset()) for node in graph)


def count(root: Path = ROOT) -> dict[str, Any]:
    """All figures of the layout."""
    files = modules(root)
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in files.items()}
    packages = {path.parent.name for path in (root / PACKAGE).glob("*/__init__.py")}
    units = graph_of_units(root)
    return {
        "packages": len(packages),
        "top_level_files": sum(path.parent == root / PACKAGE for path in files.values()),
        "levels": depth(units),
        "arrows": len(arrows(root)),
        "circles": [" ".join(group) for group in circles(units)],
        "circles_of_modules": [" ".join(group) for group in circles(graph_of_modules(root))],
        "running_up": running_up(root) if set(units) <= set(level_of()) else "no levels are known of this layout",
        "modules": len(files),
        "median_lines": statistics.median(lines.values()),
        "longest": dict(sorted(lines.items(), key=lambda item: -item[1])[:10]),
    }


def picture(root: Path = ROOT) -> str:
    """The units and their arrows as a Mermaid graph, without arrows that follow from others."""
    graph = graph_of_units(root)
    lines = ["graph TD"]
    for number, units in enumerate(reversed(LEVELS)):
        lines += [f"  subgraph level{number}[ ]", *(f"    {unit.strip('_')}" for unit in units), "  end"]
    for one in sorted(graph):
        implied = set().union(*(_reach(graph, other) for other in graph[one])) if graph[one] else set()
        lines += [f"  {one.strip('_')} --> {other}" for other in sorted(graph[one] - implied)]
    return "\n".join(lines)


def _reach(graph: dict[str, set[str]], node: str) -> set[str]:
    found, todo = set(), list(graph[node])
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo += graph[other]
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", action="store_true", help="print the flow as a Mermaid graph")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to look at")
    options = parser.parse_args()
    if options.picture:
        print(picture(options.root))
        return
    found = count(options.root)
    print(json.dumps(found, indent=2) if options.json else "\n".join(f"{name:<20} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
