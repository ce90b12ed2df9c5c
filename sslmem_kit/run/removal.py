"""Removal by scores: which candidates another study found most memorized, or as many chosen at random (figures 3, 6 and 7, Table 17).

They are ordered by :func:`sslmem_kit.statistics.order.ordering`: by encoders on random subsets where the other study has them, else by its
pairs.

Shrunken scores (:mod:`sslmem_kit.statistics.extremes`) choose the same candidates: within a partition they have the order of the scores.
The mean score of those that are chosen overstates them; what they are worth (:func:`worth`) is said by `sslmem plan`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sslmem_kit import store
from sslmem_kit.data import Dataset
from sslmem_kit.data.partition import removed_amount
from sslmem_kit.data.samples import StudySamples, load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE, SAMPLE, SSLMEM
from sslmem_kit.spec.partition import RemovalSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.extremes import cross_fitted, in_words
from sslmem_kit.statistics.order import ordering
from sslmem_kit.statistics.variance_components import CrossedScores
from sslmem_kit.study import open_study


def chosen_by_scores(spec: RemovalSpec, dataset: Dataset, codes: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the positions of the candidates that leave the partition.

    Parameters
    ----------
    spec
        The scored study, and how many by what.
    dataset, codes
        This study's data and its partition codes, (sample,).
    seed
        Seed of a random choice.

    Raises
    ------
    UserError
        The study is missing or not finished, its data or its candidates differ, or it has fewer candidates than are asked for.
    """
    field = f"partition.remove.study: {spec.study}"
    if not Path(spec.study).is_dir():
        raise UserError(f"{field} is not there; run the study first, `sslmem run SPEC --out {spec.study}`")
    ids, scores = _candidates(spec, dataset, field)
    mine = dataset.ids[codes == PARTITION_CODE["candidate"]]
    others = int((~np.isin(ids, mine)).sum())
    if others:
        raise UserError(
            f"{field}: {others} of its {len(ids)} candidates are none here; both studies need the same seed and partition sizes"
        )
    count = removed_amount(spec, len(ids))
    if count > len(ids):
        raise UserError(
            f"partition.remove.{spec.way}: {count} of the candidates of {spec.study} are asked for, which has {len(ids)}"
        )
    # Ties: the smaller id ranks higher.
    order = np.lexsort((ids, -scores))
    if spec.way == "random":
        order = np.random.Generator(np.random.Philox(seed)).permutation(len(ids))
    return dataset.positions(ids[order[count:] if spec.way == "keep_highest" else order[:count]])


def _candidates(spec: RemovalSpec, dataset: Dataset, field: str) -> tuple[np.ndarray, np.ndarray]:
    """Return ids, ascending, and scores of the study's candidates, the samples that only its family f was trained on."""
    try:
        study = open_study(spec.study)
        scores = study.scores(spec.protocol)
        attributes = store.attributes(study.results_path)
    except UserError as error:
        raise UserError(f"{field}: {error}") from None
    fingerprint = str(attributes.get("data_fingerprint", dataset.fingerprint))
    if fingerprint != dataset.fingerprint:
        raise UserError(
            f"{field} scored other data than {dataset.name!r} with this seed, which decides the test split "
            f"(data_fingerprint {fingerprint[:12]} there, {dataset.fingerprint[:12]} here)"
        )
    chosen = scores["partition"].values == PARTITION_CODE["candidate"]
    ids, values = scores[SAMPLE].values[chosen], scores[ordering(scores)].values[chosen]
    order = np.argsort(ids)
    return ids[order], values[order]


def worth(spec: RemovalSpec) -> dict[str, Any]:
    """Return what the candidates that a removal takes, or keeps, are worth: their mean score, and what did not choose them gives.

    Parameters
    ----------
    spec
        The scored study, and how many by what.

    Returns
    -------
    ``count`` ``of`` the candidates, ``by`` (``sslmem``, ``rank_score`` or ``random``), and ``mean`` of what they are chosen by. By ``sslmem``
    ``cross_fitted``, their mean difference under seeds and views that did not choose them, its ``cross_fitted_interval`` over ``seeds``;
    by ``rank_score`` ``pairs``, the mean difference of the pairs, which did not choose them. ``sentence`` says it.

    Raises
    ------
    UserError
        The study is missing or not finished.
    """
    study = open_study(spec.study)
    scores = study.scores(spec.protocol)
    scores = scores.isel({SAMPLE: np.flatnonzero(scores["partition"].values == PARTITION_CODE["candidate"])})
    by, total = ordering(scores), scores.sizes[SAMPLE]
    count = removed_amount(spec, total)
    found: dict[str, Any] = {"count": count, "of": total, "by": "random" if spec.way == "random" else by}
    which = f"{count:,} of {total:,} candidates of {study.path.name}"
    if spec.way == "random":
        found["mean"] = float(scores["difference"].mean())
        return found | {"sentence": f"{which}, at random: the mean difference of all is {found['mean']:+.4f}"}
    which += f", the highest by {by}, {'stay' if spec.way == 'keep_highest' else 'leave'}"
    if by != SSLMEM:
        chosen = scores.isel({SAMPLE: np.argsort(-scores[by].values, kind="stable")[:count]})
        found |= {"mean": float(chosen[by].mean()), "pairs": float(chosen["difference"].mean())}
        return found | {
            "sentence": f"{which}: mean {found['mean']:+.4f}, by pairs, which did not choose them, {found['pairs']:+.4f}"
        }
    table = CrossedScores.of(study.results, spec.protocol)
    highest = cross_fitted(table, count).sel(end="highest")
    found |= {
        "mean": highest["naive"].item(),
        "cross_fitted": highest["cross_fitted"].item(),
        "cross_fitted_interval": highest["cross_fitted_interval"].values.tolist(),
        "seeds": table.seeds,
    }
    return found | {"sentence": f"{which}: mean difference {in_words(highest)}"}


def study_samples(spec: StudySpec) -> StudySamples:
    """Load the samples of a study without those that another study's scores remove: :func:`sslmem_kit.data.samples.load_samples`."""
    return load_samples(spec, choose=chosen_by_scores)
