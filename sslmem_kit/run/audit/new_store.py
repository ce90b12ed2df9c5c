"""Creation of an audit's results store, and the images of its views."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit import store
from sslmem_kit.data.membership import Membership
from sslmem_kit.measures.alignment import scored_images
from sslmem_kit.names import FILE, MODE
from sslmem_kit.run.audit.alignment import Measure
from sslmem_kit.run.audit.encoders import known_training
from sslmem_kit.run.audit.samples import Samples
from sslmem_kit.run.resources import processor
from sslmem_kit.run.versions import arithmetic, versions
from sslmem_kit.store import details
from sslmem_kit.study import AuditStudy


def create_store(
    study: AuditStudy,
    samples: Samples,
    scored: np.ndarray,
    members: Membership,
    record: dict[str, Any],
    device: str,
    threads: int,
    *,
    path: Path | None = None,
) -> None:
    """Create the results store of an audit that starts."""
    spec, dataset = study.spec, samples.dataset
    coords: dict[str, Any] = {
        "sample": samples.ids[scored],
        "label": ("sample", samples.labels[scored], {"class_names": list(samples.class_names)}),
    }
    if members.codes is not None:
        coords["partition"] = ("sample", members.codes)
    if dataset and dataset.files is not None:
        coords[FILE] = ("sample", dataset.files[scored])
    name = spec.data.name if spec.data else spec.source.function
    rows = []
    for place, (plan, family, design) in enumerate(zip(spec.encoders, members.families, members.designs, strict=True)):
        made_by = plan.factory.function if plan.factory else plan.encoder.backbone if plan.encoder else ""
        row = {"method": plan.method or "unknown", "backbone": made_by, **known_training(plan, place)}
        rows.append({"encoder": plan.id, "family": family, "design": design, "dataset": name, **row})
    store.create(
        path or study.results_path,
        samples=xr.Dataset(coords=coords),
        encoders=rows,
        trained_on=members.trained_on,
        views=spec.scoring.views,
        policy=spec.scoring.policy.name if spec.scoring.policy else spec.view.function,
        block=spec.scoring.block,
        thumbnails=details.thumbnails(dataset, samples.ids[scored]) if dataset else None,
        original_shapes=dataset.original_shapes[scored] if dataset else None,
        attrs={
            "name": spec.name,
            MODE: members.mode,
            "spec": json.dumps(spec.as_dict()),
            "spec_hash": spec.hash,
            "data_fingerprint": samples.fingerprint,
            "data": json.dumps(record),
            "skipped_files": json.dumps(list(dataset.skipped) if dataset else []),
            "versions": json.dumps(versions()),
            "device": device,
            "threads": threads,
            "processor": processor(),
            "arithmetic": arithmetic(),
        },
    )


def write_views(study: AuditStudy, measure: Measure) -> None:
    """Add the views of the samples with the most informative scores to the store, small."""
    scoring, loader = study.spec.scoring, measure.loader
    each = details.view_bytes(loader.dataset.image_shape, scoring.views)
    # Another instance: the tree of this one is opened when its store is finished.
    kept = details.choose_kept(AuditStudy(study.path).scores(), bytes_each=each)
    views = scored_images(
        loader,
        kept[store.KEPT].values,
        views=scoring.views,
        policy=scoring.policy,
        seed=measure.seed,
        batch_size=scoring.batch_size,
    )
    details.write_views(study.results_path, kept, np.concatenate([details.shrink(images) for images in views]))
