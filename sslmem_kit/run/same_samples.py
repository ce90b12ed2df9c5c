"""Whether a study's data are still those that it was started with."""

from __future__ import annotations

import numpy as np

from sslmem_kit import store
from sslmem_kit.data.groups import ids_of_groups
from sslmem_kit.data.record import read_before
from sslmem_kit.errors import UserError
from sslmem_kit.run.removal import study_samples
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.study import Study


def check_same_samples(study: Study, spec: StudySpec) -> None:
    """Refuse data, wherever they lie now, that are not those that the study was started with."""
    path, name = spec.data.path, spec.data.name
    if path is not None and not path.exists():
        raise UserError(
            f"data.name: {str(path)!r} is not there, and a run of {study.path} has to read the data (a complete study is reported, rendered "
            f"and served without them); where they have moved, name their place, --data {spec.data.kind}:PATH"
        )
    samples = study_samples(spec)
    recorded = store.attributes(study.results_path)
    if recorded.get("data_fingerprint") != samples.dataset.fingerprint:
        if study.spec.data.name != name:
            raise UserError(
                f"data.name: {name!r} holds other data than those that this study started with, which were at {study.spec.data.name!r}"
                f"{read_before(recorded)}; name the place of the same data, or choose another --out"
            )
        raise UserError(
            f"data.name: {name!r} has changed since this study started{read_before(recorded)}; restore it, or choose another --out"
        )
    groups = store.sample_groups(study.results_path)
    if groups is not None and not np.array_equal(groups, ids_of_groups(samples.dataset)[samples.scored]):
        raise UserError(
            "data.groups: it groups samples otherwise than when this study started; restore what it names, or choose another --out"
        )
    if spec.partition.remove and not np.array_equal(store.sample_ids(study.results_path), samples.dataset.ids[samples.scored]):
        raise UserError(
            "partition.remove: it takes out other samples than when this study started; restore what it names, or choose another --out"
        )
