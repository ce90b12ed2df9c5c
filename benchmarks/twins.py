"""Dose and response of planted near-duplicates, from the bundled studies ``twins`` and ``twins-apart``.

``python benchmarks/twins.py TWINS APART --json`` prints, for digits with 0, 1, 3 and 10 near copies, the mean influence of samples that
are left out alone (APART, whose random subsets know of no groups) and of whole groups (TWINS, which keeps those that it finds together),
with 95 % intervals over random cuts, which are trained apart, given these samples; and that of whole groups as the encoders of APART know it,
where some lack them.
``--figure FILE.png`` draws it. Studies that are still being run are read as far as whole cuts are scored.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sslmem_kit import store
from sslmem_kit.data.datasets.builtin import ORIGINALS, PLANTED, planted_copies
from sslmem_kit.statistics.groups import influence_by_size
from sslmem_kit.study import open_study


def copies_of(ids: np.ndarray) -> np.ndarray:
    """Number of planted copies that a sample, or its original, has; -1 of those that are no part of it."""
    of = np.concatenate([np.arange(ORIGINALS), planted_copies()])
    known = ids < len(of)
    return np.where(known, np.array(PLANTED)[of[np.where(known, ids, 0)] % len(PLANTED)], -1)


def planted_groups(ids: np.ndarray) -> np.ndarray:
    """Original of each sample, as planted."""
    of = np.concatenate([np.arange(ORIGINALS), planted_copies()])
    known = ids < len(of)
    return np.where(known, of[np.where(known, ids, 0)], ids)


def whole_cuts(path: Path) -> xr.Dataset:
    """Results of the subset encoders of which whole cuts are scored."""
    tree = store.open_results(open_study(path).results_path, allow_incomplete=True)
    root = tree.to_dataset()
    done, seeds = tree["completeness/scored"].values.all(axis=1), root["seed"].values
    subset = root["design"].values.astype(object) == "subset"
    kept = [seed for seed in np.unique(seeds[subset]) if done[(seeds == seed) & subset].all()]
    return root.isel(encoder=np.flatnonzero(subset & np.isin(seeds, kept))).load()


def response(twins: Path, apart: Path) -> tuple[xr.Dataset, dict[str, Any]]:
    """Mean influence by kind and number of copies, and the same with counts as JSON."""
    together, alone = whole_cuts(twins), whole_cuts(apart)
    counts = [len(np.unique(root["seed"].values)) for root in (alone, together)]
    ids = alone["sample"].values
    tables = {
        "sample": influence_by_size(alone, ids, kinds=copies_of(ids)),
        "group": influence_by_size(together, kinds=copies_of(together["sample"].values)),
        "group_by_encoders_apart": influence_by_size(alone, planted_groups(ids), kinds=copies_of(ids)),
    }
    rows = {
        kind: [
            {"copies": int(size), **{name: table[name].sel(size=size).values.tolist() for name in table.data_vars}}
            for size in table["size"].values
        ]
        for kind, table in tables.items()
    }
    both = xr.concat([tables["sample"], tables["group"]], xr.DataArray(["sample", "group"], dims="kind", name="kind"))
    return both.rename(size="copies").assign_attrs(cuts=" and ".join(map(str, dict.fromkeys(counts)))), {
        "cuts": dict(zip(("apart", "twins"), counts, strict=True)),
        "response": rows,
    }


def main() -> None:
    """Print the response, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("twins", type=Path)
    parser.add_argument("apart", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--figure", type=Path, help="PNG file to draw into")
    options = parser.parse_args()
    table, found = response(options.twins, options.apart)
    if options.figure:
        from sslmem_kit.figures import twins
        from sslmem_kit.figures.save import save_figure

        save_figure(twins.plot(table), options.figure.parent, options.figure.stem)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"influence in 1/1000, 95 % intervals over {found['cuts']} cuts, given these samples")
    for kind, rows in found["response"].items():
        for row in rows:
            low, high = (1000 * end for end in row["interval"])
            print(
                f"{kind:<24} {row['copies']:>3} copies: {1000 * row['influence']:+.2f} [{low:+.2f}, {high:+.2f}]  "
                f"n {row['samples']} in {row['groups']}"
            )


if __name__ == "__main__":
    main()
