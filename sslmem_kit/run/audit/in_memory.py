"""Scoring without a spec: callables and arrays in memory, for notebooks and other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from pydantic import ValidationError
from torch import nn

from sslmem_kit.data import Dataset
from sslmem_kit.data.membership import membership
from sslmem_kit.encoders.device import resolve_device, use_device
from sslmem_kit.errors import UserError, near
from sslmem_kit.measures.alignment import View
from sslmem_kit.names import ALIGNMENT, AUGMENTATION, COMPARED_ANYWAY, ENCODER, MODE, ONE_MODEL, PARTITIONS, SAMPLE, TRAINED_ON
from sslmem_kit.run.audit.agreement import MODULES, check, structure
from sslmem_kit.run.audit.alignment import Measure
from sslmem_kit.run.audit.samples import Samples, from_arrays, from_images
from sslmem_kit.run.audit.user_code import Encode
from sslmem_kit.spec.messages import first_error
from sslmem_kit.spec.policy import Policy
from sslmem_kit.spec.scoring import ScoringSpec
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.store import view_pairs


def score_encoders(
    encoders: Mapping[str, Encode],
    data: Any,
    *,
    view: View | None = None,
    trained_on: Mapping[str, Any] | None = None,
    ids: Any = None,
    labels: Any = None,
    seeds: Mapping[str, int] | None = None,
    views: int = 5,
    policy: str | list | Policy = "simclr",
    seed: int = 0,
    batch_size: int = 256,
    precision: str = "float32",
    device: str = "auto",
    compare_anyway: bool = False,
) -> xr.Dataset:
    """Return the alignment of every sample under encoders of any kind.

    Parameters
    ----------
    encoders
        Encoders by id: an ``nn.Module``, or any callable ``encode(batch) -> features`` [sample, ...]. Modules are put into evaluation mode
        and onto ``device``, and stay there.
    data
        An array (sample, ...) of any type, whose batches are passed on as tensors; or images as
        :func:`sslmem_kit.data.load` gives them, which arrive as [sample, channel, y, x] in [0, 1].
    view
        ``view(batch, ids, view, seed)`` -> batch, view 0 the batch as it is; a pure function of (sample, id, view, seed). None: images by
        ``policy``.
    trained_on
        Samples that each encoder was trained on, by its id: sample ids (whole numbers) or a mask (booleans, one for each sample in the order
        of ``data``), as an array, list, set, tensor or series; None where it is not known.
    ids, labels
        Ids and labels of the samples of an array: different integers, by default 0, 1, ...; integers or text.
    seeds
        Training seeds by encoder id: an f and a g of the same seed are a pair; by default there are no pairs.
    views, policy, seed, batch_size, precision
        Settings of the ``scoring`` section of a spec, and ``seed`` of a study.
    device
        ``auto``, ``cpu``, ``cuda`` ...
    compare_anyway
        Compare encoders that read samples differently, as far as can be seen: shape and precision of the representation, and of modules the
        layers with their strides and sizes. The differences are in the attribute ``compared_anyway``, a JSON list of texts.

    Returns
    -------
    Dataset like the root of a results store: ``alignment(sample, augmentation, encoder)`` and, where it is known, ``trained_on(sample,
    encoder)`` and ``partition``. The attribute ``mode`` says what it allows: ``pair`` :func:`sslmem_kit.score`, ``pair`` and ``subset``
    :func:`sslmem_kit.scores.audit.subset_scores`, and ``one model``
    :func:`sslmem_kit.scores.audit.alignment_table`, which is no memorization score.

    Raises
    ------
    UserError
        An argument is not valid; an encoder or a view function that fails or returns something else; encoders that read samples
        differently.
    """
    samples = _samples(data, ids, labels)
    if samples.dataset is None and view is None:
        raise UserError("view is missing: a function view(batch, ids, view, seed) that makes the views of an array's samples")
    if not encoders:
        raise UserError("encoders: none is given, a mapping of ids to callables is needed")
    device = resolve_device(device)
    use_device(device)
    for encode in encoders.values():
        if isinstance(encode, nn.Module):
            encode.to(device).eval()
    try:
        scoring = ScoringSpec(views=views, policy=None if view else _policy(policy), batch_size=batch_size, precision=precision)
    except ValidationError as error:
        raise UserError(first_error(error, root=ScoringSpec)) from None
    members = membership(list(encoders), _trained_on(trained_on, encoders, samples), [None] * len(encoders))
    measure = Measure(samples, scoring, view=view, seed=derive_seed(seed, "scored views"), device=device)
    read = {
        name: measure.output_format(encode, field=f"encoders[{name!r}]")
        | ({MODULES: structure(encode)} if isinstance(encode, nn.Module) else {})
        for name, encode in encoders.items()
    }
    compared = members.mode != ONE_MODEL
    differing = check(read, anyway=compare_anyway, remedy="compare_anyway=True") if compared else []
    columns = [measure(encode, samples.ids, field=f"encoders[{name!r}]") for name, encode in encoders.items()]
    pairs = np.array(view_pairs(views))
    known = {}
    if members.trained_on is not None:
        flags = {"flag_values": list(range(len(PARTITIONS))), "flag_meanings": " ".join(PARTITIONS)}
        known = {TRAINED_ON: ((SAMPLE, ENCODER), members.trained_on), "partition": (SAMPLE, members.codes, flags)}
    return xr.Dataset(
        {ALIGNMENT: ((SAMPLE, AUGMENTATION, ENCODER), np.stack(columns, axis=2)), **known},
        coords={
            SAMPLE: samples.ids,
            "label": (SAMPLE, samples.labels, {"class_names": list(samples.class_names)}),
            "view_a": (AUGMENTATION, pairs[:, 0]),
            "view_b": (AUGMENTATION, pairs[:, 1]),
            ENCODER: list(encoders),
            "family": (ENCODER, list(members.families)),
            "design": (ENCODER, list(members.designs)),
            "seed": (ENCODER, [(seeds or {}).get(name, place) for place, name in enumerate(encoders)]),
        },
        attrs={
            MODE: members.mode,
            "data_fingerprint": samples.fingerprint,
            "policy": scoring.policy.name if scoring.policy else "view",
            **({COMPARED_ANYWAY: json.dumps(differing)} if differing else {}),
        },
    ).set_coords([name for name in ("partition",) if name in known])


def _samples(data: Any, ids: Any, labels: Any) -> Samples:
    if not isinstance(data, Dataset):
        return from_arrays((ids, data, labels), field="data")
    if ids is not None or labels is not None:
        raise UserError("ids, labels: a data set of images has its own, leave them out")
    return from_images(data)


def _policy(policy: str | list | Policy) -> Policy:
    try:
        return Policy.model_validate(policy)
    except ValueError as error:
        raise UserError(" ".join(str(error).split())[:300]) from None


def _trained_on(given: Mapping[str, Any] | None, encoders: Mapping[str, Encode], samples: Samples) -> np.ndarray | None:
    """Return which samples each encoder was trained on, (sample, encoder) bool; None where it is not known."""
    if given is None:
        return None
    strange, missing = (sorted(set(one) - set(other), key=str) for one, other in ((given, encoders), (encoders, given)))
    if strange or missing:
        what = f"has {strange[0]!r}, which is no encoder{near(strange[0], encoders)}" if strange else f"is missing {missing[0]!r}"
        raise UserError(f"trained_on {what}; sample ids are needed for each of {', '.join(map(str, encoders))}")
    seen = np.zeros((len(samples.ids), len(encoders)), bool)
    for place, name in enumerate(encoders):
        try:
            seen[samples.meant(given[name]), place] = True
        except UserError as error:
            raise UserError(f"trained_on[{name!r}]: {error}") from None
    return seen
