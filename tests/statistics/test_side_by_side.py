"""Studies side by side: the paper's numbers by hand, and refused where scores are numbers under other views, samples or partitions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.errors import UserError
from sslmem_kit.scores import _example, select_protocol
from sslmem_kit.statistics.side_by_side import studies_side_by_side

CROP, NOISE = {"name": "crop", "steps": [{"op": "crop"}]}, {"name": "noise", "steps": [{"op": "noise"}]}


def tree(
    name: str, *, shift: float = 0.0, own: dict[str, Any] = CROP, common: dict[str, Any] | None = None, **attrs: Any
) -> xr.DataTree:
    """A study: that of the examples, whose candidates are closer under f by ``shift``, and whose accuracies are known."""
    root = _example.results()
    f = (root["family"] == "f") & (root["partition"] == 1)
    spec = {
        "name": name,
        "objective": {"method": "supervised" if name.startswith("sup") else "simclr"},
        "encoder": {"backbone": "resnet18"},
        "training": {"epochs": 10, "policy": own},
        "scoring": {"views": 4, "policy": own, "common_policy": common},
    }
    scale = 1 + 0.1 * root["seed"]
    shifted = (root["alignment"] - shift * scale * f).transpose(*root["alignment"].dims)
    root = root.assign(alignment=shifted).assign_attrs({"spec": json.dumps(spec), "data_fingerprint": "a", **attrs})
    accuracy = 0.8 + shift / 10 + 0.01 * np.arange(root.sizes["encoder"])
    downstream = xr.Dataset(
        {"accuracy": (("encoder", "task", "probe"), accuracy[:, None, None])},
        {"encoder": root["encoder"].values, "probe": ["linear"], "task": ["digits"]},
    )
    groups = {"/": root, "/downstream": downstream}
    if common is not None and common["steps"] != own["steps"]:
        second = root[["alignment"]].drop_vars([key for key in root.coords if key not in root.dims]) - 0.05 * f
        groups["/common"] = second.transpose(*root["alignment"].dims)
    return xr.DataTree.from_dict(groups)


def by_hand(one: xr.DataTree, alignment: xr.DataArray) -> np.ndarray:
    """The paper's score of each seed: mean over candidates of the difference by its range."""
    root = one.to_dataset()
    chosen = root.assign(alignment=alignment)["alignment"].isel(sample=np.flatnonzero(root["partition"].values == 1))
    means = select_protocol(chosen, "paper").mean("augmentation").transpose("sample", "encoder").values
    found = []
    for seed in range(3):
        f, g = (np.flatnonzero((root["family"].values == name) & (root["seed"].values == seed))[0] for name in "fg")
        difference = means[:, g] - means[:, f]
        found.append(difference.mean() / np.ptp(difference))
    return np.array(found)


def test_it_is_the_papers_score_and_accuracy_of_f() -> None:
    trees = [tree("sup-a"), tree("b", shift=0.3)]
    found = studies_side_by_side(trees)
    for place, one in enumerate(trees):
        expected = by_hand(one, one["alignment"])
        assert found["sslmem"].values[place] == pytest.approx(expected.mean())
        assert found["sslmem_sd"].values[place] == pytest.approx(expected.std(ddof=1))
        interval = stats.ttest_1samp(expected, 0).confidence_interval(0.95)
        np.testing.assert_allclose(found["sslmem_interval"].values[place], interval)
    assert found["accuracy"].values.tolist() == pytest.approx([0.82, 0.85])
    assert found["method"].values.tolist() == ["supervised", "simclr"]
    assert found["seeds"].values.tolist() == [3, 3]
    sides = [by_hand(one, one["alignment"]) for one in trees]
    welch = stats.ttest_ind(*sides, equal_var=False)
    assert found["sslmem_p"].item() == pytest.approx(welch.pvalue)
    np.testing.assert_allclose(found["sslmem_difference_interval"].values[0], welch.confidence_interval(0.95))
    assert found["sslmem_is"].item() == ("lower" if found["sslmem_p_holm"].item() < 0.05 else "undecided")
    assert found.attrs["n_candidates"] == 10
    assert found.attrs["policy"] == "crop"


def test_other_views_compare_by_a_common_policy_alone() -> None:
    trees = [tree("a", own=CROP, common=NOISE), tree("b", own=NOISE), tree("c", own=NOISE, common=NOISE)]
    found = studies_side_by_side(trees)
    assert found.attrs["policy"] == "noise"
    expected = by_hand(trees[0], trees[0]["common"]["alignment"])
    assert found["sslmem"].values[0] == pytest.approx(expected.mean())
    assert found["sslmem"].values[1] == pytest.approx(by_hand(trees[1], trees[1]["alignment"]).mean())
    with pytest.raises(
        UserError,
        match=r"scoring\.policy: a is scored by 'crop' and b is scored by 'noise'.*one scoring\.common_policy \(a has not",
    ):
        studies_side_by_side([tree("a", own=CROP), tree("b", own=NOISE, common=NOISE)])
    with pytest.raises(UserError, match=r"scoring\.policy: .*one scoring\.common_policy"):
        studies_side_by_side([tree("a", own=CROP), tree("b", own=NOISE)])


def _moved(one: xr.DataTree) -> xr.DataTree:
    partition = one["partition"].values[::-1].copy()
    return xr.DataTree.from_dict({**one.to_dict(), "/": one.to_dataset().assign_coords(partition=("sample", partition))})


def _views(one: xr.DataTree) -> xr.DataTree:
    spec = json.loads(one.attrs["spec"])
    spec["scoring"]["views"] = 9
    return xr.DataTree.from_dict({**one.to_dict(), "/": one.to_dataset().assign_attrs(spec=json.dumps(spec))})


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda: tree("a"), "two are called 'a'"),
        (lambda: tree("b", data_fingerprint="other"), "data: a and b were made from other data"),
        (lambda: _moved(tree("b")), "partition: a and b have other samples"),
        (lambda: _views(tree("b")), r"scoring\.views: a has 4 and b 9"),
        (lambda: tree("b", spec='{"name": "b", "scoring": {}}'), "b is an audit"),
    ],
)
def test_what_does_not_compare_is_refused(second: Callable[[], xr.DataTree], message: str) -> None:
    with pytest.raises(UserError, match=message):
        studies_side_by_side([tree("a"), second()])


def test_one_study_has_nothing_beside_it() -> None:
    with pytest.raises(UserError, match="1 cannot stand side by side"):
        studies_side_by_side([tree("a")])
    with pytest.raises(UserError, match="probe: there is none named 'knn', a has linear"):
        studies_side_by_side([tree("a"), tree("b")], probe="knn")
