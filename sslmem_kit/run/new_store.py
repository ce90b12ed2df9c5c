"""Creation of a study's results store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xarray as xr

from sslmem_kit import store
from sslmem_kit.data.groups import ids_of_groups
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.names import FILE, GROUP, PLANTED, PLANTED_KINDS, PLANTED_OF
from sslmem_kit.run.resources import _check_space, processor
from sslmem_kit.store import details
from sslmem_kit.store.provenance import RULES
from sslmem_kit.study import Study


def _create_store(study: Study, samples: StudySamples, facts: dict[str, Any], threads: int, *, path: Path | None = None) -> None:
    """Create the results store of a study that starts."""
    spec, dataset, path = study.spec, samples.dataset, path or study.results_path
    _check_space(study, samples, facts)
    ids = dataset.ids[samples.scored]
    codes = samples.codes[samples.scored]
    plans = spec.encoders
    named = {"method": spec.objective.method, "backbone": spec.encoder.backbone, "dataset": spec.data.name}
    store.create(
        path,
        samples=xr.Dataset(
            coords={
                "sample": ids,
                "label": ("sample", dataset.labels[samples.scored], {"class_names": list(dataset.class_names)}),
                "partition": ("sample", codes),
                **({} if dataset.groups is None else {GROUP: ("sample", ids_of_groups(dataset)[samples.scored])}),
                **_planted(samples),
                **({} if dataset.files is None else {FILE: ("sample", dataset.files[samples.scored])}),
            }
        ),
        encoders=[{"encoder": plan.id, "family": plan.family, "seed": plan.seed, "design": plan.design, **named} for plan in plans],
        trained_on=samples.trained_on(plans),
        views=spec.scoring.views,
        policy=spec.scoring.policy.name,
        epochs=spec.training.epochs,
        recorded_epochs=spec.training.recorded_epochs,
        tasks=facts["tasks"],
        thumbnails=details.thumbnails(dataset, ids),
        original_shapes=dataset.original_shapes[samples.scored],
        block=spec.scoring.block,
        attrs={
            "name": spec.name,
            "spec": json.dumps(spec.as_dict()),
            "spec_hash": spec.hash,
            "data_fingerprint": dataset.fingerprint,
            "data": json.dumps(samples.record),
            "skipped_files": json.dumps(list(dataset.skipped)),
            "versions": json.dumps(facts["versions"]),
            "device": facts["device"],
            "threads": threads,
            "processor": processor(),
            "arithmetic": facts["arithmetic"],
            "rules": json.dumps(RULES),
            "representation": json.dumps(facts["representation"]),
            "stem": facts["stem"],
        },
        layers=tuple(facts["layers"]),
        common_policy=spec.second_policy.name if spec.second_policy else None,
    )


def _planted(samples: StudySamples) -> dict[str, Any]:
    """Return the coordinates of planted samples; none where nothing is planted."""
    dataset = samples.dataset
    if dataset.planted is None or dataset.planted_of is None:
        return {}
    flags = {"flag_values": list(range(len(PLANTED_KINDS))), "flag_meanings": " ".join(PLANTED_KINDS)}
    return {
        PLANTED: ("sample", dataset.planted[samples.scored], flags),
        PLANTED_OF: (
            "sample",
            dataset.planted_of[samples.scored],
            {"long_name": "id of the sample that a duplicate copies, -1: no copy"},
        ),
    }
