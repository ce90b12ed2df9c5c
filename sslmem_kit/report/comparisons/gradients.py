"""The section on gradients: which loss they are of, and at how many states of the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sslmem_kit.store.comparisons import stored_comparisons
from sslmem_kit.study import StudyResults

TRAINING = "training"
"""Value of the attribute ``loss`` of gradients of the loss that encoders were trained for."""


def as_json(study: StudyResults) -> dict[str, Any]:
    """Return ``loss``, ``training`` or ``alignment``, and ``states``, the number of states of the training that gradients are of."""
    group = stored_comparisons(study.tree)["gradients"]
    return {"loss": str(group.attrs.get("loss", "")), "states": group.sizes["checkpoint"]}


def as_text(found: Mapping[str, Any]) -> list[str]:
    """Return lines for a person, from :func:`as_json`.

    Examples
    --------
    >>> as_text({"loss": "training", "states": 2})
    ['of the loss that f was trained for, at 2 states of its training']
    >>> as_text({"loss": "alignment", "states": 1})[0].partition(":")[0]
    'of the alignment distance at the end of training alone, not of the loss that f was trained for'
    """
    if found["loss"] == TRAINING:
        return [f"of the loss that f was trained for, at {found['states']} states of its training"]
    return [
        "of the alignment distance at the end of training alone, not of the loss that f was trained for: the study kept no states of its "
        "objective, which it does where its spec lists gradients before it is trained"
    ]
