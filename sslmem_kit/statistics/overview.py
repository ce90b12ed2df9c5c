"""A study in short, as people read it: what it is, its sizes and what its scores show, in the words with which reports begin.

``overview.html`` lays it out for notebooks (a template of Tornado, as ``explorer/serving/login.html``).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.data.record import printable
from sslmem_kit.errors import join_names
from sslmem_kit.names import ALTERNATIVE, ENCODER, MODE, ONE_MODEL, PAIR, PARTITION, PARTITION_CODE, SAMPLE
from sslmem_kit.scores.contrast import BY_ENCODER
from sslmem_kit.scores.selection import pair_positions
from sslmem_kit.spec.audit import AuditEncoderSpec, AuditSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.effect import UNITS, by_name, effects, seed_summary
from sslmem_kit.statistics.numbers import chance, number
from sslmem_kit.statistics.summary import partition_summary
from sslmem_kit.statistics.t_tests import partition_tests
from sslmem_kit.store.schema import LAYERS

MEANS = ["partition", "n", "mean", "sd of samples", "95 % over {units}"]
MEANS_OVER_SEEDS = ["partition", "n", "mean", "sd of samples", "sd of seeds", "95 % over trainings"]
TESTS = ["over {units}, given these encoders", "t", "p", "Cohen d", "n"]
EFFECTS_HEAD = ["effect of membership", "value", "95 %", "interval over", "p over {units}", "n"]
"""Headings of tables; ``units`` are samples, or groups where samples have them."""
CLAIM = {
    "(C-I)/2": "candidates against independent",
    "C-S": "candidates against shared",
    "C>S": "candidates above shared",
    "C>E": "candidates above extra",
    "S>I": "shared above independent",
    "E>I": "extra above independent",
    "C>0": "candidates above the null",
    "I<0": "independent below the null",
    "S!=0": "shared differ from extra",
    "E>0": "extra above shared",
}
"""Effects of :func:`sslmem_kit.statistics.effects` and alternatives of :func:`sslmem_kit.statistics.partition_tests` in words."""


def headline(study: str, encoders: int, protocol: str, ranges: Sequence[float] | None) -> str:
    """First line of a report of scores.

    Parameters
    ----------
    study
        Name of the study.
    encoders
        Number of encoders that the scores rest on.
    protocol
        ``paper``, ``released`` or ``corrected``.
    ranges
        Range of the candidates' differences in each repetition; None where the protocol does not divide by it.

    Examples
    --------
    >>> headline("digits", 6, "corrected", None)
    'study digits: 6 encoders, protocol corrected (sslmem = raw difference)'
    >>> headline("digits", 4, "paper", [0.2, 0.25])
    'study digits: 4 encoders, protocol paper (sslmem = mean of 2 seeds of difference / range of the candidates, 0.2000, 0.2500)'
    """
    unit = "raw difference"
    if ranges is not None:
        seeds = f"mean of {len(ranges):,} seeds of " if len(ranges) > 1 else ""
        some = ", ".join(f"{width:.4f}" for width in ranges[:5]) + (", ..." if len(ranges) > 5 else "")
        unit = f"{seeds}difference / range of the candidates, {some}"
    return f"study {study}: {encoders} encoders, protocol {protocol} (sslmem = {unit})"


def one_model_headline(audit: str, encoders: int, protocol: str) -> str:
    """First line of the report of an audit of one model.

    Examples
    --------
    >>> one_model_headline("mine", 1, "corrected")
    'audit mine: 1 encoder, protocol corrected, mode: one model'
    """
    return f"audit {audit}: {encoders} encoder{'s' * (encoders > 1)}, protocol {protocol}, mode: one model"


def as_sentence(phrase: str) -> str:
    """Phrase as a sentence of its own.

    Examples
    --------
    >>> as_sentence("these are no scores")
    'These are no scores.'
    """
    return f"{phrase[:1].upper()}{phrase[1:]}."


def subject(spec: StudySpec | AuditSpec) -> dict[str, str]:
    """Return the subject of a study, by heading: objective, backbone and data of a study, encoders and data of an audit.

    Examples
    --------
    >>> from sslmem_kit import load_spec
    >>> subject(load_spec("digits"))
    {'objective': 'simclr', 'backbone': 'resnet18', 'data': 'digits'}
    """
    if isinstance(spec, StudySpec):
        return {"objective": spec.objective.method, "backbone": spec.encoder.backbone, "data": spec.data.name}
    source = spec.data.name if spec.data else spec.source.function if spec.source else "-"
    return {"audit of": join_names([_origin(encoder) for encoder in spec.encoders]), "data": source}


def _origin(encoder: AuditEncoderSpec) -> str:
    """An encoder of an audit and where it comes from."""
    if encoder.study:
        return f"{encoder.id} ({encoder.study.encoder} of {Path(encoder.study.path).name})"
    origin = encoder.factory.function if encoder.factory else encoder.encoder.backbone if encoder.encoder else "-"
    return f"{encoder.id} ({origin})"


def sizes(spec: StudySpec | AuditSpec, tree: xr.DataTree | None = None) -> dict[str, str]:
    """Numbers of samples, views, encoders, seeds and layers, by heading; without results those that the spec sets.

    Parameters
    ----------
    spec
        The resolved spec.
    tree
        Of :func:`sslmem_kit.store.open_results`; an incomplete one too.

    Examples
    --------
    >>> from sslmem_kit import load_spec
    >>> sizes(load_spec("digits"))
    {'views': '5 beside the clean one', 'encoders': '6: f-0, g-0, f-1, g-1, f-2, g-2', 'seeds': '3', 'layers': 'full representation'}
    """
    found = {} if tree is None else {"samples": _samples(tree)}
    found["views"] = f"{spec.scoring.views} beside the clean one"
    ids = [encoder.id for encoder in spec.encoders]
    paired = [plan for plan in spec.encoders if plan.design == "pair"] if isinstance(spec, StudySpec) else []
    seeds = {plan.seed for plan in paired}
    if tree is not None:
        ids, pairs = [str(name) for name in tree.coords[ENCODER].values], pair_positions(tree)
        seeds = set() if tree.attrs.get(MODE) == ONE_MODEL else set(tree.coords["seed"].values[pairs].tolist())
    beside = f", {len(paired):,} of them pairs of f and g" if paired and len(paired) < len(ids) else ""
    found["encoders"] = f"{len(ids):,}{beside}: {join_names(ids)}"
    if seeds:
        found["seeds"] = f"{len(seeds):,}{' of the pairs' if beside else ''}"
    layers = [str(name) for name in tree[LAYERS].coords["layer"].values] if tree is not None and LAYERS in tree.children else []
    asked = spec.scoring.layers
    found["layers"] = f"{len(layers):,}: {join_names(layers)}" if layers else str(asked) if asked else "full representation"
    return found


def _samples(tree: xr.DataTree) -> str:
    """Number of samples, and how many are in each partition that has some."""
    total = f"{tree.sizes[SAMPLE]:,}"
    if PARTITION not in tree.variables:
        return total
    codes = np.asarray(tree[PARTITION])
    counts = {name: int((codes == code).sum()) for name, code in PARTITION_CODE.items()}
    return f"{total}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def tables(scores: xr.Dataset) -> list[dict[str, Any]]:
    """Means by partition and tests, as a report shows them.

    Parameters
    ----------
    scores
        ``sslmem(sample)`` with ``partition``, of :func:`sslmem_kit.scores.score`.

    Returns
    -------
    Tables of the effects of membership, of means and of tests, each with ``head``, the headings of its columns, and ``rows`` of strings;
    without the first where scores are not of f against g.

    Examples
    --------
    >>> scores = xr.Dataset({"sslmem": ("sample", [0.1, -0.1, 0.9, 1.1])}, {"partition": ("sample", [0, 0, 1, 1])})
    >>> means, tests = tables(scores)
    >>> means["rows"][1]
    ['candidate', '2', '+1.0000', '0.1414', '[-0.2706, +2.2706]']
    >>> tests["rows"][0]
    ['C>S candidates above shared', '+7.07', '0.0097', '+7.07', '4']
    """
    summary, tests = partition_summary(scores), partition_tests(scores)
    trainings = seed_summary(scores) if BY_ENCODER in scores else None
    means = []
    for place in range(summary.sizes[PARTITION]):
        one = summary.isel({PARTITION: place})
        row = [str(one[PARTITION].item()), f"{one['n'].item():,}", number(one["mean"].item()), number(one["sd"].item()).lstrip("+")]
        ends = one["interval"]
        if trainings is not None and trainings["seeds"] > 1:
            ends = trainings["interval"].isel({PARTITION: place})
            row.append(number(trainings["sd"].isel({PARTITION: place}).item()).lstrip("+"))
        means.append([*row, "[{}, {}]".format(*(number(end) for end in ends.values))])
    claims = [
        [
            f"{one[ALTERNATIVE].item()} {CLAIM[one[ALTERNATIVE].item()]}",
            number(one["t"].item(), 2),
            chance(one["p"].item()),
            number(one["cohens_d"].item(), 2),
            f"{one['n'].item():,}",
        ]
        for one in (tests.isel({ALTERNATIVE: place}) for place in range(tests.sizes[ALTERNATIVE]))
    ]
    several = bool(means) and len(means[0]) == len(MEANS_OVER_SEEDS)
    units = UNITS[tests.attrs["unit"]]
    found = [{"head": MEANS_OVER_SEEDS if several else MEANS, "rows": means}, {"head": TESTS, "rows": claims}]
    found = [{**table, "head": [heading.format(units=units) for heading in table["head"]]} for table in found]
    return [effect_table(by_name(effects(scores))), *found] if BY_ENCODER in scores else found


def effect_table(effect: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Table of the effects of membership, without those that their partitions do not allow.

    Parameters
    ----------
    effect
        Of :func:`sslmem_kit.statistics.effect.by_name`; what is not known is NaN or None.

    Returns
    -------
    ``head``, the headings of its columns, and ``rows`` of strings.

    Examples
    --------
    >>> row = {"value": 0.1, "interval": [0.05, 0.15], "over": "seeds", "seeds": 3, "p": 0.01, "n": 288, "unit": "sample"}
    >>> effect_table({"C-S": row, "(C-I)/2": row | {"value": None}})["rows"]
    [['C-S candidates against shared', '+0.1000', '[+0.0500, +0.1500]', '3 trainings', '0.01', '288']]
    """
    units = next((UNITS[one["unit"]] for one in effect.values()), "samples")
    rows = []
    for name, one in effect.items():
        if number(one["value"]) != "-":
            over = f"{one['seeds']} trainings" if one["over"] == "seeds" else units if one["over"] == "samples" else "trainings"
            ends = "[{}, {}]".format(*(number(end) for end in one["interval"]))
            rows.append([f"{name} {CLAIM[name]}", number(one["value"]), ends, over, chance(one["p"]), f"{one['n']:,}"])
    return {"head": [heading.format(units=units) for heading in EFFECTS_HEAD], "rows": rows}


