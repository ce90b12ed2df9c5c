"""Collapse of representations, and of what a loss compares."""

from __future__ import annotations

LEAST_STD = 0.02
"""Standard deviation below which representations are all but equal."""
LEAST_RANK = 1.2
"""Effective rank below which representations lie along a line."""


def collapsed(std: float, rank: float) -> bool:
    """Test whether representations of these `feature_std` and `effective_rank` are all but equal, or lie along a line.

    The thresholds were measured on digits and on random images of 8 and 32 pixels. Pooled features of untrained ResNets and ViTs have a
    std of 0.067 to 0.79 and a rank from 2.8 on, trained ones a std from 0.26 on. Trained to align two views and nothing else, a small
    ViT falls below 0.011 within 40 steps, and so does the output of a ResNet's projection head, down to 0.003. Their rank stays at 6
    to 50 (the noise that is left has many directions), so std decides; the rank is for features of one direction alone, where each
    repeats the others. Features of a supervised encoder of two classes may rightly end there.

    A ResNet's batch normalization keeps its pooled features apart (0.74 and more) when the output of its head has collapsed: an
    objective is judged by what its loss sees.

    Examples
    --------
    >>> collapsed(std=0.8, rank=20.0), collapsed(std=0.003, rank=20.0)
    (False, True)
    """
    return std < LEAST_STD or rank < LEAST_RANK


def collapse(std: float, rank: float, embedding_std: float) -> str:
    """Sentence on what of an encoder has collapsed, empty where nothing has.

    Parameters
    ----------
    std, rank
        `feature_std` and `effective_rank` of its representations.
    embedding_std
        `feature_std` of what the loss compares; NaN where it compares nothing.

    Examples
    --------
    >>> collapse(0.8, 20.0, 0.01)
    'what the loss compares has collapsed (standard deviation 0.01; representations: standard deviation 0.8, effective rank 20.0)'
    """
    representations = f"standard deviation {std:.2g}, effective rank {rank:.1f}"
    if collapsed(std, rank):
        return f"the representations have collapsed ({representations}); scores of this encoder mean nothing"
    if embedding_std < LEAST_STD:
        return f"what the loss compares has collapsed (standard deviation {embedding_std:.2g}; representations: {representations})"
    return ""
