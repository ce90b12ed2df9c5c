"""Hook of MkDocs: pages that are made of what stands elsewhere (README, schemas of specs, modules, notebooks), and their places in the menu."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "spec", "data", "views", "encoders", "training", "measures", "run", "store", "scores", "statistics", "figures", "report", "explorer",
)  # fmt: skip
FILES = ("study", "events", "errors", "names")
COPIED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
MOST_OUTPUT = 200_000
"""Characters of one output of a notebook that a page takes."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the parts of the menu that follow from files."""
    for entry in config.nav or []:
        if "API" in entry:
            entry["API"] = [{"Public names": "api/index.md"}, *({name: f"api/{name}.md"} for name in (*PACKAGES, *FILES))]
        if "Notebooks" in entry:
            entry["Notebooks"] = [{_title(path): f"notebooks/{path.stem}.md"} for path in _notebooks()]
    config.watch += [str(ROOT / name) for name in (*COPIED, "sslmem_kit", "notebooks")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here, and take the style sheet of this folder in."""
    pages = {target: _linked((ROOT / source).read_text(encoding="utf-8"), source) for source, target in COPIED.items()}
    pages |= {f"reference/{kind}.md": fields_page(kind) for kind in ("study", "audit")}
    pages |= {f"api/{name}.md": api_page(name) for name in (*PACKAGES, *FILES)}
    pages["api/index.md"] = public_page()
    pages |= {f"notebooks/{path.stem}.md": notebook_page(path) for path in _notebooks()}
    pages["example-tabular.md"] = example_page(ROOT / "docs" / "examples" / "tabular")
    pages["site/site.css"] = (ROOT / "docs/site/site.css").read_text(encoding="utf-8")
    for name, content in pages.items():
        if known := files.get_file_from_path(name):
            files.remove(known)
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to folders of examples lead to their pages."""
    return re.sub(r"\]\(examples/(\w+)\)", r"](example-\1.md)", markdown)


def example_page(folder: Path) -> str:
    """The files of an example, one after another."""
    kinds = {".py": "python", ".yaml": "yaml"}
    files = [path for path in sorted(folder.iterdir()) if path.suffix in kinds]
    parts = [f"## {path.name}\n\n```{kinds[path.suffix]}\n{path.read_text(encoding='utf-8')}```" for path in files]
    return "\n\n".join([f"# Example: {folder.name}", *parts]) + "\n"


def _linked(text: str, source: str) -> str:
    """The text of a file from the top of the repository, with its links as seen from the site."""
    text = re.sub(r"\]\(docs/", "](", text)
    for name, target in COPIED.items():
        text = text.replace(f"]({name}", f"]({target}")
    for target in ("index.md", "contributing.md", "changelog.md"):
        text = text.replace(f"](../{target}", f"]({target}")
    return text if source != "CHANGELOG.md" else text.replace("# Changes", "# Changes", 1)


# --- API


def api_page(name: str) -> str:
    """A page of a package, a section for each module with public names; or of a file beside the packages."""
    folder = ROOT / "sslmem_kit" / name
    paths = (
        sorted(folder.rglob("*.py"), key=lambda path: (path.parent, path.name)) if folder.is_dir() else [folder.with_suffix(".py")]
    )
    modules = [_module(path) for path in paths if not any(part.startswith("_") for part in _module(path).split("."))]
    title = f"# sslmem_kit.{name}\n\n" if folder.is_dir() else ""
    return title + "\n\n".join(f"::: {module}\n{_level(1 if not title else 2)}" for module in modules) + "\n"


def _level(level: int) -> str:
    return f"    options:\n      heading_level: {level}\n"


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def public_page() -> str:
    """What ``import sslmem_kit`` hands on, with links to where it is defined."""
    stub = (ROOT / "sslmem_kit" / "__init__.pyi").read_text(encoding="utf-8")
    rows = []
    for module, names in re.findall(r"^from \.([\w.]+) import (.+)$", stub, re.MULTILINE):
        rows += [f"| [`sslmem_kit.{name}`][sslmem_kit.{module}.{name}] | `sslmem_kit.{module}` |" for name in names.split(", ")]
    table = "\n".join(sorted(rows))
    packages = ", ".join(f"[{name}]({name}.md)" for name in (*PACKAGES, *FILES))
    return (
        f"# Public names\n\nThese are imported from `sslmem_kit` itself; they load what they need when they are first used.\n\n"
        f"| name | defined in |\n|---|---|\n{table}\n\nPackages, in the order of the data flow: {packages}.\n"
    )


# --- Fields of specs


def fields_page(kind: str) -> str:
    """Every field of a spec, from its JSON schema: a table a section."""
    schema = json.loads((ROOT / "docs" / "schema" / f"{kind}.json").read_text(encoding="utf-8"))
    what = "a study" if kind == "study" else "an audit"
    head = (
        f"# Fields of {what}\n\n{schema['description']} An unknown key is refused. `sslmem studies --schema {kind}` prints the JSON schema "
        f"that this page is made of.\n\n"
    )
    sections = [_table(schema)]
    for name in _in_order(schema):
        definition = schema["$defs"][name]
        whole = next((form for form in definition.get("anyOf", ()) if "properties" in form), definition)
        short = [_kind(form) for form in definition.get("anyOf", ()) if form is not whole]
        also = f"\n\nShort: {'; or '.join(short)}." if short else ""
        sections.append(f"## {name} {{ #{name.lower()} }}\n\n{definition.get('description', '')}{also}\n\n{_table(whole)}")
    return head + "\n\n".join(sections) + "\n"


def _in_order(schema: dict[str, Any]) -> list[str]:
    """Names of all sections, in the order in which they are met from the top."""
    found: list[str] = []

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                name = part["$ref"].rpartition("/")[2]
                if name not in found:
                    found.append(name)
                    walk(schema["$defs"][name])
            for key, child in part.items():
                if key != "$defs":
                    walk(child)
        elif isinstance(part, list):
            for child in part:
                walk(child)

    walk(schema)
    return found


def _table(section: dict[str, Any]) -> str:
    required = section.get("required", ())
    rows = [
        f"| `{name}` | {_kind(field)} | {'required' if name in required else _default(field)} | {field['description'].replace('|', '&#124;')} |"
        for name, field in section.get("properties", {}).items()
    ]
    return "| field | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) if rows else "No fields."


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "see there" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def _kind(field: dict[str, Any]) -> str:
    """What a field may be, in words, with links to the sections."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    for key in ("anyOf", "oneOf"):
        if key in field:
            kinds = [_kind(form) for form in field[key]]
            return " or ".join(dict.fromkeys(kinds))
    if "pattern" in field:
        return "text of the form `" + field["pattern"].replace("|", "&#124;") + "`" if "&#124;" not in field["pattern"] else "text"
    kind = field.get("type")
    if kind == "array":
        many = f"{field['minItems']} " if field.get("minItems") and field.get("minItems") == field.get("maxItems") else ""
        return f"list of {many}" + (_kind(field["items"]) if "items" in field else "values")
    if kind in ("integer", "number"):
        return {"integer": "whole number", "number": "number"}[kind] + _bounds(field)
    return {"string": "text", "boolean": "`true`, `false`", "null": "`null`", "object": "mapping"}.get(str(kind), "any value")


def _bounds(field: dict[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return "".join(f", {word} {field[key]:,}" for key, word in words.items() if key in field)


# --- Notebooks


def _notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def _title(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return first.splitlines()[0].lstrip("# ")


def notebook_page(path: Path) -> str:
    """A notebook as a page: with its outputs where a study has been rendered here, that of the demo first, else its source alone."""
    executed = [
        ROOT / "papermill_runs" / "digits" / "notebooks" / path.name,
        *(ROOT / "papermill_runs").glob(f"*/notebooks/{path.name}"),
    ]
    rendered = next((there for there in executed if there.is_file()), None)
    study = rendered.parents[1].name if rendered else ""
    how = f"As rendered of the study `{study}`" if rendered else "Without outputs; `sslmem render STUDY` makes them"
    cells = json.loads((rendered or path).read_text(encoding="utf-8"))["cells"]
    body = [text for cell in cells for text in _cell(cell)]
    note = f'!!! note ""\n    {how}. Source: `notebooks/{path.name}`.'
    return "\n\n".join([body[0], note, *body[1:]]) + "\n"


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
    elif cell["cell_type"] == "code" and source.strip() and "injected-parameters" not in cell.get("metadata", {}).get("tags", ()):
        yield f"```python\n{source}\n```"
    for output in cell.get("outputs", ()):
        if text := _output(output):
            yield f'<div class="output" markdown="block">\n\n{text}\n\n</div>'


def _output(output: dict[str, Any]) -> str:
    """An output as Markdown: a picture, a table or text; scripts are left out."""
    data = {kind: "".join(value) if isinstance(value, list) else value for kind, value in output.get("data", {}).items()}
    if output["output_type"] == "stream":
        data = {"text/plain": "".join(output["text"])}
    if "image/png" in data:
        return f"![output](data:image/png;base64,{data['image/png'].strip()})"
    html = data.get("text/html", "")
    if html and "<script" not in html and len(html) < MOST_OUTPUT:
        return re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL).replace("\n", "")
    if "text/markdown" in data:
        return data["text/markdown"]
    plain = "" if "<script" in html else data.get("text/plain", "")
    return f"```text\n{plain.rstrip()[:MOST_OUTPUT]}\n```" if plain.strip() else ""
