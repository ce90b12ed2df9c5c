"""Variances of a difference of means over encoders: from seeds whose encoders belong together, or from two independent groups.

Encoders of one seed may share initial weights, order and views, which makes them alike: their difference varies less than each of them,
and its spread over seeds is what counts. Arrays are (sample, encoder, k) for k numbers of each encoder: its mean alignment, and how it
changes with one view left out.
"""

from __future__ import annotations

import numpy as np

from sslmem_kit.scores.intervals import MIN_MODERATED_SAMPLES


def encoders_by_seed(seed: np.ndarray) -> np.ndarray | None:
    """Positions of the encoders of each seed, (seed, encoder); None where seeds have different numbers of them, or there is only one seed.

    Parameters
    ----------
    seed
        Seed of each encoder, (encoder,).

    Examples
    --------
    >>> encoders_by_seed(np.array([0, 1, 0, 1]))
    array([[0, 2],
           [1, 3]])
    """
    seeds, counts = np.unique(seed, return_counts=True)
    if len(seeds) < 2 or len(set(counts.tolist())) > 1:
        return None
    return np.argsort(seed, kind="stable").reshape(len(seeds), -1)


def is_balanced(out: np.ndarray) -> np.ndarray:
    """Test whether every seed has as many encoders of each kind as the others, and of both kinds.

    Parameters
    ----------
    out
        Whether an encoder was not trained on a sample, (sample, seed, encoder).

    Returns
    -------
    (sample,) bool.

    Examples
    --------
    >>> is_balanced(np.array([[[True, False], [True, False]], [[True, True], [True, False]]]))
    array([ True, False])
    """
    counts = np.einsum("sze->sz", out, dtype=np.int64)
    return (counts == counts[:, :1]).all(axis=1) & (counts[:, 0] > 0) & (counts[:, 0] < out.shape[2])


