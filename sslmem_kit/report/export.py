"""Scores as a file that others read: one row a sample."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from sslmem_kit import store
from sslmem_kit.errors import UserError
from sslmem_kit.names import ENCODER, FILE, PARTITION, PARTITIONS, SAMPLE
from sslmem_kit.report.tables import without_nan
from sslmem_kit.scores import default_protocol
from sslmem_kit.scores.audit import is_one_model
from sslmem_kit.scores.contrast import BY_ENCODER
from sslmem_kit.scores.estimators import estimate
from sslmem_kit.scores.groups import group_influence
from sslmem_kit.spec.paths import expanded
from sslmem_kit.statistics.caveats import meaningless
from sslmem_kit.statistics.fdr import NULL_WARNING
from sslmem_kit.statistics.order import order_of
from sslmem_kit.statistics.overview import as_sentence
from sslmem_kit.statistics.verdict import conclude
from sslmem_kit.store.files import appearing, sweep
from sslmem_kit.study import Study, StudyResults

WARNINGS = "warnings"
CARRIED = (WARNINGS, "verdict", "effect")
"""Attributes of exported scores that Parquet holds too."""


def score_table(study: Study, *, protocol: str | None = None, estimator: str | None = None) -> pd.DataFrame:
    """Frame of scores, one row a sample: ``sample``, ``file`` (where samples have one), ``label``, ``class``, ``partition`` (name), then
    every column of the scores, ``twin_group`` (id of the first of a sample and its near-duplicates) and ``twins_shared`` ...
    ``twins_extra``, how many of these are in each partition.

    Of an audit of one model ``alignment`` and ``rank`` take their place, with the encoder's id behind where there are several. With
    ``estimator`` it is the samples and columns of :func:`sslmem_kit.scores.estimators.estimate`, for ``groups`` those of
    :func:`sslmem_kit.scores.groups.group_influence`.

    Raises
    ------
    UserError
        An unknown protocol or estimator, or results that cannot be read.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> table = score_table(open_study("papermill_runs/digits"))
    >>> list(table)[:6]
    ['sample', 'label', 'class', 'partition', 'protocol', 'difference']
    """
    return frame_of(_content(study, protocol, estimator), study.class_names)


def _content(study: Study, protocol: str | None, estimator: str | None) -> xr.Dataset:
    protocol = protocol or default_protocol(study.results)
    if estimator == "groups":
        with store.reading(study.results_path):
            return group_influence(study.results, protocol=protocol)
    if estimator is not None:
        with store.reading(study.results_path):
            return estimate(study.results, estimator, protocol=protocol)
    if is_one_model(study.tree):
        return study.alignments(protocol)
    scores = study.scores(protocol)
    if BY_ENCODER in scores:
        with store.reading(study.results_path):
            known, wrong = order_of(scores, study.results), meaningless(study.tree)
        scores.attrs |= without_nan(conclude(scores, known, meaningless=wrong))
    return with_twins(scores, study)


def with_twins(scores: xr.Dataset, study: StudyResults) -> xr.Dataset:
    """Scores of all samples with columns of a sample's twins by partition, and of the first of them all; without where nobody looked."""
    if store.DUPLICATES not in study.tree.children:
        return scores
    with store.reading(study.results_path):
        group = study.tree[store.DUPLICATES].to_dataset().load()
    counts = {f"twins_{name}": (SAMPLE, group["twins"].sel({PARTITION: name}).values) for name in PARTITIONS}
    return scores.assign({"twin_group": (SAMPLE, group["twin_group"].values), **counts})


def frame_of(scores: xr.Dataset, class_names: Sequence[str]) -> pd.DataFrame:
    """Frame of :func:`score_table` from scores, or from some samples of them.

    Parameters
    ----------
    scores
        On ``sample``, or on ``sample`` and ``encoder``.
    class_names
        By label.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> frame_of(score(_example.results()).isel(sample=[1, 2]), ["cat", "dog"])["partition"].tolist()
    ['candidate', 'independent']
    """
    if BY_ENCODER in scores:
        scores = scores.drop_dims(ENCODER)
    elif ENCODER in scores.dims:
        scores = _spread(scores)
    frame = scores.drop_vars("augmentation", errors="ignore").to_dataframe().reset_index()
    front = {
        "sample": frame.pop("sample"),
        **({FILE: frame.pop(FILE).astype(str)} if FILE in frame else {}),
        "label": frame["label"],
        "class": np.array(class_names)[frame.pop("label")],
        **({"partition": np.array(PARTITIONS)[frame.pop("partition")]} if "partition" in frame else {}),
        "protocol": scores.attrs["protocol"],
    }
    table = pd.DataFrame(front).join(frame)
    table.attrs = {name: scores.attrs[name] for name in CARRIED if name in scores.attrs}
    return table


