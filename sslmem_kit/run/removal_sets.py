"""The sets of samples of a removal tree, and its encoders: which candidates each is trained without, and which cells of the table share one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sslmem_kit.data.identity import encoder_hash
from sslmem_kit.data.partition import take_out
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE, SSLMEM
from sslmem_kit.scores.estimators import estimate
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.removal_cells import Cell, Row, cells_of, counts_of, rows
from sslmem_kit.spec.removal_tree import OF_PAIRS, RemovalTreeSpec
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.extremes import SHRUNKEN
from sslmem_kit.statistics.order import rank_scores
from sslmem_kit.store.files import write_atomically
from sslmem_kit.study import Study


@dataclass
class Child:
    """An encoder of a tree, and the cells that it stands in."""

    plan: EncoderPlan
    removed: np.ndarray
    """Ids of the candidates that it is trained without, ascending."""
    identity: str
    cells: list[Cell] = field(default_factory=list)
    in_parent: bool = False
    """Whether it is an encoder of the study whose scores choose, which is not trained again."""


def check_orders(spec: RemovalTreeSpec, parent: StudySpec) -> None:
    """Refuse an order that a study's encoders cannot give.

    Raises
    ------
    UserError
        It needs encoders on random subsets, or several seeds.
    """
    for order in spec.orders if any(row.order for row in rows(spec)) else ():
        if order not in OF_PAIRS and parent.design.subsets is None:
            raise UserError(
                f"orders: {order!r} needs encoders on random subsets, which the study {parent.name} has none of; give it design.subsets, or "
                f"take one of {', '.join(OF_PAIRS)}"
            )
        if order == SHRUNKEN and parent.training.seeds < 2:
            raise UserError(f"orders: {order!r} needs several seeds, the study {parent.name} has one; take 'pairs'")


def orders_of(spec: RemovalTreeSpec, study: Study, candidates: np.ndarray) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Return the candidates by each order, the most memorized first, and what each order rests on, with its reliability.

    Parameters
    ----------
    spec, study
        The tree, and its finished study.
    candidates
        Ids, ascending.

    Raises
    ------
    UserError
        A candidate has no score.
    """
    scores, results = study.scores(spec.protocol), study.results
    found, facts = {}, []
    for order in spec.orders if any(row.order for row in rows(spec)) else ():
        estimator = "pairs" if order in OF_PAIRS else order
        own = scores if order in OF_PAIRS else estimate(results, estimator, protocol=spec.protocol)
        column = SHRUNKEN if order == SHRUNKEN else SSLMEM
        values = own[column].to_series().reindex(candidates).to_numpy()
        if not np.isfinite(values).all():
            raise UserError(
                f"orders: {int((~np.isfinite(values)).sum()):,} of {len(candidates):,} candidates have no score by {order!r}; take another"
            )
        # Ties: the smaller id ranks higher.
        found[order] = candidates[np.lexsort((candidates, -values))]
        ranked = rank_scores(results, protocol=spec.protocol, estimator=estimator)
        low, high = ranked["reliability_interval"].values.tolist()
        encoders, seeds = (int(ranked.attrs[name]) for name in ("encoders", "seeds"))
        facts.append({"order": order, "estimator": estimator, "encoders": encoders, "seeds": seeds,
                      "reliability": ranked["reliability"].item(), "interval": [low, high]})  # fmt: skip
    return found, facts


def draws_of(spec: RemovalTreeSpec, parent: StudySpec, candidates: np.ndarray) -> list[np.ndarray]:
    """Return the candidates in a random order for each draw; more draws leave the first ones as they are."""
    return [
        np.random.Generator(np.random.Philox(derive_seed(parent.seed, "removal draw", draw))).permutation(candidates)
        for draw in range(spec.draws)
    ]


def removed_ids(spec: RemovalTreeSpec, row: Row, order: np.ndarray, count: int) -> np.ndarray:
    """Return the ids that are removed for an amount, ascending, where ``order`` has the candidates by scores or at random."""
    if row.way == "lowest":
        order = order[::-1]
    return np.sort(order[:count] if spec.action == "remove" else order[count:])


