"""The study directory: ``study.yaml``, ``encoders/<id>/``, ``results.zarr``, ``figures/`` and ``notebooks/``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from sslmem_kit import scores, store
from sslmem_kit.data.record import as_line, printable, stored_record
from sslmem_kit.errors import UserError, one_line
from sslmem_kit.names import ALIGNMENT, ENCODER, SSLMEM
from sslmem_kit.scores.audit import (
    NOT_SCORES,
    alignment_summary,
    alignment_table,
    is_one_model,
    is_subset,
    mode_of,
    subset_scores,
)
from sslmem_kit.scores.contrast import BY_ENCODER
from sslmem_kit.scores.selection import scored_positions
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.moved import without_places
from sslmem_kit.spec.places import as_typed, below_here, find_study, no_study
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics import effects, overview, verdict
from sslmem_kit.statistics.caveats import caveats, meaningless
from sslmem_kit.statistics.extremes import with_shrunken
from sslmem_kit.statistics.fdr import with_significance
from sslmem_kit.statistics.order import has_order, rank_scores, with_order
from sslmem_kit.statistics.regularizer import other_difference, weight_of
from sslmem_kit.store.comparisons import with_comparisons
from sslmem_kit.store.directory import StudyFolder
from sslmem_kit.store.metadata import DOCUMENT, REPAIR_HINT

READ_AT_A_GLANCE = 1_000_000
"""Largest number of alignments that showing a study in a notebook reads: it takes about a second."""


class StudyResults(StudyFolder):
    """A directory with results: the reading side that a study of `sslmem run` and an audit of `sslmem score` share.

    Opening one runs no code of its author's and imports no torch.
    """

    @cached_property
    def tree(self) -> xr.DataTree:
        """The complete results store, opened lazily; an incomplete one raises :class:`~sslmem_kit.store.IncompleteStore`."""
        return store.open_results(self.results_path)

    @cached_property
    def caveats(self) -> list[str]:
        """Known faults of the study and limits of what its numbers say: :func:`sslmem_kit.statistics.caveats.caveats`.

        Raises
        ------
        UserError
            The results that they follow from cannot be read.
        """
        with store.reading(self.results_path):
            return caveats(self.tree)

    @property
    def results(self) -> xr.Dataset:
        """Root group of the results store: alignment, trained_on and their coordinates."""
        return self.tree.to_dataset()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return tuple(self.tree["label"].attrs["class_names"])

    def scores(self, protocol: str | None = None, encoders: Sequence[str] | None = None) -> xr.Dataset:
        """Return the scores of every sample, from all encoders or the named ones, with ``p_value``, ``q_value`` and ``shrunken``.

        Without a protocol it is ``corrected``, or ``released`` where there is one random view. See :func:`sslmem_kit.scores.score` for
        the former, :mod:`sslmem_kit.statistics.fdr` and :mod:`sslmem_kit.statistics.extremes` for the latter. A study with encoders
        that order single samples has ``rank_score``, ``rank_error`` and ``rank`` too, of
        :func:`sslmem_kit.statistics.order.with_order`, and one with comparisons their scores and errors
        (:func:`sslmem_kit.store.comparisons.with_comparisons`), unless encoders are named.

        Raises
        ------
        UserError
            An unknown protocol or encoder; results that are missing, cannot be read, or were lost after they had been recorded; an audit of
            one model, which has none.
        """
        if is_one_model(self.tree):
            raise UserError(
                f"STUDY: {self.path} holds {NOT_SCORES}; `sslmem report` and `sslmem export` give alignment and its ranks"
            )
        protocol = protocol or scores.default_protocol(self.results)
        with store.reading(self.results_path):
            results, of_subsets = self._results_without_dask(), is_subset(self.tree) and encoders is None
            if of_subsets:
                result = subset_scores(results, protocol=protocol)
            else:
                result = scores.score_stored(results, protocol=protocol, encoders=encoders)
                result = with_shrunken(result, results if encoders is None else results.sel({ENCODER: list(encoders)}))
            order = rank_scores(results, protocol=protocol) if encoders is None and not of_subsets and has_order(results) else None
        store.check_whole(self.results_path, result["difference"])
        result = result if of_subsets else with_significance(result)
        if order is not None:
            store.check_whole(self.results_path, order[SSLMEM])
            result = with_order(result, order)
        if encoders is not None:
            return result
        with store.reading(self.results_path):
            return with_comparisons(result, self.tree)

    def common_scores(self, protocol: str | None = None) -> xr.Dataset:
        """Return the scores of every sample by ``scoring.common_policy``, as :meth:`scores` does those by the study's own policy.

        Raises
        ------
        UserError
            The study was not scored by a common policy, or as :meth:`scores`.
        """
        common = self.spec.scoring.common_policy
        if common is None:
            raise UserError("scoring.common_policy: this study was scored by its own policy alone")
        if store.COMMON not in self.tree.children:  # the same policy
            return self.scores(protocol)
        protocol = protocol or scores.default_protocol(self.results)
        with store.reading(self.results_path):
            second = self.tree[store.COMMON].to_dataset()[ALIGNMENT]
            result = scores.score_stored(
                self.results.assign({ALIGNMENT: self.results[ALIGNMENT].copy(data=second.data)}), protocol=protocol
            )
        store.check_whole(self.results_path, result["difference"], what=f"difference in /{store.COMMON}")
        return with_significance(result)

    def alignments(self, protocol: str | None = None) -> xr.Dataset:
        """Return the mean alignment of every sample under each encoder, and its rank; see :func:`sslmem_kit.scores.audit.alignment_table`.

        Raises
        ------
        UserError
            An unknown protocol; results that are missing, cannot be read, or were lost after they had been recorded.
        """
        protocol = protocol or scores.default_protocol(self.results)
        with store.reading(self.results_path):
            table = alignment_table(self._results_without_dask(), protocol=protocol)
        store.check_whole(self.results_path, table["alignment"])
        return table

    def __repr__(self) -> str:
        """Name, number of encoders, state and place, by the spec and the root of the results alone; it never raises."""
        name = type(self).__name__
        try:
            spec, results = self.read_spec(), self.results_path
            finished = (results / DOCUMENT).is_file() and store.is_finished(results)
            state = "finished" if finished else "unfinished" if results.exists() else "not run yet"
            count = len(spec.encoders)
            return f"<{name} {spec.name}: {count:,} encoder{'s' * (count > 1)}, {state}, {str(self.path)!r}>"
        except Exception as error:  # whatever is on the disk, it has a name
            return f"<{name} {str(self.path)!r}: {printable(one_line(error))}>"

    def _repr_html_(self) -> str:
        """HTML for notebooks: what the study is, its sizes, the head of its report and what to do next; it never raises."""
        name = {"kind": "Audit" if isinstance(self, AuditStudy) else "Study", "name": self.path.name, "path": str(self.path)}
        try:
            return overview.as_html(name | self._overview())
        except Exception as error:  # whatever is on the disk, a cell shows its last line
            return overview.as_html(name | {"problem": one_line(error)})

    def _overview(self) -> dict[str, Any]:
        """Return the contents of :func:`sslmem_kit.statistics.overview.as_html` for the study."""
        typed = as_typed(self.path)
        validate = f"sslmem validate {shlex.quote(typed)}"
        try:
            spec = self.read_spec()
        except (UserError, OSError) as error:
            return {"problem": str(error), "command": validate, "does": "checks what is there"}
        is_audit = isinstance(spec, AuditSpec)
        shown: dict[str, Any] = {
            "kind": "Audit" if is_audit else "Study",
            "name": spec.name,
            "description": " ".join(spec.description.split()),
            "facts": overview.subject(spec) | overview.sizes(spec),
        }
        file, folder = (shlex.quote(below_here(path)) for path in (self.spec_path, self.path))
        command = f"sslmem score --spec {file} --out {folder}" if is_audit else f"sslmem run {file} --out {folder}"
        watch = [] if is_audit else [(f"sslmem_kit.monitor({typed!r})", "progress and losses of a run that is at work")]
        if not self.results_path.exists():
            does = "scores its encoders" if is_audit else "trains and scores its encoders"
            plan = [] if is_audit else [(f"sslmem plan {file}", "what will be trained, and what it costs")]
            return shown | {"problem": "Not run yet", "command": command, "does": does, "steps": plan + watch}
        try:
            tree = self.tree
            shown["facts"] = overview.subject(spec) | overview.sizes(spec, tree)
            return shown | self._verdict(spec.name) | {"steps": overview.next_steps(typed, mode_of(tree))}
        except store.IncompleteStore:
            tree = store.open_results(self.results_path, allow_incomplete=True)
            shown["facts"] = overview.subject(spec) | overview.sizes(spec, tree)
            problem = f"Unfinished, {store.missing(tree)}"
            return shown | {"problem": problem, "command": command, "does": "resumes it", "steps": watch}
        except UserError as error:
            problem = str(error).replace(REPAIR_HINT, "").rstrip(" ,;.")
            steps = [(validate, "names all that is damaged")]
            return shown | {"problem": problem, "command": command, "does": "writes again what is damaged", "steps": steps}

    def _verdict(self, name: str) -> dict[str, Any]:
        """Head of the report: its first lines, its warnings and its tables."""
        read, found = as_line(stored_record(self.results.attrs, self.class_names)), {"warnings": self.caveats}
        size = self.tree[ALIGNMENT].size
        if size > READ_AT_A_GLANCE:
            return found | {"verdict": [f"{size:,} alignments are too many for a glance, `sslmem report` reads them", *read]}
        if is_one_model(self.tree):
            table = self.alignments()
            head = overview.one_model_headline(name, table.sizes[ENCODER], table.attrs["protocol"])
            tables = overview.alignment_tables(alignment_summary(table))
            return found | {"verdict": [head, overview.as_sentence(NOT_SCORES), *read], "tables": tables}
        result = self.scores() if is_subset(self.tree) else self._scores_at_a_glance()
        head = overview.headline(name, len(scored_positions(self.tree)), result.attrs["protocol"], result.attrs.get("ranges"))
        sentence = [] if BY_ENCODER not in result else [overview.as_sentence(self._sentence(result))]
        return found | {"verdict": [*sentence, head, *read], "tables": overview.tables(result)}

    def _scores_at_a_glance(self) -> xr.Dataset:
        """Return the scores of f against g without what :meth:`scores` adds to them: order, shrunken scores and significance."""
        with store.reading(self.results_path):
            result = scores.score_stored(self._results_without_dask(), protocol=scores.default_protocol(self.results))
        store.check_whole(self.results_path, result["difference"])
        return result

    def _sentence(self, result: xr.Dataset) -> str:
        """Return the verdict on scores."""
        wrong = meaningless(self.tree) if self.caveats else None  # which caveats name too
        return verdict(effects(result), meaningless=wrong).sentence

    def _results_without_dask(self) -> xr.Dataset:
        """Return the results as lazy zarr arrays without dask: where everything is read, a task per chunk takes longer than the reading."""
        results = self.results
        lazy = xr.open_zarr(
            self.results_path,
            chunks=None,
            consolidated=store.is_finished(self.results_path),
            drop_variables=list(results.coords),  # they are in memory
        )
        return results.assign({name: array.variable for name, array in lazy.data_vars.items()})


class Study(StudyResults):
    """A study that `sslmem run` trains and scores."""

    @cached_property
    def spec(self) -> StudySpec:
        """The resolved spec."""
        spec = self.read_spec()
        if not isinstance(spec, StudySpec):
            raise UserError(
                f"STUDY: {self.path} is an audit of encoders that were trained elsewhere, a study of `sslmem run` is needed"
            )
        return spec


class AuditStudy(StudyResults):
    """An audit: encoders that were trained elsewhere, scored by `sslmem score`."""

    @cached_property
    def spec(self) -> AuditSpec:
        """The resolved spec."""
        spec = self.read_spec()
        if not isinstance(spec, AuditSpec):
            raise UserError(f"STUDY: {self.path} is a study of `sslmem run`, an audit of `sslmem score` is needed")
        return spec


def open_study(path: Path | str) -> Study | AuditStudy:
    """Open a study directory, given by its path or by its name; see :func:`sslmem_kit.spec.places.find_study`.

    Raises
    ------
    UserError
        The study does not exist, or its ``study.yaml`` is not a valid spec.
    """
    study = StudyResults(find_study(path))
    if not study.spec_path.is_file():
        raise no_study(path)
    for name in ("zip", "tar", "tar.gz", "tgz"):
        archive = study.path / f"results.zarr.{name}"
        if not study.results_path.exists() and archive.is_file():
            raise UserError(
                f"STUDY: the results are packed in {archive}, which is not read from: unpack it to {study.results_path}"
            )
    return AuditStudy(study.path) if isinstance(study.read_spec(), AuditSpec) else Study(study.path)


def studies_by_weight(study: Study, others: Sequence[Path | str] = ()) -> list[Study]:
    """Open the studies that figure 4 compares with one: those that are named, or all finished ones in the folder beside it that differ from it
    in ``objective.regularizer.weight`` alone.

    Returns
    -------
    The study itself first. That it is alone is no error; that named ones differ in something else is seen by
    :func:`sslmem_kit.statistics.memorization_by_weight`.

    Raises
    ------
    UserError
        A named one does not exist, or one is an audit.
    """
    named = [study, *(open_study(path) for path in others)]
    for one in named:
        _ = Study(one.path).spec  # an audit is refused
    if others:
        return [Study(one.path) for one in named]
    own, found = without_places(study.spec.as_dict()), [study]
    for file in sorted(study.path.absolute().parent.glob(f"*/{study.spec_path.name}")):
        one = Study(file.parent)
        with suppress(UserError, OSError):
            spec = one.read_spec()
            if not isinstance(spec, StudySpec) or not store.is_finished(one.results_path):
                continue
            fields = without_places(spec.as_dict())
            if weight_of(fields) != weight_of(own) and not other_difference(own, fields):
                found.append(one)
    return found