def variance_by_seed(means: np.ndarray, out: np.ndarray, by_seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the mean over seeds of the difference within a seed, and its degrees of freedom.

    Parameters
    ----------
    means
        (sample, encoder, k).
    out
        Whether an encoder was not trained on a sample, (sample, encoder), balanced by :func:`is_balanced`.
    by_seed
        Positions of :func:`encoders_by_seed`.

    Returns
    -------
    ``sum((d - mean(d))**2) / (S (S - 1))`` over the differences ``d`` of S seeds, (sample, k), and S - 1, (sample,).

    Examples
    --------
    >>> means, out = np.array([[[0.5], [0.3], [0.7], [0.3]]]), np.array([[True, False, True, False]])
    >>> variance, degrees = variance_by_seed(means, out, np.array([[0, 1], [2, 3]]))
    >>> variance.round(4), degrees
    (array([[0.01]]), array([1]))
    """
    differences = seed_differences(means, out, by_seed)
    seeds = differences.shape[1]
    differences -= np.einsum("szk->sk", differences)[:, None] / seeds  # sums over few by einsum, which is faster
    return np.einsum("szk,szk->sk", differences, differences) / (seeds * (seeds - 1)), np.full(len(means), seeds - 1)


def seed_differences(means: np.ndarray, out: np.ndarray, by_seed: np.ndarray) -> np.ndarray:
    """Differences of the means of both kinds of encoders within each seed, out minus in.

    Parameters
    ----------
    means, out, by_seed
        As in :func:`variance_by_seed`.

    Returns
    -------
    (sample, seed, k).

    Examples
    --------
    >>> means, out = np.array([[[0.5], [0.3], [0.7], [0.3]]]), np.array([[True, False, True, False]])
    >>> seed_differences(means, out, np.array([[0, 1], [2, 3]]))[..., 0].round(2)
    array([[0.2, 0.4]])
    """
    sides = out[:, by_seed]
    signs = sides / sides.sum(axis=2, keepdims=True) - ~sides / (~sides).sum(axis=2, keepdims=True)
    return np.einsum("szek,sze->szk", means[:, by_seed], signs)


def variance_of_independent(means: np.ndarray, out: np.ndarray, _: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the difference of the means of two independent groups of encoders, and Welch's degrees of freedom.

    Parameters
    ----------
    means
        (sample, encoder, k).
    out
        Whether an encoder was not trained on a sample, (sample, encoder).

    Returns
    -------
    ``s_out**2 / n_out + s_in**2 / n_in``, (sample, k), and the degrees of freedom, (sample,); NaN and 0 with one encoder in a group.

    Notes
    -----
    Welch 1947, doi:10.1093/biomet/34.1-2.28.

    Examples
    --------
    >>> means, out = np.array([[[0.5], [0.3], [0.7], [0.3]]]), np.array([[True, False, True, False]])
    >>> variance, degrees = variance_of_independent(means, out, None)
    >>> variance.round(4), degrees
    (array([[0.01]]), array([1.]))
    """
    parts, counts = [], []
    for side in (out, ~out):
        count = side.sum(axis=1)
        share = side / count[:, None]
        centred = means - np.einsum("sek,se->sk", means, share)[:, None]
        parts.append(np.einsum("sek,sek,se->sk", centred, centred, share / np.where(count > 1, count - 1, np.nan)[:, None]))
        counts.append(count)
    variance = parts[0] + parts[1]
    uncertainty = sum(part[:, 0] ** 2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    return variance, np.where(uncertainty > 0, variance[:, 0] ** 2 / uncertainty, np.minimum(*counts) - 1)


def variance_over_encoders(means: np.ndarray, out: np.ndarray, by_seed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Variance over encoders, of seeds where they are balanced and else of independent encoders, and its degrees of freedom.

    Parameters
    ----------
    means
        (sample, encoder, k).
    out
        Whether an encoder was not trained on a sample, (sample, encoder).
    by_seed
        Positions of :func:`encoders_by_seed`; None without seeds in common.

    Returns
    -------
    (sample, k) and (sample,), of :func:`variance_by_seed` and :func:`variance_of_independent`.

    Examples
    --------
    >>> means, out = np.array([[[0.5], [0.3], [0.7], [0.3]]]), np.array([[True, False, True, False]])
    >>> variance_over_encoders(means, out, None)[0].round(4)
    array([[0.01]])
    """
    together = _is_together(out, by_seed)
    if by_seed is None or not together.any():
        return variance_of_independent(means, out, None)
    if together.all():
        return variance_by_seed(means, out, by_seed)
    variance, degrees = np.empty((len(means), means.shape[2])), np.empty(len(means))
    variance[together], degrees[together] = variance_by_seed(means[together], out[together], by_seed)
    variance[~together], degrees[~together] = variance_of_independent(means[~together], out[~together], None)
    return variance, degrees


def without_offset(
    means: np.ndarray, out: np.ndarray, by_seed: np.ndarray | None, whole: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance over encoders of each sample alone, and of what a training does to all samples of a partition alike.

    The second is the spread of the mean over samples, which rests on a few trainings however many samples there are: pooled over samples
    it would seem to be known exactly.

    Parameters
    ----------
    means
        Mean alignments of the samples of one partition, (sample, encoder).
    out, by_seed
        As in :func:`variance_over_encoders`.
    whole
        Variance of each sample with what they have in common, (sample,).

    Returns
    -------
    Both variances and the degrees of freedom of the second, (sample,) each. With fewer than 20 samples the first is ``whole``, and the
    second 0.

    Notes
    -----
    An analysis of variance of samples crossed with seeds: residual mean square, and that of seeds less its share of the residual.

    Examples
    --------
    Thirty samples whose differences all move by 0.1 from one seed to the other:

    >>> out = np.tile([True, False, True, False], (30, 1))
    >>> means = np.tile([0.5, 0.3, 0.6, 0.3], (30, 1))
    >>> own, offset, degrees = without_offset(means, out, encoders_by_seed(np.array([0, 0, 1, 1])), np.full(30, 0.0025))
    >>> own.max().round(6).item(), offset[0].round(6).item(), degrees[0].item()
    (0.0, 0.0025, 1.0)
    """
    samples = len(means)
    own, offset, degrees = whole.copy(), np.zeros(samples), np.ones(samples)
    together = _is_together(out, by_seed)
    for chosen in (together, ~together):
        members = np.flatnonzero(chosen)
        if len(members) < MIN_MODERATED_SAMPLES:
            continue
        bessel = len(members) / (len(members) - 1)
        if chosen is together and by_seed is not None:
            differences = seed_differences(means[members, :, None], out[members], by_seed)[..., 0]
            of_seeds = differences.mean(axis=0)
            own[members] = bessel * _variance_of_mean(differences - of_seeds)
            offset[members], degrees[members] = _variance_of_mean(of_seeds[None]), len(of_seeds) - 1
        else:
            of_encoders = means[members].mean(axis=0)
            for start in range(0, len(members), 4096):  # the arrays of thousands of encoders are large
                rows = members[start : start + 4096]
                with np.errstate(invalid="ignore", divide="ignore"):  # NaN with one encoder on a side
                    found, _ = variance_of_independent((means[rows] - of_encoders)[..., None], out[rows], None)
                    common, known = variance_of_independent(
                        np.broadcast_to(of_encoders[:, None], (*means[rows].shape, 1)), out[rows], None
                    )
                own[rows], offset[rows], degrees[rows] = bessel * found[:, 0], common[:, 0], known
        residual = own[members].mean() / len(members)
        offset[members] = np.maximum(offset[members] - residual, 0)
    return own, offset, degrees


def _is_together(out: np.ndarray, by_seed: np.ndarray | None) -> np.ndarray:
    """Whether the encoders of a sample are compared within seeds, (sample,)."""
    return np.zeros(len(out), bool) if by_seed is None else is_balanced(out[:, by_seed])


def _variance_of_mean(values: np.ndarray) -> np.ndarray:
    """Variance of the mean over seeds: (sample, seed) -> (sample,)."""
    seeds = values.shape[1]
    centred = values - values.mean(axis=1, keepdims=True)
    return np.einsum("sz,sz->s", centred, centred) / (seeds * (seeds - 1))


def jackknife_sum(squares: np.ndarray) -> np.ndarray:
    """Jackknife variance over V views: (V - 1) / V times the sum of squared deviations of the values with one view left out.

    Parameters
    ----------
    squares
        Squared deviations, (sample, view).

    Returns
    -------
    (sample,); NaN without views.

    Examples
    --------
    >>> jackknife_sum(np.array([[0.1, 0.2, 0.3]])).round(2)
    array([0.4])
    """
    views = squares.shape[1]
    return (views - 1) / views * squares.sum(axis=1) if views else np.full(len(squares), np.nan)
