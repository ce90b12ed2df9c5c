"""Identity of an encoder: a hash of all that determines it, by which one that is trained already is known again, wherever it lies."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from sslmem_kit.data.samples import StudySamples
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.moved import content_hash

_NO_MATTER = ("seeds", "record_every", "checkpoint_seconds", "mitigation")
"""Fields of ``training`` that no encoder depends on, or only some do, of which more is told."""


def encoder_hash(samples: StudySamples, plan: EncoderPlan) -> str:
    """Return the hash of an encoder's data, samples by slot, backbone, objective, training and seed, 16 hex digits.

    Threads, devices and versions, on which last bits depend, are not in it.

    Parameters
    ----------
    samples
        Samples of a study; those that were taken out of the partition leave empty slots.
    plan
        Encoder of the study, one of its pairs.
    """
    spec, slots = samples.spec, samples.slots(plan)
    training = {name: value for name, value in spec.training.model_dump(mode="json").items() if name not in _NO_MATTER}
    return content_hash(
        {
            "data": samples.dataset.fingerprint,
            "image_shape": list(samples.dataset.image_shape),
            "slots": _digest(slots),
            "encoder": spec.encoder.model_dump(mode="json"),
            "objective": spec.objective.model_dump(mode="json"),
            "training": training,
            "seed": plan.seed,
            "stream": "" if spec.training.coupled else plan.family,
            **_treatment(samples, plan),
        }
    )


def _treatment(samples: StudySamples, plan: EncoderPlan) -> dict[str, Any]:
    """Return what determines which samples of an encoder are treated, and how: of f, its partner's samples and the views too."""
    spec = samples.spec
    mitigation = spec.training.mitigation
    if mitigation is None or plan.family != "f":
        return {}
    found: dict[str, Any] = {"mitigation": mitigation.model_dump(mode="json")}
    if mitigation.by == "memorization":
        partner = plan.model_copy(update={"family": "g"})
        views = spec.scoring.model_dump(mode="json", include={"views", "policy", "precision"})
        found |= {"partner": _digest(samples.slots(partner)), "scoring": views, "study_seed": spec.seed}
    return found


def _digest(slots: np.ndarray) -> str:
    return hashlib.sha256(slots.astype("<i8").tobytes()).hexdigest()
