"""Machine that the numbers of a store were computed on, which their last bits depend on.

A sum over threads is added up in an order that depends on their number, and training carries such a difference on: two trainings that
are equal in everything but the threads are as far apart, in the end, as two that differ in the noise of one step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

BITS = "equal numbers, to the last bit, need equal threads, processor and torch"

RULES = {"lars": "scaled without decay", "private_noise": "of the operating system"}
"""Rules of training that changed: an encoder's ``config.json`` and a store hold those that it was trained by, older ones none."""


def computed_on(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the last bits of a store's numbers depend on: ``device``, ``processor``, ``threads``, ``torch`` and ``arithmetic`` (vector
    instructions and libraries); None for what is missing from an older store.

    Parameters
    ----------
    attrs
        Attributes of the root of a results store.
    """
    try:
        versions = json.loads(attrs.get("versions", "{}"))
    except (TypeError, ValueError):
        versions = {}
    torch = versions.get("torch") if isinstance(versions, dict) else None
    return {
        **{name: attrs.get(name) for name in ("device", "processor", "threads")},
        "torch": torch,
        "arithmetic": attrs.get("arithmetic"),
    }


def of_training(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the attributes of a store that say how its encoders were trained, from the ``config.json`` of each.

    ``trained_on_machines``, JSON: ids of encoders by the machine that finished their training, where that is known; ``rules``, JSON: those of
    ``RULES`` by which all of them were trained.

    Examples
    --------
    >>> of_training({"f-0": {"machine": "A", "rules": RULES}, "g-0": {"machine": "B"}})
    {'trained_on_machines': '{"A": ["f-0"], "B": ["g-0"]}', 'rules': '{}'}
    """
    machines: dict[str, list[str]] = {}
    for encoder, config in configs.items():
        if machine := config.get("machine"):
            machines.setdefault(machine, []).append(encoder)
    rules = {
        name: rule
        for name, rule in RULES.items()
        if configs and all(config.get("rules", {}).get(name) == rule for config in configs.values())
    }
    return {"trained_on_machines": json.dumps(machines), "rules": json.dumps(rules)}


def training_caveats(attrs: Mapping[str, Any]) -> list[str]:
    """Return sentences on how encoders were trained: on different processors, or by a rule of an earlier version that was wrong.

    Examples
    --------
    >>> training_caveats({"trained_on_machines": '{"A": ["f-0"], "B": ["g-0"]}'})[0].partition(":")[0]
    'encoders were trained on 2 kinds of processors or libraries'
    >>> spec = '{"training": {"optimizer": "lars", "weight_decay": 0.0}}'
    >>> training_caveats({"spec": spec})[0].partition(",")[0]
    'training.optimizer was plain SGD'
    >>> training_caveats({"spec": spec, "rules": json.dumps(RULES)})
    []
    """
    sentences = []
    machines = json.loads(attrs.get("trained_on_machines", "{}"))
    if len(machines) > 1:
        named = "; ".join(f"{', '.join(ids[:4])}{', ...' * (len(ids) > 4)} on {machine}" for machine, ids in machines.items())
        sentences.append(
            f"encoders were trained on {len(machines)} kinds of processors or libraries: the same seed gives another training on each, so "
            f"that f and g of a seed may differ by that too ({named})"
        )
    if is_plain_sgd(attrs):
        sentences.append(
            "training.optimizer was plain SGD, not LARS: up to November 2026 it scaled no steps where training.weight_decay is 0"
        )
    if _training(attrs).get("privacy") and "private_noise" not in _rules(attrs):
        sentences.append(
            "training.privacy promises nothing to who reads study.yaml: this study's noise and batches follow from its seed (up to November "
            "2026), and f and g of a seed have the same"
        )
    return sentences


def is_plain_sgd(attrs: Mapping[str, Any]) -> bool:
    """Return whether a study's LARS without weight decay is that of earlier versions, plain SGD."""
    training = _training(attrs)
    return training.get("optimizer") == "lars" and training.get("weight_decay") == 0 and "lars" not in _rules(attrs)


def _training(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(attrs.get("spec", "{}")).get("training") or {}


def _rules(attrs: Mapping[str, Any]) -> dict[str, str]:
    return json.loads(attrs.get("rules", "{}"))


def in_words(machine: Mapping[str, Any]) -> str:
    """Return the result of :func:`computed_on` as a phrase: ``cpu (AMD EPYC), 1 thread a training, torch 2.14.0``."""
    known = "; ".join(text for text in (machine["processor"], machine.get("arithmetic")) if text)
    place = f"{machine['device']}" + (f" ({known})" if known else "")
    threads = machine["threads"]
    parts = [
        place,
        f"{threads} thread{'s' * (threads != 1)} a training" if threads else "",
        machine["torch"] and f"torch {machine['torch']}",
    ]
    return ", ".join(part for part in parts if part)


def difference(left: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    """Return in which entries of :func:`computed_on` two studies are known to differ, as a sentence; empty where in none."""
    names = [name for name in left if None not in (left[name], right[name]) and left[name] != right[name]]
    if not names:
        return ""
    parts = [f"{name} {left[name]} on the left and {right[name]} on the right" for name in names]
    return f"Computed with {', '.join(parts)}: on their own these move single scores."
