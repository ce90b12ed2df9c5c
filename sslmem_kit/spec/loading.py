"""Specs by path, name or text, resolved: nothing is left to a default, and relative paths are absolute."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sslmem_kit.errors import UserError
from sslmem_kit.spec.messages import first_error
from sslmem_kit.spec.paths import absolute, expanded
from sslmem_kit.spec.places import bundled_specs as bundled_specs
from sslmem_kit.spec.reading import read_yaml
from sslmem_kit.spec.study import StudySpec


def load_spec(spec: str | Path, *, seed: int | None = None, remove: Path | str | None = None, data: str | None = None) -> StudySpec:
    """Return the resolved spec of a bundled name, a preset's name or a YAML file.

    Parameters
    ----------
    spec
        A name that ``sslmem studies`` lists, or the path of a YAML file.
    seed
        Put in place of the spec's own ``seed``.
    remove
        Put in place of the spec's own ``partition.remove``; seen from the working directory.
    data
        Put in place of the spec's own ``data.name``; a path in it is seen from the working directory.

    Raises
    ------
    UserError
        No such spec, not YAML, or a field that is unknown or out of bounds.
    """
    loaded, base = _find(str(spec))
    if seed is not None:
        loaded["seed"] = seed
    if data is not None:
        kind, colon, path = data.partition(":")
        name = f"{kind}:{absolute(path)}" if colon and path else data
        loaded["data"] = {**(loaded["data"] if isinstance(loaded.get("data"), dict) else {}), "name": name}
    resolved = parse_spec(loaded, where=str(spec)).resolved(base)
    if remove is None:
        return resolved
    partition = resolved.partition.model_copy(update={"remove": str(remove)}).resolved(absolute("."))
    return resolved.model_copy(update={"partition": partition})


def _find(spec: str) -> tuple[dict[str, Any], Path]:
    """Return the mapping that a spec's name or path stands for, and the folder that its relative paths are seen from."""
    from sslmem_kit.spec.presets import presets

    bundled = bundled_specs()
    if spec in presets():
        return presets()[spec].spec, absolute(".")
    names = f"{', '.join(bundled)} and what `sslmem studies` lists"
    path = bundled.get(spec) or expanded(spec)
    if path.is_dir():
        raise UserError(f"SPEC: {spec!r} is a folder, a YAML file is needed (of a study: its study.yaml) or one of {names}")
    if not path.is_file():
        close = difflib.get_close_matches(spec, presets(), n=3)
        more = f"; near are {', '.join(close)}" if close else ""
        raise UserError(f"SPEC: there is no file {spec!r} and no bundled study of that name; bundled are {names}{more}")
    return read_yaml(path), absolute(path.parent).resolve()


def parse_spec(loaded: Mapping[str, Any], *, where: str) -> StudySpec:
    """Validate a mapping; a :class:`UserError` names the first thing that is wrong with it in one sentence."""
    if isinstance(loaded.get("encoders"), list) and "training" not in loaded:
        raise UserError(f"{where}: this lists encoders that were trained elsewhere, which `sslmem score --spec {where}` scores")
    try:
        return StudySpec.model_validate(loaded)
    except ValidationError as error:
        raise UserError(f"{where}: {first_error(error)}") from None
