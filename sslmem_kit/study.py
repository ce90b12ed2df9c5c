"""The study directory: ``study.yaml``, ``encoders/<id>/``, ``results.zarr``, ``figures/`` and ``notebooks/``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import xarray as xr

from sslmem_kit import scores, store
from sslmem_kit.errors import UserError
from sslmem_kit.scores.audit import NOT_SCORES, alignment_table, is_one_model, is_subset, subset_scores
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.places import find_study, no_study
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.caveats import caveats
from sslmem_kit.statistics.fdr import with_significance
from sslmem_kit.store.directory import StudyFolder


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

    def scores(self, protocol: str = "corrected", encoders: Sequence[str] | None = None) -> xr.Dataset:
        """Return the scores of every sample, from all encoders or the named ones, with their ``p_value`` and ``q_value``.

        See :func:`sslmem_kit.scores.score` for the former, :mod:`sslmem_kit.statistics.fdr` for the latter.

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
        with store.reading(self.results_path):
            results, of_subsets = self._results_without_dask(), is_subset(self.tree) and encoders is None
            if of_subsets:
                result = subset_scores(results, protocol=protocol)
            else:
                result = scores.score(results, protocol=protocol, encoders=encoders)
        store.check_whole(self.results_path, result["difference"])
        return result if of_subsets else with_significance(result)

    def alignments(self, protocol: str = "corrected") -> xr.Dataset:
        """Return the mean alignment of every sample under each encoder, and its rank; see :func:`sslmem_kit.scores.audit.alignment_table`.

        Raises
        ------
        UserError
            An unknown protocol; results that are missing, cannot be read, or were lost after they had been recorded.
        """
        with store.reading(self.results_path):
            table = alignment_table(self._results_without_dask(), protocol=protocol)
        store.check_whole(self.results_path, table["alignment"])
        return table

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
