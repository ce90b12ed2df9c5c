"""Audit of differential privacy in one training run: a lower bound on epsilon from coins that decided what was trained on.

Each of m samples was trained on or not by an independent fair coin. A guesser sees the encoder, guesses r of the coins and abstains from the
others; v guesses are right. If the training were (epsilon, delta)-private, v would seldom be so large; the largest epsilon at which it would be
so with a probability below 1 - confidence is a lower bound. The neighbours are training sets with and without one sample.

``steinke`` (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846, Theorem 5.2 and appendix D): P(V >= v) is at most

    P(W >= v) + 2 m delta max over i = 1..v of P(v > W >= v - i) / i,    W ~ Binomial(r, exp(epsilon) / (1 + exp(epsilon)))

``f_dp`` (Mahloujifar, Melis and Chaudhuri 2025, arXiv 2410.22235): with p_k the probability of k right guesses, and

    right(i) = sum over k >= i of k p_k / m,     wrong(i) = sum over k >= i of (r - k) p_k / m,

a trade-off function f, that of (epsilon, delta)-privacy, demands right(i) <= 1 - f(wrong(i - 1)) for every i: flip the coin of one guessed
sample, and a right guess among i becomes a wrong one beside i - 1 others. Of all p with P(V >= v) = tau the smallest right(0) + wrong(0),
which is r / m, comes of the recursion from i = v down; that it is above r / m refutes tau. It loses less to delta than Steinke's does.
``gaussian``: the same with f that of Gaussian noise, largest mu, which is turned into epsilon at delta; it assumes that the training's
trade-off is about of this form, as that of many steps of DP-SGD is, and is no bound otherwise.

A bound is on one encoder's training. The guesser may look at that encoder, and at whatever does not depend on the coins: not at encoders
that are trained on the samples that this one is not, nor at others of the same partition.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy
import xarray as xr

from sslmem_kit.errors import UserError

BOUNDS_BY = ("steinke", "f_dp", "gaussian")
SHARES = (1.0, 0.5, 0.25, 0.125)
"""Shares of the samples that are guessed, one after the other; the confidence pays for their number."""
FEWEST_GUESSES = 5
LARGEST = 60.0
"""Epsilon above which bounds are not searched."""


def tail_probability(coins: int, guesses: int, right: int, epsilon: float, delta: float = 0.0) -> float:
    """Largest probability of ``right`` or more right guesses under (epsilon, delta)-privacy, by Steinke, Nasr and Jagielski (2023).

    Examples
    --------
    Without privacy loss guesses are as good as coins:

    >>> round(tail_probability(10, 10, 8, 0.0), 4), round(tail_probability(10, 10, 8, 1.0), 2)
    (0.0547, 0.47)
    """
    accuracy = scipy.special.expit(epsilon)
    value = scipy.stats.binom.sf(right - 1, guesses, accuracy)
    if delta and right:
        mass = np.cumsum(scipy.stats.binom.pmf(np.arange(right - 1, -1, -1), guesses, accuracy))
        value += 2 * coins * delta * (mass / np.arange(1, right + 1)).max()
    return min(float(value), 1.0)


def refutes(coins: int, guesses: int, right: int, tau: float, wrong_from_right: Callable[[float], float]) -> bool:
    """Return whether fewer than a share ``tau`` of runs have ``right`` or more right guesses under a trade-off function.

    Parameters
    ----------
    wrong_from_right
        Inverse of 1 - f: the least mass of wrong guesses beside a mass of right ones.

    Examples
    --------
    >>> refutes(100, 100, 90, 0.05, inverse_epsilon(0.5, 0.0)), refutes(100, 100, 90, 0.05, inverse_epsilon(3.0, 0.0))
    (True, False)
    """
    correct, wrong = tau * right / coins, tau * (guesses - right) / coins
    for i in range(right - 1, -1, -1):
        more = max(wrong, wrong_from_right(correct))
        correct += i / (guesses - i) * (more - wrong)
        wrong = more
        if correct + wrong > guesses / coins:
            return True
    return False


def inverse_epsilon(epsilon: float, delta: float) -> Callable[[float], float]:
    """Return the inverse of 1 - f of (epsilon, delta)-privacy, f(x) = max(0, 1 - delta - exp(epsilon) x, exp(-epsilon) (1 - delta - x)).

    Examples
    --------
    >>> round(inverse_epsilon(0.0, 0.0)(0.3), 2)
    0.3
    """
    grows = float(np.exp(min(epsilon, 700.0)))
    return lambda right: max(0.0, (right - delta) / grows, 1 - delta - grows * (1 - right))


def inverse_gaussian(mu: float) -> Callable[[float], float]:
    """Return the inverse of 1 - f of Gaussian noise, f(x) = Phi(Phi^-1(1 - x) - mu).

    Examples
    --------
    >>> round(inverse_gaussian(0.0)(0.3), 2)
    0.3
    """
    return lambda right: float(scipy.special.ndtr(scipy.special.ndtri(min(right, 1.0)) - mu))


def epsilon_of_gaussian(mu: float, delta: float) -> float:
    """Return epsilon at delta of Gaussian noise (Balle and Wang 2018); infinite at delta 0, where mu is not.

    Examples
    --------
    >>> round(epsilon_of_gaussian(1.0, 1e-5), 2)
    4.38
    """
    if mu <= 0:
        return 0.0
    if delta <= 0:
        return np.inf

    def excess(epsilon: float) -> float:
        first = scipy.special.ndtr(mu / 2 - epsilon / mu)
        return float(first - np.exp(epsilon + scipy.special.log_ndtr(-mu / 2 - epsilon / mu)) - delta)

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(scipy.optimize.brentq(excess, 0.0, high))


def epsilon_bound(
    coins: int, guesses: int, right: int, *, delta: float = 0.0, confidence: float = 0.95, by: str = "steinke"
) -> float:
    """Lower bound on epsilon from ``right`` right guesses of ``guesses``, among ``coins``.

    Parameters
    ----------
    by
        ``steinke``, ``f_dp`` or ``gaussian``, as the module says.

    Returns
    -------
    Epsilon, 0 where nothing is shown; at most ``LARGEST``. Its probability to be above the true one is at most 1 - confidence, for a number
    of guesses that was fixed beforehand.

    Raises
    ------
    UserError
        Numbers that are no guesses.

    Examples
    --------
    >>> round(epsilon_bound(1000, 1000, 600), 2), epsilon_bound(1000, 1000, 510)
    (0.3, 0.0)
    >>> round(epsilon_bound(1000, 100, 100, delta=1e-5), 2)
    3.47
    """
    if not 0 <= right <= guesses <= coins:
        raise UserError(f"guesses: {right} right of {guesses} among {coins} coins, 0 <= right <= guesses <= coins is needed")
    tau = 1 - confidence

    def refuted(loss: float) -> bool:
        if by == "steinke":
            return tail_probability(coins, guesses, right, loss, delta) < tau
        return refutes(coins, guesses, right, tau, inverse_gaussian(loss) if by == "gaussian" else inverse_epsilon(loss, delta))

    if not right or not refuted(0.0):
        return 0.0
    high = 1.0
    while high < LARGEST and refuted(high):
        high *= 2
    low = high / 2 if high > 1 else 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return epsilon_of_gaussian(low, delta) if by == "gaussian" else min(low, LARGEST)


def guess(signal: np.ndarray, included: np.ndarray, count: int) -> int:
    """Number of right guesses where the highest half of ``count`` samples is guessed in, and the lowest half out; of equals the earlier.

    Examples
    --------
    >>> guess(np.array([0.9, 0.8, 0.5, 0.1]), np.array([True, True, False, False]), 2)
    2
    """
    order = np.argsort(-signal, kind="stable")
    high, low = order[: (count + 1) // 2], order[len(order) - count // 2 :]
    return int(included[high].sum() + (~included[low]).sum())


def audit(
    signal: np.ndarray,
    included: np.ndarray,
    *,
    delta: float = 0.0,
    confidence: float = 0.95,
    guesses: int | None = None,
) -> xr.Dataset:
    """Lower bounds on epsilon of one encoder, from a signal of membership and the coins.

    Parameters
    ----------
    signal
        (coin,), higher where a sample rather was trained on; it must not depend on the coins but through the encoder.
    included
        (coin,) bool: heads, the sample was trained on.
    delta
        Of the privacy that is audited.
    confidence
        Of each bound.
    guesses
        Number of guesses, fixed before the coins were seen; None: the best of four shares of the samples, each at a confidence of
        1 - (1 - confidence) / 4, so that the choice is paid for.

    Returns
    -------
    On ``by`` (``steinke``, ``f_dp``, ``gaussian``): ``epsilon``, the lower bound, with the ``guesses`` and ``right`` ones that it comes from;
    scalars ``coins``, ``heads``, ``accuracy`` of guessing all, ``delta`` and ``confidence``. The bounds are each of its own: the largest of the
    three has not this confidence. The one to report is ``f_dp`` where delta is above 0, else ``steinke``, attribute ``chosen``.

    Raises
    ------
    UserError
        Too few coins.

    Examples
    --------
    >>> included = np.arange(400) % 2 == 0
    >>> found = audit(included + 0.0, included)
    >>> round(found["epsilon"].sel(by="steinke").item(), 1), found["coins"].item()
    (4.5, 400)
    """
    known = np.isfinite(signal)
    signal, included = signal[known], np.asarray(included, bool)[known]
    coins = len(signal)
    if coins < FEWEST_GUESSES:
        raise UserError(f"privacy: {coins} samples with a signal went by coin, at least {FEWEST_GUESSES} are needed")
    counts = [guesses] if guesses else sorted({max(FEWEST_GUESSES, round(share * coins)) for share in SHARES}, reverse=True)
    if counts[0] > coins:
        raise UserError(f"guesses: {counts[0]} are asked for, there are {coins} coins; give fewer")
    each = 1 - (1 - confidence) / len(counts)
    tries = [(count, guess(signal, included, count)) for count in counts]
    rows = []
    for by in BOUNDS_BY:
        values = [epsilon_bound(coins, *found, delta=delta, confidence=each, by=by) for found in tries]
        best = int(np.argmax(values))
        rows.append((values[best], *tries[best]))
    epsilon, used, right = zip(*rows, strict=True)
    return xr.Dataset(
        {
            "epsilon": ("by", list(epsilon)),
            "guesses": ("by", list(used)),
            "right": ("by", list(right)),
            "coins": coins,
            "heads": int(included.sum()),
            "accuracy": guess(signal, included, coins) / coins,
            "delta": delta,
            "confidence": confidence,
        },
        {"by": list(BOUNDS_BY)},
        {"chosen": "f_dp" if delta else "steinke"},
    )