def alignment_tables(summary: xr.Dataset) -> list[dict[str, Any]]:
    """Distribution of alignment by encoder, as the report of an audit of one model shows it.

    Parameters
    ----------
    summary
        Of :func:`sslmem_kit.scores.audit.alignment_summary`.

    Returns
    -------
    One table, with ``head``, the headings of its columns, and ``rows`` of strings.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.scores.audit import alignment_summary, alignment_table
    >>> table = alignment_tables(alignment_summary(alignment_table(_example.results())))[0]
    >>> table["head"], table["rows"][0][:2]
    (['encoder', 'n', 'mean', 'sd', 'median', '5 % to 95 %'], ['f-0', '40'])
    """
    rows = [
        [
            str(one[ENCODER].item()),
            f"{one['n'].item():,}",
            *(f"{one[name].item():.4f}" for name in ("mean", "sd", "median")),
            "{:.4f} to {:.4f}".format(*one["central_interval"].values),
        ]
        for one in (summary.isel({ENCODER: place}) for place in range(summary.sizes[ENCODER]))
    ]
    return [{"head": ["encoder", "n", "mean", "sd", "median", "5 % to 95 %"], "rows": rows}]


def next_steps(study: str, mode: str | None) -> list[tuple[str, str]]:
    """Python calls and commands for a finished study, each with what it does.

    Parameters
    ----------
    study
        As one would type it.
    mode
        Of an audit: ``pair``, ``subset`` or ``one model``; None of a study.

    Examples
    --------
    >>> for code, does in next_steps("mine", "one model"):
    ...     print(f"{code:<42} {does}")
    sslmem_kit.open_study('mine').alignments() alignment of every sample under each encoder, and its rank
    sslmem report mine                         all that a report says
    sslmem export mine --to scores.csv         a table with a row a sample
    """
    typed, of_pairs = shlex.quote(study), mode in (None, PAIR)
    call = (
        ("alignments()", "alignment of every sample under each encoder, and its rank")
        if mode == ONE_MODEL
        else ("scores()", "scores of every sample, labelled, with their errors")
    )
    steps = [
        (f"sslmem_kit.open_study({study!r}).{call[0]}", call[1], True),
        (f"sslmem_kit.explore({study!r})", "the samples themselves, in this notebook", of_pairs),
        (f"sslmem report {typed}", "all that a report says", True),
        (f"sslmem render {typed}", "figures, tables and notebooks", mode is None),
        (f"sslmem app {typed}", "the samples in a browser", of_pairs),
        (f"sslmem export {typed} --to scores.csv", "a table with a row a sample", True),
    ]
    return [(code, does) for code, does, fits in steps if fits]


