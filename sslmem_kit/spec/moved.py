"""Specs but for where things lie: data, weights, lists and code that have moved are still those of the study.

That they are the same is seen by what they hold: the fingerprint of data, the ids of samples, the hash of weights.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sslmem_kit.spec.data import GROUP_KINDS, PATH_KINDS
from sslmem_kit.spec.section import Section

ANYWHERE = "..."
"""Text in place of a path."""
_GROUPS = tuple(f"{kind}:" for kind in GROUP_KINDS)
SAMPLES_OF_ALL_OR_NONE = ("all", "none")
NOT_COUNTED = ("comparisons",)
"""Sections that change no training and no score of a study."""
LATER: dict[str, Any] = {"plant": None, "coin": False}
"""Fields of sections that several kinds of specs hold, with the default at which a spec is the one that it was before they came."""


class HashedSpec(Section):
    """A whole spec, known again by its hash."""

    def as_dict(self) -> dict[str, Any]:
        """Return the spec in plain JSON types, every field present."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """Hash of the spec but for where things lie, 16 hex digits."""
        return content_hash(without_places(self._counting))

    @property
    def hash_with_places(self) -> str:
        """Hash that earlier versions recorded."""
        return content_hash(self._counting)

    @property
    def _counting(self) -> dict[str, Any]:
        """Fields that count in the hash."""
        return self.as_dict()


def without_places(content: dict[str, Any]) -> dict[str, Any]:
    """Return the dict of a resolved spec of a study or an audit with ``ANYWHERE`` for every path that is known again by its content.

    Folders of ``downstream.tasks`` stay, for no fingerprint of them is recorded.
    """
    changed = {name: section for name, section in content.items() if name not in NOT_COUNTED}
    if content.get("data"):
        changed["data"] = _data(content["data"])
    if remove := (content.get("partition") or {}).get("remove"):
        anywhere = {**remove, "study": ANYWHERE} if isinstance(remove, dict) else ANYWHERE
        changed["partition"] = {**content["partition"], "remove": anywhere}
    for name in ("source", "view"):
        if content.get(name):
            changed[name] = {**content[name], "folder": ANYWHERE}
    if content.get("samples"):
        changed["samples"] = ANYWHERE
    if content.get("encoders"):
        changed["encoders"] = [_encoder(encoder) for encoder in content["encoders"]]
    return changed


def content_hash(content: dict[str, Any]) -> str:
    """Return the sha256 of the canonical JSON but for :data:`NOT_COUNTED` and :data:`LATER` at their defaults, at any depth, 16 hex digits."""
    return hashlib.sha256(json.dumps(counted(content), sort_keys=True).encode()).hexdigest()[:16]


def counted(content: Any) -> Any:
    """Return what counts of a content, by :data:`NOT_COUNTED` and :data:`LATER`."""
    if isinstance(content, dict):
        return {
            name: counted(value)
            for name, value in content.items()
            if name not in NOT_COUNTED and not (name in LATER and value == LATER[name])
        }
    return [counted(value) for value in content] if isinstance(content, list) else content


def _data(data: dict[str, Any]) -> dict[str, Any]:
    kind, colon, _ = data["name"].partition(":")
    name = f"{kind}:{ANYWHERE}" if colon and kind in PATH_KINDS else data["name"]
    of_file = str(data.get("groups") or "")
    groups = {"groups": f"{of_file[:4]}{ANYWHERE}:{of_file.rpartition(':')[2]}"} if of_file.startswith(_GROUPS) else {}
    return {**data, "name": name, **groups, **({} if data["name"].startswith("digits") else {"root": None})}


def _encoder(encoder: dict[str, Any]) -> dict[str, Any]:
    files = {
        name: ANYWHERE for name in ("weights", "trained_on") if encoder.get(name) and encoder[name] not in SAMPLES_OF_ALL_OR_NONE
    }
    inside = {
        name: {**encoder[name], path: ANYWHERE} for name, path in (("factory", "folder"), ("study", "path")) if encoder.get(name)
    }
    return {**encoder, **files, **inside}
