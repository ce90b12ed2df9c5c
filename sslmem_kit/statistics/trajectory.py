"""Memorization over training (figure 2b): score, probe accuracy and loss after the recorded epochs.

The score of a sample after an epoch is the mean alignment over the encoders of family g minus that over family f, as everywhere: higher
means more memorized by f. ``/trajectory`` stores alignment as the mean over pairs of views by :func:`sslmem_kit.store.pair_weights`, so
that what is made of it is the raw difference of protocol ``corrected``, whichever protocol the final scores are read in.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, BOUND, BOUNDS, ENCODER, EPOCH, FAMILIES, PARTITION_CODE, SAMPLE, SSLMEM
from sslmem_kit.scores import of_scores, whole_seeds
from sslmem_kit.statistics.extremes import by_halves

TOP_SHARE = 0.1
"""Share of the candidates whose scores are the highest after an epoch, as in the paper."""


def memorization_over_training(tree: xr.DataTree) -> xr.Dataset:
    """Scores, probe accuracy and loss after the recorded epochs, all that figure 2b shows.

    Parameters
    ----------
    tree
        A complete results store, as :func:`sslmem_kit.store.open_results` gives it.

    Returns
    -------
    Dataset on ``epoch`` (recorded ones), ``training_epoch`` (all) and ``sample``:

    - ``sslmem(sample, epoch)``: mean over g minus mean over f, for the samples of every partition;
    - ``mean(epoch)``: over the candidates; ``top_mean(epoch)``: over the 10 % of them (at least one) that score highest at that
      epoch, chosen anew for each; ``mean_se`` and ``top_mean_se``: their standard errors;
    - ``effect(epoch)``: over the candidates, less the offset of each seed's trainings (:func:`without_offset`), which is ``(C-I)/2`` of the
      report; ``top_effect(epoch)``: over the 10 % of them that score highest by one half of the seeds, under the other half, both ways
      (:func:`sslmem_kit.statistics.extremes.by_halves`); ``effect_interval`` and ``top_effect_interval``, 95 % over seeds, on ``bound``;
      ``top_effect_naive``: over those that score highest by all seeds. NaN with one seed;
    - ``probe_accuracy(epoch)`` and ``loss(epoch)``, means over the encoders, with ``probe_accuracy_sd`` and ``loss_sd``;
    - ``loss_every_epoch(training_epoch)`` and ``loss_every_epoch_sd``.

    All rest on the pairs of f and g, in a study that has other encoders too. The attrs say in ``standard_error_over`` what the errors are
    over: ``seeds`` (spread of the per-seed differences, with the chosen samples held fixed) where there is more than one pair of encoders,
    else ``candidates``; in ``seeds``, ``n_top`` and ``n_candidates`` what the numbers rest on; in ``missing`` a sentence on what the store
    lacks for the figure, empty where it lacks nothing.

    Raises
    ------
    UserError
        No candidates, or a family without encoders.

    Notes
    -----
    ``top_mean`` is above the mean even where nothing is memorized: the samples are chosen by the very scores that it averages. That of
    ``top_effect`` is not; its samples are chosen by half of the seeds, and so less well than by all.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> over_training = memorization_over_training(_example.tree())
    >>> over_training["mean"].round(2).to_series().to_dict()
    {2: 0.09, 4: 0.19}
    """
    if "trajectory" not in tree.children:
        raise UserError(
            "STUDY: this is an audit, whose encoders were trained elsewhere; nothing was recorded during their training"
        )
    results = of_scores(tree.to_dataset())
    trajectory, training = (tree[name].to_dataset().sel({ENCODER: results[ENCODER].values}) for name in ("trajectory", "training"))
    alignment = trajectory[ALIGNMENT].transpose(SAMPLE, ENCODER, EPOCH).load()
    family, seed = results["family"].values.astype(object), results["seed"].values
    counts = {name: int((family == name).sum()) for name in FAMILIES}
    if min(counts.values()) == 0:
        raise UserError(f"family: both f and g are needed, this store has {counts['f']} encoders of f and {counts['g']} of g")
    is_candidate = tree["partition"].values == PARTITION_CODE["candidate"]
    if not is_candidate.any():
        raise UserError("partition: this store has no candidates, memorization over training is a mean over them")

    per_encoder = alignment.values.astype(np.float64)
    score = per_encoder[:, family == "g"].mean(axis=1) - per_encoder[:, family == "f"].mean(axis=1)
    pairs = _per_seed(per_encoder[is_candidate], family, seed)
    candidates = score[is_candidate]
    top = max(1, round(TOP_SHARE * len(candidates)))
    highest = np.argsort(-candidates, axis=0, kind="stable")[:top]

    over_all, over_top = candidates, np.take_along_axis(candidates, highest, axis=0)
    if pairs is not None:
        seeds_of_all, seeds_of_top = (p.mean(axis=0) for p in (pairs, np.take_along_axis(pairs, highest[:, None], axis=0)))
    else:
        seeds_of_all, seeds_of_top = over_all, over_top
    epochs = alignment.sizes[EPOCH]
    effects, top_effects, naive = (np.full(shape, np.nan) for shape in ((3, epochs), (3, epochs), epochs))
    independent = None
    if pairs is not None:
        independent = _per_seed(per_encoder[tree["partition"].values == PARTITION_CODE["independent"]], family, seed)
        of_seeds = without_offset(pairs, independent)  # (sample, seed, epoch)
        for epoch in range(epochs):
            mean, ends = by_halves(of_seeds[..., epoch], top)
            top_effects[:, epoch], naive[epoch] = (mean, *ends), of_seeds[highest[:, epoch], :, epoch].mean()
            effects[:, epoch] = mean_over_seeds(of_seeds[..., epoch].mean(axis=0))
    accuracy = trajectory["probe_accuracy"].load()
    loss = training["loss"].load()
    by_epoch, by_training_epoch = (EPOCH,), ("training_epoch",)
    recorded = loss.sel({EPOCH: alignment[EPOCH]})
    return xr.Dataset(
        {
            SSLMEM: ((SAMPLE, EPOCH), score),
            "mean": (by_epoch, over_all.mean(axis=0)),
            "mean_se": (by_epoch, _standard_error(seeds_of_all)),
            "top_mean": (by_epoch, over_top.mean(axis=0)),
            "top_mean_se": (by_epoch, _standard_error(seeds_of_top)),
            "effect": (by_epoch, effects[0]),
            "effect_interval": ((*by_epoch, BOUND), effects[1:].T),
            "top_effect": (by_epoch, top_effects[0]),
            "top_effect_interval": ((*by_epoch, BOUND), top_effects[1:].T),
            "top_effect_naive": (by_epoch, naive),
            "probe_accuracy": (by_epoch, accuracy.mean(ENCODER).data),
            "probe_accuracy_sd": (by_epoch, accuracy.std(ENCODER, ddof=1).data),
            "loss": (by_epoch, recorded.mean(ENCODER).data),
            "loss_sd": (by_epoch, recorded.std(ENCODER, ddof=1).data),
            "loss_every_epoch": (by_training_epoch, loss.mean(ENCODER).data),
            "loss_every_epoch_sd": (by_training_epoch, loss.std(ENCODER, ddof=1).data),
        },
        coords={
            **{name: tree[name].variable for name in (SAMPLE, "label", "partition")},
            EPOCH: alignment[EPOCH].values,
            "training_epoch": loss[EPOCH].values,
            BOUND: list(BOUNDS),
        },
        attrs={
            "protocol": "corrected",
            "standard_error_over": "candidates" if pairs is None else "seeds",
            "n_candidates": len(candidates),
            "n_top": top,
            "n_encoders": len(family),
            "seeds": 0 if pairs is None else pairs.shape[1],
            "missing": _missing(epochs, pairs is not None, independent is not None and len(independent) > 0),
        },
    )


def _per_seed(per_encoder: np.ndarray, family: np.ndarray, seed: np.ndarray) -> np.ndarray | None:
    """Differences g minus f of each seed, (sample, seed, epoch); None unless all encoders are of two or more seeds with one of each
    family."""
    f, g, left_out = whole_seeds(family, seed)
    return None if len(f) < 2 or len(left_out) else per_encoder[:, g] - per_encoder[:, f]


def without_offset(candidates: np.ndarray, independent: np.ndarray | None) -> np.ndarray:
    """Scores of candidates by each seed, less what the seed's two trainings do to all samples alike.

    Parameters
    ----------
    candidates, independent
        Differences g minus f by seed, (sample, seed, ...). Family f has seen the ones and g the others: what they memorize is of opposite
        signs, and half of the sum of the means is the offset. Without independent samples nothing is taken off.

    Examples
    --------
    >>> without_offset(np.array([[0.5, 0.2]]), np.array([[0.1, -0.4]])).round(2)
    array([[0.2, 0.3]])
    """
    if independent is None or not len(independent):
        return candidates
    return candidates - (candidates.mean(axis=0) + independent.mean(axis=0)) / 2


def mean_over_seeds(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of the values of several seeds, and its 95 % interval by Student's t; NaN with one.

    Examples
    --------
    >>> [round(value, 2) for value in mean_over_seeds(np.array([1.0, 2.0, 4.0]))]
    [2.33, -1.46, 6.13]
    """
    mean, n = float(values.mean()), len(values)
    reach = float(_standard_error(values) * special.stdtrit(n - 1, 0.975)) if n > 1 else np.nan
    return mean, mean - reach, mean + reach


def _missing(epochs: int, seeds: bool, independent: bool) -> str:
    """Return what a store lacks to show memorization over training, in a sentence."""
    lacks = []
    if epochs < 2:
        lacks.append(
            "scores were recorded after the last epoch alone, so that nothing is seen over epochs: set training.record_every"
        )
    if not seeds:
        lacks.append(
            "the seeds of f and g are not two or more pairs, so that the top tenth cannot be chosen by one half of the encoders and measured "
            "by the other, and nothing has an interval over seeds: set training.seeds to 2 or more"
        )
    elif not independent:
        lacks.append("there are no independent samples, so that the offset of each seed's trainings stays in the means")
    return "; ".join(lacks)


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis; NaN where that holds a single value."""
    n = len(values)
    return values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(values.shape[1:], np.nan)
