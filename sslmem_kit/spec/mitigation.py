"""The section ``training.mitigation``: treatment of the most memorized candidates while family f trains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sslmem_kit.errors import UserError
from sslmem_kit.spec.policy import Policy
from sslmem_kit.spec.section import Count, Section, Share

_OPTIONS = {"stronger_views": "policy", "regularize": "weight"}
"""Option that an action needs, and no other has."""


class MitigationSpec(Section):
    """Treatment of the most memorized candidates. Every few epochs f is scored against g of its seed after as many epochs, and the highest
    share of the candidates is treated until f is scored again. g, which never sees candidates, is trained first, and is not treated. By
    default as MultiMem (2026) chooses: every 10 epochs, 5 %."""

    action: Literal["drop", "stronger_views", "regularize"]
    """Treatment: ``drop``: not trained on (other samples take the places, so that steps stay as many); ``stronger_views``: their training
    views are made by ``policy``; ``regularize``: eq. 3 acts on them alone, with ``weight``."""
    every: Count = 10
    """Epochs from one scoring to the next; below ``training.epochs``."""
    share: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """Share of the candidates that is treated, at most half, rounded to whole samples."""
    by: Literal["memorization", "random"] = "memorization"
    """Candidates that are treated: the most memorized, or, as a control, as many at random, others after every ``every`` epochs."""
    policy: Policy | None = None
    """Policy of the views of treated samples, in place of ``training.policy``; for ``stronger_views``, which needs it."""
    weight: Share | None = None
    """lambda of eq. 3 for treated samples; for ``regularize``, which needs it."""

    def count(self, candidates: int) -> int:
        """Return the number of samples that are treated, of so many candidates.

        Raises
        ------
        UserError
            It is none.
        """
        count = round(self.share * candidates)
        if not count:
            raise UserError(f"training.mitigation.share: {self.share} of {candidates:,} candidates is none of them; give more")
        return count

    @model_validator(mode="after")
    def _options_fit(self) -> MitigationSpec:
        for action, option in _OPTIONS.items():
            given = getattr(self, option) is not None
            if given != (self.action == action):
                verb = "is not for this action, leave it out" if given else "is needed"
                raise ValueError(f"action is {self.action!r}, {option} {verb}")
        return self

    def choice_epochs(self, epochs: int) -> tuple[int, ...]:
        """Return the numbers of finished epochs after which samples are chosen, in a training of ``epochs``.

        Examples
        --------
        >>> MitigationSpec(action="drop", every=10).choice_epochs(40)
        (10, 20, 30)
        """
        return tuple(range(self.every, epochs, self.every))
