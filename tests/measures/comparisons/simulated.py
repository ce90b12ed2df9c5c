"""Simulated encoders: embeddings of public images and of parts of scored ones, by what backgrounds say of classes and what is memorized."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sslmem_kit.measures.comparisons.neighbours import confidence, consistency, named, nearest_public, public_set, votes


class Case(NamedTuple):
    """Settings of a simulation."""

    classes: int
    neighbours: int
    samples: int
    """Candidates, and as many independent samples."""
    public: int
    seeds: int
    cue: float
    """Share of the parts that show something of their class, as backgrounds do."""
    noise: float


def random_case(rng: np.random.Generator) -> Case:
    """Return settings that vary in all respects."""
    return Case(
        classes=int(rng.integers(2, 21)),
        neighbours=int(rng.choice([1, 5, 20, 50])),
        samples=int(rng.integers(30, 301)),
        public=int(rng.integers(120, 401)),
        seeds=int(rng.integers(1, 5)),
        cue=float(rng.uniform(0, 0.9)),
        noise=float(rng.uniform(0.3, 1.5)),
    )


def simulate(case: Case, rng: np.random.Generator, *, memorized: float = 0.0) -> dict[str, np.ndarray]:
    """Return what encoders of f and of g name: ``named``, ``consistency`` and ``confidence`` by family, (sample, seed), and ``codes``.

    Every encoder has its own directions of classes and its own noise, of one distribution for f and g. A part that has a cue is embedded near
    its class, another near a class of its image that means nothing; by ``memorized``, the share of its own training images whose
    embedding an encoder looks up, near their class too. First half of the samples: candidates; second half: independents.
    """
    total, width = 2 * case.samples, 16
    labels = rng.integers(case.classes, size=total)
    public_labels = np.concatenate([np.arange(case.classes), rng.integers(case.classes, size=case.public - case.classes)])
    shows = np.where(rng.uniform(size=total) < case.cue, labels, rng.integers(case.classes, size=total))
    codes = np.repeat([1, 2], case.samples)
    found: dict[str, list[np.ndarray]] = {
        f"{name}_{family}": [] for name in ("named", "consistency", "confidence") for family in "fg"
    }
    for _ in range(case.seeds):
        for family, trained in (("f", codes == 1), ("g", codes == 2)):
            directions = rng.normal(size=(case.classes, width))
            knows = trained & (rng.uniform(size=total) < memorized)
            seen = np.where(knows, labels, shows)
            noise = np.where(knows, 0.1, case.noise)[:, None]
            features = directions[public_labels] + case.noise * rng.normal(size=(case.public, width))
            queries = directions[seen] + noise * rng.normal(size=(total, width))
            public = public_set(*map(torch.from_numpy, (features, public_labels)))
            counts = votes(public.labels[nearest_public(public, torch.from_numpy(queries), case.neighbours)], public.classes)
            own = torch.from_numpy(labels)
            found[f"named_{family}"].append(named(counts, own).numpy())
            found[f"consistency_{family}"].append(consistency(counts, own).numpy())
            found[f"confidence_{family}"].append(confidence(counts).numpy())
    return {name: np.stack(values, axis=1) for name, values in found.items()} | {"codes": codes}
