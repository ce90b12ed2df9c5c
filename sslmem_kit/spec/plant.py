"""The section ``data.plant``: samples of the train split that are made duplicates, mislabelled, out of distribution or noisy on purpose."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from sslmem_kit.spec.partition import Amount
from sslmem_kit.spec.section import Section


class PlantSpec(Section):
    """Samples of the train split that are replaced at random, to see which score finds which; amounts are counts or fractions of the split."""

    duplicates: Amount = 0
    """Samples that become a near copy of another one of the train split, and take its label."""
    mislabelled: Amount = 0
    """Samples that get another class; their images stay."""
    out_of_distribution: Amount = 0
    """Samples whose image becomes a piece of a photograph; their labels stay."""
    noisy: Amount = 0
    """Samples whose image gets normal noise of 80 grey values of 255; their labels stay."""

    @model_validator(mode="after")
    def _something_is_planted(self) -> PlantSpec:
        if not any(amount for _, amount in self):
            raise ValueError(f"give one of {', '.join(type(self).model_fields)}, nothing is planted; or leave data.plant out")
        return self

    def counts(self, train: int) -> dict[str, int]:
        """Return the number of samples of each kind, of a train split of ``train`` samples.

        Examples
        --------
        >>> PlantSpec(duplicates=5, noisy=0.1).counts(100)
        {'duplicates': 5, 'mislabelled': 0, 'out_of_distribution': 0, 'noisy': 10}
        """
        amounts: dict[str, Any] = dict(self)
        return {name: amount if isinstance(amount, int) else round(amount * train) for name, amount in amounts.items()}
