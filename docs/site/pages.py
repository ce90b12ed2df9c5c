"""Hook of MkDocs: pages that are made of what stands elsewhere (README, schemas of specs, modules, notebooks), and their places in the menu."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from cells import notebook_page, title
from fields import fields_page
from levels import as_svg

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "spec", "data", "views", "encoders", "training", "measures", "run", "store", "scores", "statistics", "figures", "report", "explorer",
)  # fmt: skip
FILES = ("study", "events", "errors", "names")
COPIED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the parts of the menu that follow from files."""
    for entry in config.nav or []:
        if "API" in entry:
            entry["API"] = [{"Public names": "api/index.md"}, *({name: f"api/{name}.md"} for name in (*PACKAGES, *FILES))]
        if "Notebooks" in entry:
            entry["Notebooks"] = [{title(path): f"notebooks/{path.stem}.md"} for path in NOTEBOOKS]
    config.watch += [str(ROOT / name) for name in (*COPIED, "sslmem_kit", "notebooks")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here, and the style sheet."""
    pages = {target: _linked((ROOT / source).read_text(encoding="utf-8")) for source, target in COPIED.items()}
    pages |= {f"reference/{kind}.md": fields_page(kind) for kind in ("study", "audit")}
    pages |= {f"api/{name}.md": api_page(name) for name in (*PACKAGES, *FILES)}
    pages |= {f"notebooks/{path.stem}.md": notebook_page(path, ROOT / "papermill_runs") for path in NOTEBOOKS}
    pages["api/index.md"] = public_page()
    pages["example-tabular.md"] = example_page(ROOT / "docs" / "examples" / "tabular")
    pages["site.css"] = (ROOT / "docs" / "site" / "site.css").read_text(encoding="utf-8")
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Draw the graph of packages, and let links to examples lead to their pages."""
    markdown = re.sub(r"```mermaid\n(.*?)```", lambda block: as_svg(block[1]), markdown, flags=re.DOTALL)
    return re.sub(r"\]\(examples/(\w+)\)", r"](example-\1.md)", markdown)


def _linked(text: str) -> str:
    """The text of a file from the top of the repository, with its links as seen from the site."""
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\]\((\w+\.md)", lambda link: f"]({COPIED.get(link[1], link[1])}", text)


def example_page(folder: Path) -> str:
    """Return the files of an example, one after another."""
    kinds = {".py": "python", ".yaml": "yaml"}
    files = [path for path in sorted(folder.iterdir()) if path.suffix in kinds]
    parts = [f"## {path.name}\n\n```{kinds[path.suffix]}\n{path.read_text(encoding='utf-8')}```" for path in files]
    return "\n\n".join([f"# Example: {folder.name}", *parts]) + "\n"


def api_page(name: str) -> str:
    """Return the page of a package, a section for each module with a public name; or of a file beside the packages."""
    folder = ROOT / "sslmem_kit" / name
    if not folder.is_dir():
        return _entry(f"sslmem_kit.{name}", level=1)
    paths = sorted(folder.rglob("*.py"), key=lambda path: (path.parent, path.name))
    modules = [module for module in map(_module, paths) if not any(part.startswith("_") for part in module.split("."))][1:]
    stub = folder / "__init__.pyi"
    names = f"Imported from `sslmem_kit.{name}` itself:\n\n{_names_table(stub)}\n\n" if stub.is_file() else ""
    return _entry(f"sslmem_kit.{name}", level=1, members=False) + names + "".join(_entry(module, level=2) for module in modules)


def _entry(module: str, *, level: int, members: bool = True) -> str:
    options = f"      heading_level: {level}\n" + ("" if members else "      members: false\n")
    return f"::: {module}\n    options:\n{options}\n"


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def public_page() -> str:
    """Return what ``import sslmem_kit`` hands on, with links to where it is defined."""
    packages = ", ".join(f"[{name}]({name}.md)" for name in (*PACKAGES, *FILES))
    return (
        "# Public names\n\nThese are imported from `sslmem_kit` itself; each loads what it needs when it is first used.\n\n"
        f"{_names_table(ROOT / 'sslmem_kit' / '__init__.pyi')}\n\nPackages, in the order of the data flow: {packages}.\n"
    )


def _names_table(stub: Path) -> str:
    """Names that a package hands on by its stub, with links to where they are defined."""
    text = re.sub(r"\((.*?)\)", lambda names: " ".join(names[1].split()), stub.read_text(encoding="utf-8"), flags=re.DOTALL)
    rows = []
    for module, names in re.findall(r"^from \.([\w.]+) import (.+)$", text, re.MULTILINE):
        where = f"{_module(stub)}.{module}"
        # Optional: griffe sees no names that are assigned several at once.
        links = [
            f'<autoref optional identifier="{where}.{name}"><code>{name}</code></autoref>' for name in re.findall(r"\w+", names)
        ]
        rows += [f"| {link} | `{where}` |" for link in links]
    return "| name | defined in |\n|---|---|\n" + "\n".join(sorted(rows, key=lambda row: row.partition("<code>")[2].lower()))