def children(
    spec: RemovalTreeSpec, samples: StudySamples, orders: Mapping[str, np.ndarray], draws: list[np.ndarray]
) -> list[Child]:
    """Return the encoders of a tree, each once, those of its study first.

    Parameters
    ----------
    samples
        Of the study whose scores choose.
    orders, draws
        Candidates by each order, and in each random order.
    """
    parent = samples.spec
    pairs = {encoder_hash(samples, plan): plan for plan in parent.pairs if plan.family == "f"}
    candidates = np.sort(draws[0])
    counts, found = counts_of(spec, len(candidates)), {}
    for cell in cells_of(spec, counts, len(candidates)):
        row, seed = rows(spec)[cell.row], parent.seed + cell.seed
        gone = removed_ids(spec, row, orders[row.order] if row.order else draws[cell.draw], counts[cell.amount])
        draw = f"-draw{cell.draw}" if row.way == "random" else ""
        label = (
            f"{row.way}{f'-{row.order}' if row.order else ''}-{counts[cell.amount]}{draw}-{seed}" if len(gone) else f"all-{seed}"
        )
        plan = EncoderPlan(id=label, family="f", seed=seed)
        identity = encoder_hash(without(samples, gone), plan)
        if identity not in found:
            own = pairs.get(identity)
            found[identity] = Child(own or plan, gone, identity, in_parent=own is not None)
        found[identity].cells.append(cell)
    return sorted(found.values(), key=lambda child: not child.in_parent)


def without(samples: StudySamples, ids: np.ndarray) -> StudySamples:
    """Return a study's samples without some candidates; their slots stay empty."""
    if not len(ids):
        return samples
    return replace(samples, codes=take_out(samples.codes, samples.dataset.positions(ids)))


def candidates_of(samples: StudySamples) -> np.ndarray:
    """Return the ids of the candidates, ascending."""
    return np.sort(samples.dataset.ids[samples.codes == PARTITION_CODE["candidate"]])


def overlaps(spec: RemovalTreeSpec, orders: Mapping[str, np.ndarray], counts: list[int]) -> list[dict[str, Any]]:
    """Return the share of the most memorized samples that two orders have in common, for each amount."""
    names, total = list(orders), len(next(iter(orders.values()), ()))
    return [
        {
            "orders": [first, second],
            "amount": count,
            "share": len(np.intersect1d(orders[first][:count], orders[second][:count])) / count,
        }
        for place, first in enumerate(names)
        for second in names[place + 1 :]
        for count in counts
        if 0 < count < total
    ]


def keep_sets(path: Path, fingerprint: str, orders: Mapping[str, np.ndarray], draws: list[np.ndarray]) -> None:
    """Write the orders of a tree's candidates, or compare them with those that it started with.

    Raises
    ------
    UserError
        They differ: the scores of the study are others now.
    """
    given = {**{f"by_{name}": ids for name, ids in orders.items()}, **{f"draw_{number}": ids for number, ids in enumerate(draws)}}
    kept: dict[str, np.ndarray] = {}
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as archive:
                kept = {name: archive[name] for name in archive.files}
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({' '.join(str(error).split())[:120]}); remove it, it is made again") from None
    if str(kept.pop("data_fingerprint", fingerprint)) != fingerprint:
        raise UserError(f"scores_of: the study's data are not those that this tree started with ({path}); choose another --out")
    if any(name in given and not np.array_equal(given[name], ids) for name, ids in kept.items()):
        raise UserError(f"scores_of: the study's scores are not those that this tree started with ({path}); choose another --out")
    if not set(given) <= set(kept):
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"data_fingerprint": np.array(fingerprint), **kept, **given}
        np.savez(buffer, **arrays)
        write_atomically(path, buffer.getvalue())


def read_accuracy(path: Path, evaluation: str) -> dict[str, Any] | None:
    """Return what an encoder's probes gave, of the tasks and probes that ``evaluation`` is the hash of; None where it is to be measured."""
    try:
        found = json.loads(path.read_bytes())
        return found if found["evaluation"] == evaluation else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
