"""The section ``scoring``: measurement of alignment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from sslmem_kit.spec.places import bundled_specs as bundled_specs
from sslmem_kit.spec.policy import Policy
from sslmem_kit.spec.section import Count, Section
from sslmem_kit.spec.training import Precision


class ScoringSpec(Section):
    """Measurement of alignment: ``views`` random views beside the clean image, all pairs among them."""

    views: Annotated[int, Field(ge=1, le=100)] = 5
    """Number of random views per sample beside the clean image; all pairs among them are measured."""
    policy: Policy | None = None
    """Policy by which scored views are made; null: the training policy (of an audit: simclr)."""
    common_policy: Policy | None = None
    """Policy by which all samples are scored a second time, beside ``policy``, so that studies whose own views differ can be compared: the
    alignment of one encoder is another number under other views. null: none; the same as ``policy``: the scores are those."""
    batch_size: Count = 256
    """Largest number of views in a forward pass."""
    block: Count = 4096
    """Samples in one unit of work, and in one chunk of the store."""
    precision: Precision = "float32"
    """Precision of forward passes; bf16 and fp16: mixed precision."""
    layers: Literal["auto", "all"] | list[str] = []
    """Layers whose alignment is measured too, and whose units' selectivity: ``auto`` (stem, each stage or block, full
    representation), ``all`` (every module that can be one: many, for small encoders), or names of modules of the backbone. None by
    default."""

    @field_validator("layers", mode="before")
    @classmethod
    def _layers_are_named(cls, layers: Any) -> Any:
        named = isinstance(layers, list | tuple) and all(isinstance(name, str) for name in layers)
        if layers not in ("auto", "all") and not named:
            raise ValueError("allowed are 'auto', 'all' and a list of names of modules")
        if named and len(set(layers)) < len(layers):
            raise ValueError("a module is named twice")
        return layers if isinstance(layers, str) else list(layers)
