"""The table that the spec of a removal tree stands for: its rows, amounts and cells, and how many encoders they take."""

from __future__ import annotations

from typing import Any, NamedTuple

from sslmem_kit.errors import UserError
from sslmem_kit.spec.removal_tree import OF_PAIRS, RemovalTreeSpec


class Row(NamedTuple):
    """A way to choose, and the order that it goes by: a coordinate of the table."""

    way: str
    order: str = ""

    def __str__(self) -> str:
        return f"{self.way} by {self.order}" if self.order else self.way


class Cell(NamedTuple):
    """Place in the table: row, amount, draw and seed, by position."""

    row: int
    amount: int
    draw: int
    seed: int


def rows(spec: RemovalTreeSpec) -> list[Row]:
    """Return the ways to choose, each but a random one by each order."""
    return [row for way in spec.ways for row in ([Row(way)] if way == "random" else [Row(way, order) for order in spec.orders])]


def counts_of(spec: RemovalTreeSpec, candidates: int) -> list[int]:
    """Return the amounts as counts, ascending, with the one at which none is removed.

    Raises
    ------
    UserError
        An amount that is none, all or more than the candidates, or the same as another; none but the one at which none is removed.
    """
    counts = []
    most = candidates - 1 if spec.action == "remove" else candidates
    for amount in spec.amounts:
        count = amount if isinstance(amount, int) else round(amount * candidates)
        if count > most:
            left = ", of which at least 1 has to stay" if count == candidates else ""
            raise UserError(
                f"amounts: {amount} are {count:,} of the {candidates:,} candidates that family f is trained on{left}; ask for fewer"
            )
        if not count and amount:
            raise UserError(f"amounts: {amount} of {candidates:,} candidates is none; ask for more")
        if count in counts:
            raise UserError(
                f"amounts: {amount} is the same number of the {candidates:,} candidates as another, {count:,}; leave one out"
            )
        counts.append(count)
    baseline = baseline_of(spec, candidates)
    if set(counts) == {baseline}:
        raise UserError(
            f"amounts: {spec.amounts[0]} alone leaves all {candidates:,} candidates, which are trained on anyway; ask for another beside it"
        )
    return sorted({*counts, baseline})


def baseline_of(spec: RemovalTreeSpec, candidates: int) -> int:
    """Return the amount at which no candidate is removed."""
    return 0 if spec.action == "remove" else candidates


def cells_of(spec: RemovalTreeSpec, counts: list[int], candidates: int) -> list[Cell]:
    """Return the cells of the table that have encoders: random sets have draws, where any candidate is removed."""
    found = []
    for number, row in enumerate(rows(spec)):
        for place, count in enumerate(counts):
            drawn = row.way == "random" and count != baseline_of(spec, candidates)
            found += [Cell(number, place, draw, seed) for draw in range(spec.draws if drawn else 1) for seed in range(spec.seeds)]
    return found


def names_of_sets(spec: RemovalTreeSpec, counts: list[int], candidates: int) -> dict[tuple[Any, ...], int]:
    """Return how many candidates each set removes, by a name that different sets do not share; sets that scores make equal count twice."""
    found: dict[tuple[Any, ...], int] = {}
    for cell in cells_of(spec, counts, candidates):
        row, count = rows(spec)[cell.row], counts[cell.amount]
        gone = count if spec.action == "remove" else candidates - count
        order = "pairs" if row.order in OF_PAIRS else row.order
        found[(row.way, order, cell.draw, gone) if gone else ()] = gone
    return found