def as_html(overview: Mapping[str, Any]) -> str:
    """HTML of an overview; every text in it is escaped, and no character of it is left that a page cannot hold.

    Parameters
    ----------
    overview
        ``kind`` and ``name``; each of the others may be missing: ``path``, ``description``, ``facts`` (texts by heading), ``problem``,
        ``command`` and ``does`` (a sentence around a command), ``verdict`` (lines), ``warnings``, ``tables`` and ``steps`` (pairs of code and
        what it does).

    Examples
    --------
    >>> page = as_html({"kind": "Study", "name": "<b>", "warnings": ["one encoder"]})
    >>> "&lt;b&gt;" in page, "<b>" in page, "WARNING: one encoder" in page
    (True, False, True)
    """
    missing = {
        **dict.fromkeys(("path", "description", "problem", "command", "does"), ""),
        **dict.fromkeys(("verdict", "warnings", "tables", "steps"), ()),
        "facts": {},
    }
    return _template().generate(**_in_one_line({**missing, **overview})).decode()


@cache
def _template() -> Any:
    from tornado.template import Loader

    return Loader(str(Path(__file__).parent)).load("overview.html")


def _in_one_line(value: Any) -> Any:
    """The same with every text in it printable: names from files may hold what no encoding can, or what turns a line around."""
    if isinstance(value, Mapping):
        return {_in_one_line(key): _in_one_line(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_one_line(item) for item in value]
    return printable(value) if isinstance(value, str) else value
