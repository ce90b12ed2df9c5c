"""Presets: the rows of the paper's tables and figures as study specs, and beside each a small one for two cores.

No torch in here, and no numbers of results: a preset says what is trained and scored, and what the paper found.
"""

from __future__ import annotations

from functools import cache

from sslmem_kit.spec.presets.frontiers import frontier_presets_of_minis
from sslmem_kit.spec.presets.mini import mini_presets
from sslmem_kit.spec.presets.paper import paper_presets
from sslmem_kit.spec.presets.preset import Preset
from sslmem_kit.spec.presets.trees import mini_tree_presets, tree_presets_of_the_paper

__all__ = ["Preset", "all_presets", "frontier_presets", "presets", "tree_presets"]


@cache
def presets() -> dict[str, Preset]:
    """Return all presets of studies by name."""
    return {preset.name: preset for preset in (*paper_presets(), *mini_presets())}


@cache
def tree_presets() -> dict[str, Preset]:
    """Return all presets of removal trees by name."""
    return {preset.name: preset for preset in (*tree_presets_of_the_paper(), *mini_tree_presets())}


@cache
def frontier_presets() -> dict[str, Preset]:
    """Return all presets of mitigation frontiers by name."""
    return {preset.name: preset for preset in frontier_presets_of_minis()}


@cache
def all_presets() -> dict[str, Preset]:
    """Return all presets by name, of studies first."""
    return {**presets(), **tree_presets(), **frontier_presets()}
