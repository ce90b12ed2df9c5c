"""Comparisons of a spec that are refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslmem_kit.errors import UserError
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.loading import load_spec


def spec_with(folder: Path, comparisons: str):
    path = folder / "spec.yaml"
    path.write_text(f"name: t\ndata: {{name: digits}}\nobjective: {{method: simclr}}\ncomparisons: {comparisons}\n")
    return load_spec(path)


@pytest.mark.parametrize(("name", "remedy"), [("supervised", "objective.method supervised"), ("privacy", "coin: true")])
def test_what_the_study_cannot_have_is_refused_before_training(tmp_path: Path, name: str, remedy: str) -> None:
    with pytest.raises(UserError, match=f"comparisons: {name} is not for this study.*{remedy}"):
        run_study(spec_with(tmp_path, f"[learning, {name}]"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["[{dejavu: {neighbours: [5]}}]", "[{name: [dejavu]}]"])
def test_a_comparison_without_its_name_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(UserError, match=r"comparisons.*known are dejavu"):
        spec_with(tmp_path, given)
