"""Dense tasks on the encoders of a removal tree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.report.dense import tasks_of_tree
from sslmem_kit.run.dense import planned_runs, run_dense
from sslmem_kit.store.removal_tree import open_tree
from tests.run.test_dense import content, spec_of
from tests.run.test_dense import counted as counted
from tests.run.test_removal_tree import _here as _here
from tests.run.test_removal_tree import whole as whole


@pytest.fixture
def tree(whole: tuple[Path, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "tree"))


def test_every_encoder_once_and_differences_are_those_of_the_table(tree: Path, counted: list[dict[str, Any]]) -> None:
    opened, spec = open_tree(tree), spec_of(starts=["trained"])
    cells = opened.results["encoder"]
    names = {cell for cell in cells.values.ravel().tolist() if cell}
    done = run_dense(opened, spec, device="cpu")
    assert len(counted) == len(done["runs"]) == len(names)
    by_cell = {}
    for run in done["runs"]:
        *above, _, last = Path(run["folder"]).parts
        by_cell[f"parent/{last}" if above else last] = run["measures"]["rmse"]["value"]
    assert by_cell.keys() == names
    found = tasks_of_tree(opened)["dense"]["one"]
    assert found["missing"] == 0
    amount = int(cells["amount"][1])
    (row,) = [
        one
        for one in found["differences"]
        if (one["contrast"], one["amount"], one["probe"]) == ("highest by pairs - random", amount, "-rmse")
    ]
    value = np.vectorize(by_cell.get)
    first = value(cells.sel(removed="highest by pairs", amount=amount, draw=0).values)
    second = value(cells.sel(removed="random", amount=amount).transpose("seed", "draw").values)
    assert row["difference"] == pytest.approx(-(first[:, None] - second).mean())
    assert row["claim"] == "lower"


def test_the_command_the_report_and_its_warnings(
    tree: Path, counted: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("task.yaml").write_text(yaml.safe_dump(content(starts=["trained"])))
    assert main(["dense", str(tree), "task.yaml", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "dense task one: depth of scenes by unet" in told
    assert "-rmse" in told
    assert main(["report", str(tree)]) == 0
    assert "dense task one: depth of scenes" in capsys.readouterr().out
    results = tree / "dense" / "one" / "results.json"
    content_of = json.loads(results.read_text())
    gone = content_of["runs"].pop()
    content_of["runs"][0]["weights"] = "0" * 64
    results.write_text(json.dumps(content_of))
    assert main(["report", str(tree), "--json"]) == 0
    warned = json.loads(capsys.readouterr().out)["dense"]["one"]
    assert warned["missing"] == sum(
        Path(gone["folder"]).name == cell.rpartition("/")[2] for cell in open_tree(tree).results["encoder"].values.ravel().tolist()
    )
    assert any("no encoder that was fine-tuned" in sentence for sentence in warned["warnings"])
    assert any("has other weights now" in sentence for sentence in warned["warnings"])


def test_encoders_that_a_tree_does_not_have(tree: Path) -> None:
    with pytest.raises(UserError, match="encoders: the tree has no encoder 'f-9', it has f-0"):
        planned_runs(open_tree(tree), spec_of(encoders=["f-9"]))
