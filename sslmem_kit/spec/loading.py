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
    loaded, base = find_spec(str(spec))
    resolved = parse_spec(with_changes(loaded, seed=seed, data=data), where=str(spec)).resolved(base)
    if remove is None:
        return resolved
    partition = resolved.partition.model_copy(update={"remove": str(remove)}).resolved(absolute("."))
    return resolved.model_copy(update={"partition": partition})


def with_changes(loaded: dict[str, Any], *, seed: int | None, data: str | None) -> dict[str, Any]:
    """Return the mapping of a study's spec with another ``seed`` and ``data.name``, where they are given."""
    changed = dict(loaded)
    if seed is not None:
        changed["seed"] = seed
    if data is not None:
        kind, colon, path = data.partition(":")
        name = f"{kind}:{absolute(path)}" if colon and path else data
        changed["data"] = {**(loaded["data"] if isinstance(loaded.get("data"), dict) else {}), "name": name}
    return changed


def is_name(spec: str) -> bool:
    """Return whether a spec comes by this name, as ``sslmem studies`` lists them."""
    from sslmem_kit.spec.presets import all_presets

    return spec in all_presets() or spec in bundled_specs()


def find_spec(spec: str) -> tuple[dict[str, Any], Path]:
    """Return the mapping that a spec's name or path stands for, and the folder that its relative paths are seen from."""
    from sslmem_kit.spec.presets import all_presets

    bundled = bundled_specs()
    if preset := all_presets().get(spec):
        return preset.spec, absolute(".")
    names = f"{', '.join(bundled)} and what `sslmem studies` lists"
    path = bundled.get(spec) or expanded(spec)
    if path.is_dir():
        raise UserError(f"SPEC: {spec!r} is a folder, a YAML file is needed (of a study: its study.yaml) or one of {names}")
    if not path.is_file():
        close = difflib.get_close_matches(spec, all_presets(), n=3)
        more = f"; near are {', '.join(close)}" if close else ""
        raise UserError(f"SPEC: there is no file {spec!r} and no bundled study of that name; bundled are {names}{more}")
    return read_yaml(path), absolute(path.parent).resolve()


def parse_spec(loaded: Mapping[str, Any], *, where: str) -> StudySpec:
    """Validate a mapping; a :class:`UserError` names the first thing that is wrong with it in one sentence."""
    if "arms" in loaded:
        raise UserError(
            f"{where}: this is a mitigation frontier, which `sslmem run`, `sslmem plan` and `sslmem report` take; a study is needed"
        )
    if "scores_of" in loaded:
        raise UserError(
            f"{where}: this is a removal tree, which `sslmem run`, `sslmem plan` and `sslmem report` take; a study is needed"
        )
    if isinstance(loaded.get("encoders"), list) and "training" not in loaded:
        raise UserError(f"{where}: this lists encoders that were trained elsewhere, which `sslmem score --spec {where}` scores")
    try:
        return StudySpec.model_validate(loaded)
    except ValidationError as error:
        raise UserError(f"{where}: {first_error(error)}") from None
