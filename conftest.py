"""Examples in docstrings that open a study find one: made-up results lie in ``papermill_runs/digits`` of their working directory."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def folder_with_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that has a finished study in it."""
    from tests.support.fake_study import make_study

    folder = tmp_path_factory.mktemp("examples")
    (folder / "papermill_runs").mkdir()
    make_study(folder / "papermill_runs" / "digits", samples=240, seeds=3, views=4)
    return folder


@pytest.fixture(autouse=True)
def _in_folder_with_study(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an example that opens a study where there is one; tests are left alone."""
    example = getattr(request.node, "dtest", None)
    if example is not None and "papermill_runs" in example.docstring:
        monkeypatch.chdir(request.getfixturevalue("folder_with_study"))
