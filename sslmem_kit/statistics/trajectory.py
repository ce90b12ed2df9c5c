"""Memorization over training (figure 2b): score, probe accuracy and loss after the recorded epochs.

The score of a sample after an epoch is the mean alignment over the encoders of family g minus that over family f, as everywhere: higher
means more memorized by f. ``/trajectory`` stores alignment as the mean over pairs of views by :func:`sslmem_kit.store.pair_weights`, so
that what is made of it is the raw difference of protocol ``corrected``, whichever protocol the final scores are read in.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, ENCODER, EPOCH, FAMILIES, PARTITION_CODE, SAMPLE, SSLMEM
from sslmem_kit.scores import of_scores, whole_seeds

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
    - ``probe_accuracy(epoch)`` and ``loss(epoch)``, means over the encoders, with ``probe_accuracy_sd`` and ``loss_sd``;
    - ``loss_every_epoch(training_epoch)`` and ``loss_every_epoch_sd``.

    All rest on the pairs of f and g, in a study that has other encoders too. The attrs say in ``standard_error_over`` what the errors are
    over: ``seeds`` (spread of the per-seed differences, with the chosen samples held fixed) where there is more than one pair of encoders,
    else ``candidates``.

    Raises
    ------
    UserError
        No candidates, or a family without encoders.

    Notes
    -----
    The mean of the top 10 % is above the mean even where nothing is memorized: it is chosen by the very scores that it averages.

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
        },
        attrs={
            "protocol": "corrected",
            "standard_error_over": "candidates" if pairs is None else "seeds",
            "n_candidates": len(candidates),
            "n_top": top,
            "n_encoders": len(family),
        },
    )


def _per_seed(per_encoder: np.ndarray, family: np.ndarray, seed: np.ndarray) -> np.ndarray | None:
    """Differences g minus f of each seed, (sample, seed, epoch); None unless all encoders are of two or more seeds with one of each
    family."""
    f, g, left_out = whole_seeds(family, seed)
    return None if len(f) < 2 or len(left_out) else per_encoder[:, g] - per_encoder[:, f]


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis; NaN where that holds a single value."""
    n = len(values)
    return values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(values.shape[1:], np.nan)
