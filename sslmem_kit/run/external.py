"""Tables of others' scores as comparisons of a study: ``--with scores.csv``, or ``--with name=scores.csv``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.events import Message, OnEvent, ignore
from sslmem_kit.names import SAMPLE, SEED
from sslmem_kit.run.comparisons import add_scores
from sslmem_kit.scores.comparisons import COMPARISONS
from sslmem_kit.spec.comparisons import SECTIONS
from sslmem_kit.store.comparisons import check_names, options_of, stored_comparisons
from sslmem_kit.store.external import external_scores
from sslmem_kit.store.score_table import SUFFIXES
from sslmem_kit.study import AuditStudy, Study, StudyResults, open_study


def is_table(given: str) -> bool:
    """Return whether an argument of ``--with`` is a table of scores, not the name of a comparison.

    Examples
    --------
    >>> is_table("supervised"), is_table("scores.npz"), is_table("theirs=~/data/mem.csv")
    (False, True, True)
    """
    return "=" in given or given.lower().endswith(SUFFIXES)


def name_and_path(given: str) -> tuple[str, Path]:
    """Return the name of a table's comparison, and its file: ``NAME=PATH``, or a path whose stem is the name.

    Raises
    ------
    UserError
        The name cannot be one of a group, or is that of a comparison that is measured.

    Examples
    --------
    >>> name_and_path("data/feldman.csv")[0], name_and_path("theirs=data/a b.csv")[0]
    ('feldman', 'theirs')
    """
    name, equals, place = given.partition("=")
    path = Path(place if equals else given)
    name = name if equals else path.stem
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UserError(
            f"--with: {name!r} is no name of a comparison, use letters, digits and '_', starting with a letter: --with NAME={path}"
        )
    if name in SECTIONS or name in COMPARISONS:
        raise UserError(f"--with: {name!r} is a comparison that is measured, give the table another name: --with NAME={path}")
    return name, path


def add_table(study: StudyResults, given: str, *, again: bool = False, on_event: OnEvent = ignore) -> Study | AuditStudy:
    """Add a table of scores to the results of a study, as a comparison with one replicate.

    Its columns are called by the comparison's name, with several scores ``NAME_COLUMN``.

    Parameters
    ----------
    study
        A finished study, or an audit.
    given
        ``NAME=PATH``, or a path.
    again
        Replace a table of that name whose content was another.
    on_event
        Function that is called with each event.

    Returns
    -------
    The study, opened again.

    Raises
    ------
    UserError
        As :func:`name_and_path` and :func:`sslmem_kit.store.external.external_scores`; the study has another table of that name.
    """
    name, path = name_and_path(given)
    with study.lock():
        table = external_scores(path, study.results)
        options = {"name": name, "file": table.attrs["source"], "sha256": table.attrs["sha256"]}
        there = stored_comparisons(study.tree).get(name)
        if there is not None and options_of(there) == options:
            on_event(Message(f"{name}: complete"))
            return open_study(study.path)
        if there is not None and not again:
            raise UserError(
                f"--with: {study.path} has another table {name!r}; --again takes this one in its place, or name it: --with NAME={path}"
            )
        one = len(table.data_vars) == 1
        columns = {
            str(column): name if one else f"{name}_{re.sub(r'[^A-Za-z0-9_]+', '_', str(column))}" for column in table.data_vars
        }
        if len(set(columns.values())) < len(columns):
            raise UserError(
                f"--with: {path}: two of its columns have the same name but for signs ({', '.join(columns)}); rename one"
            )
        check_names(study.tree, [*columns.values()], name)
        counts = {key: table.attrs[key] for key in ("rows", "matched", "others", "without", "matched_by")}
        replicates = (
            table.rename(columns).drop_vars(SAMPLE).expand_dims({SEED: [0]}, axis=1).assign_coords({SAMPLE: table[SAMPLE].values})
        )
        attrs = {
            **counts,
            "title": f"Scores of {table.attrs['source']}",
            "source": table.attrs["source"],
            "definition": f"as its author defined it; {counts['matched']:,} of its {counts['rows']:,} rows are samples of this study, by "
            f"{counts['matched_by']}, {counts['without']:,} samples have none",
            "options": json.dumps(options),
            "keys": "{}",
            "seconds": "{}",
        }
        add_scores(study, name, xr.Dataset(replicates.data_vars, replicates.coords), attrs=attrs)
        on_event(Message(f"{name}: {counts['matched']:,} samples of {table.attrs['source']} added"))
    return open_study(study.path)
