"""What the options of all comparisons have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from sslmem_kit.spec.section import Section


class ComparisonSpec(Section):
    """Options of one comparison; its name alone takes all defaults."""

    name: Any
    """Name of the comparison."""
    KEEPS_STATES: ClassVar[bool] = False
    """True: training keeps the whole objective at the recorded epochs, in ``encoders/<id>/checkpoints``, which this comparison reads."""

    def resolved(self, base: Path) -> Self:
        """Return the same spec with its relative paths made absolute, seen from the folder ``base``."""
        return self