def _spread(table: xr.Dataset) -> xr.Dataset:
    """A column for each encoder of what is on ``encoder``."""
    names = [str(name) for name in table[ENCODER].values]
    columns = {
        name if len(names) == 1 else f"{name}_{encoder}": column.isel({ENCODER: place}, drop=True)
        for name, column in table.data_vars.items()
        for place, encoder in enumerate(names)
    }
    return table.drop_dims(ENCODER).assign(columns)


def guarded(frame: pd.DataFrame) -> pd.DataFrame:
    """Frame with text in which a spreadsheet sees no formulas: names of classes and files are other people's, and one would be run.

    What starts with ``=``, ``+``, ``-``, ``@`` or a blank that is no space gets an apostrophe in front, which spreadsheets do not show; to
    read such a name elsewhere, take the apostrophe off, or take Parquet.

    References
    ----------
    OWASP, CSV injection.

    Examples
    --------
    >>> guarded(pd.DataFrame({"class": ["cat", "=1+1"]}))["class"].tolist()
    ['cat', "'=1+1"]
    """
    text = {name: column for name, column in frame.items() if name in ("class", FILE)}
    return frame.assign(**{name: column.mask(column.str.match(_FORMULA), "'" + column) for name, column in text.items()})


FORMULA_START = ("=", "+", "@", "\t", "\r", "\n", "-")
FORMULA_START = ("=", "+", "@", "\t", "\r", "\n", "-")
_FORMULA = "[=+@\\t\\r\\n-]"
"""Start of a text that a spreadsheet takes for a formula."""


def _write_csv(scores: xr.Dataset, class_names: Sequence[str], path: Path) -> None:
    guarded(frame_of(scores, class_names)).to_csv(path, index=False)


def _write_parquet(scores: xr.Dataset, class_names: Sequence[str], path: Path) -> None:
    frame_of(scores, class_names).to_parquet(path, index=False)


def _write_netcdf(scores: xr.Dataset, class_names: Sequence[str], path: Path) -> None:
    for array in (scores, *scores.variables.values()):
        # netCDF attributes are numbers and strings.
        array.attrs = {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in array.attrs.items()}
    # By way of memory: HDF5 crashes the process where the disk is full.
    path.write_bytes(scores.to_netcdf(engine="h5netcdf"))


WRITERS: dict[str, Callable[[xr.Dataset, Sequence[str], Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".nc": _write_netcdf,
}


def all_warnings(caveats: Sequence[str], content: xr.Dataset) -> list[str]:
    """Warnings that go with exported scores: a study's caveats, and why false-discovery rates are not to be relied on.

    Examples
    --------
    >>> all_warnings(["f-1 has collapsed"], xr.Dataset(attrs={"null_warning": "no rates"}))
    ['f-1 has collapsed', 'no rates']
    """
    return [*caveats, *([content.attrs[NULL_WARNING]] if NULL_WARNING in content.attrs else [])]


def export(
    study: Study,
    path: Path | str,
    *,
    protocol: str | None = None,
    estimator: str | None = None,
    warn: Callable[[str], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write a study's scores; the format follows the suffix: ``.csv``, ``.parquet`` or ``.nc``.

    What :func:`all_warnings` gives is the attribute ``warnings``; ``verdict`` and ``effect`` are those of ``sslmem report --json``. In netCDF
    they are JSON, in Parquet of the pandas frame (``frame.attrs``); CSV has no place for them. Each warning is also given to ``warn``, and
    the verdict's sentence to ``say``.

    Raises
    ------
    UserError
        An unknown suffix, a folder that is not there, a file that is already there, or an estimator without encoders.

    Examples
    --------
    >>> import tempfile
    >>> from sslmem_kit import open_study
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(open_study("papermill_runs/digits"), f"{folder}/scores.csv").name
    'scores.csv'
    """
    path = expanded(path)
    if path.suffix not in WRITERS:
        raise UserError(f"--to: the format follows the file's suffix, got {path.name!r}, known are {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise UserError(f"--to: there is no folder {str(path.parent)!r}")
    if path.exists():
        raise UserError(f"--to: {path} is already there and is not overwritten; choose another name")
    sweep(path.parent, path.name)
    content = _content(study, protocol, estimator)
    content.attrs[WARNINGS] = warnings = all_warnings(study.caveats, content)
    sentences = [as_sentence(content.attrs["verdict"]["sentence"])] if "verdict" in content.attrs else []
    with appearing(path) as partial:
        WRITERS[path.suffix](content, study.class_names, partial)
    for sentence in sentences:
        say(sentence)
    for sentence in warnings:
        warn(sentence)
    return path
