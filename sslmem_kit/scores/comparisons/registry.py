"""The comparisons that there are."""

from __future__ import annotations

from sslmem_kit.scores.comparisons import alignment_only, curvature, gradients, learning, typicality
from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.dejavu import DEJAVU
from sslmem_kit.scores.comparisons.membership import MEMBERSHIP
from sslmem_kit.scores.comparisons.partcrop import PARTCROP
from sslmem_kit.scores.comparisons.privacy import PRIVACY
from sslmem_kit.scores.comparisons.supervised import SUPERVISED

_ALL = (
    DEJAVU,
    SUPERVISED,
    MEMBERSHIP,
    PARTCROP,
    PRIVACY,
    gradients.COMPARISON,
    curvature.COMPARISON,
    typicality.COMPARISON,
    learning.COMPARISON,
    alignment_only.COMPARISON,
)

COMPARISONS: dict[str, Comparison] = {comparison.name: comparison for comparison in _ALL}
"""Comparisons by name."""
