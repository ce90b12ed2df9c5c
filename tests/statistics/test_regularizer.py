"""Memorization by the weight of the regularizer, over studies whose truth is known, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from sslmem_kit import studies_by_weight
from sslmem_kit.errors import UserError
from sslmem_kit.figures import fig04, save_figure
from sslmem_kit.scores import _example
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.statistics import memorization_by_weight
from sslmem_kit.store.directory import StudyFolder, create_or_resume
from tests.support.fake_study import make_study

WEIGHTS = (0.0, 0.1, 0.3)
SEEDS = 4


def spec_of(weight: float, **training: Any) -> dict[str, Any]:
    regularizer = {"regularizer": {"weight": weight}} if weight else {}
    loaded = {
        "name": f"l{weight}",
        "data": {"name": "digits"},
        "objective": {"method": "simclr", **regularizer},
        "training": training,
    }
    return parse_spec(loaded, where="test").resolved(Path.cwd()).as_dict()


def tree_of(weight: float, *, memorized: float, accuracy: float, seed: int, seeds: int = SEEDS, samples: int = 300) -> xr.DataTree:
    """Results of pairs of encoders: ``memorized`` is the truth of every candidate and independent, noise and offsets stand beside it."""
    rng = np.random.default_rng(seed)
    codes = np.repeat([0, 1, 2], samples)
    family, number = np.tile(["f", "g"], seeds), np.repeat(np.arange(seeds), 2)
    seen = (codes[:, None] == 0) | ((codes[:, None] == 1) & (family == "f")) | ((codes[:, None] == 2) & (family == "g"))
    values = (
        0.5
        + rng.normal(0, 0.05, 2 * seeds)
        + rng.normal(0, 0.1, (len(codes), 2 * seeds))
        - memorized * (seen & (codes > 0)[:, None])
    )
    names = [f"{name}-{one}" for name, one in zip(family, number, strict=True)]
    example = _example.results()
    pairs = example.sizes["augmentation"]
    root = xr.Dataset(
        {
            "alignment": (("sample", "augmentation", "encoder"), np.repeat(values[:, None], pairs, axis=1)),
            "trained_on": (("sample", "encoder"), seen),
        },
        {
            "sample": np.arange(len(codes)), "partition": ("sample", codes), "encoder": names, "family": ("encoder", family),
            "seed": ("encoder", number), "design": ("encoder", ["pair"] * len(names)),
            **{name: example[name] for name in ("view_a", "view_b")},
        },
        {"spec": json.dumps(spec_of(weight)), "data_fingerprint": "same"},
    )  # fmt: skip
    tested = accuracy + np.repeat(rng.normal(0, 0.004, seeds), 2)
    downstream = xr.Dataset(
        {"accuracy": (("encoder", "task", "probe"), np.tile(tested[:, None, None], (1, 1, 2)))},
        {"encoder": names, "task": ["digits"], "probe": ["linear", "knn"]},
    )
    return xr.DataTree.from_dict({"/": root, "/downstream": downstream})


def trees(
    memorized: Callable[[float], float], accuracy: Callable[[float], float], draw: int = 0, **options: Any
) -> list[xr.DataTree]:
    return [
        tree_of(weight, memorized=memorized(weight), accuracy=accuracy(weight), seed=100 * draw + place, **options)
        for place, weight in enumerate(WEIGHTS)
    ]


def test_what_is_planted_is_found() -> None:
    found = memorization_by_weight(trees(lambda weight: 0.06 - 0.15 * weight, lambda weight: 0.9 - 0.2 * weight)[::-1])
    assert found["weight"].values.tolist() == list(WEIGHTS)
    truth = 0.06 - 0.15 * np.array(WEIGHTS)
    for name in ("effect", "top_effect"):
        low, high = found[f"{name}_interval"].transpose("bound", ...).values
        assert ((low <= truth) & (truth <= high)).all(), name  # memorized alike: the highest are chosen by noise
    assert (found["top_effect_naive"] > found["top_effect"] + 0.04).all()
    np.testing.assert_allclose(found["slope"], [-0.15, found["slope"].values[1], -0.2], atol=0.03)
    assert found["decision"].values.tolist() == ["reproduced"] * 3
    assert (found.attrs["seeds"], found.attrs["n_top"], found.attrs["n_candidates"]) == (4, 30, 300)


def test_nothing_is_found_where_nothing_is_and_the_naive_top_tenth_is_not_zero() -> None:
    found = [memorization_by_weight(trees(lambda _: 0.0, lambda _: 0.9, draw, samples=100)) for draw in range(40)]
    decisions = np.array([one["decision"].values for one in found])
    assert np.mean(decisions != "undecided") < 0.1
    top = np.array([one["top_effect"].values for one in found]).ravel()
    ends = np.array([one["top_effect_interval"].values for one in found]).reshape(-1, 2)
    assert abs(top.mean()) < 4 * top.std() / np.sqrt(len(top))
    assert np.mean((ends[:, 0] <= 0) & (ends[:, 1] >= 0)) > 0.92
    assert all((one["top_effect_naive"] > 0.05).all() for one in found)


def test_a_rise_is_a_claim_not_reproduced() -> None:
    found = memorization_by_weight(trees(lambda weight: 0.02 + 0.2 * weight, lambda weight: 0.9))
    assert found["decision"].sel(claim="effect") == "not reproduced"


def with_attrs(tree: xr.DataTree, **attrs: str) -> xr.DataTree:
    changed = tree.copy()
    changed.attrs = {**tree.attrs, **attrs}
    return changed


def respecified(tree: xr.DataTree, spec: dict[str, Any]) -> xr.DataTree:
    return with_attrs(tree, spec=json.dumps(spec))


def test_what_cannot_be_compared_is_refused_by_field() -> None:
    one, two, three = trees(lambda _: 0.0, lambda _: 0.9, samples=20)
    with pytest.raises(UserError, match=r"^training.epochs: l0.0 and l0.1 differ in it"):
        memorization_by_weight([one, respecified(two, spec_of(0.1, epochs=7, warmup_epochs=0))])
    with pytest.raises(UserError, match=r"two or more studies that differ in objective.regularizer.weight"):
        memorization_by_weight([one])
    with pytest.raises(UserError, match=r"objective.regularizer.weight: l0.1 and l0.1 both have 0.1; leave one out"):
        memorization_by_weight([one, two, two])
    with pytest.raises(UserError, match="were trained on other data"):
        memorization_by_weight([one, with_attrs(two, data_fingerprint="other")])
    with pytest.raises(UserError, match="there is none named 'svm', these studies have linear, knn"):
        memorization_by_weight([one, three], probe="svm")
    late = spec_of(0.3)
    late["objective"]["regularizer"]["start_epoch"] = 1
    with pytest.raises(UserError, match=r"objective.regularizer.start_epoch"):
        memorization_by_weight([two, respecified(three, late)])


def test_one_seed_is_said_and_not_plotted(tmp_path: Path) -> None:
    alone = memorization_by_weight(trees(lambda _: 0.1, lambda _: 0.9, seeds=1, samples=40))
    assert "set training.seeds of the studies to 2 or more" in alone.attrs["missing"]
    assert np.isnan(alone["effect_interval"]).all()
    assert np.isnan(alone["top_effect"]).all()
    assert alone["decision"].values.tolist() == ["undecided"] * 3
    with pytest.raises(ValueError, match="nothing is plotted without an interval"):
        fig04.plot(alone)


def test_the_figure_stands_at_the_numbers(tmp_path: Path) -> None:
    found = memorization_by_weight(trees(lambda weight: 0.06 - 0.1 * weight, lambda weight: 0.9))
    figure = fig04.plot(found)
    curves = {curve.vdims[0].name: curve for curve in figure.traverse(lambda part: part, [hv.Curve])}
    assert list(curves) == ["effect", "top_effect", "top_effect_naive", "accuracy"]
    for name, curve in curves.items():
        np.testing.assert_allclose(curve[name], found[name])
    assert len(figure.traverse(lambda part: part, [hv.ErrorBars])) == 3
    assert all(path.stat().st_size > 1000 for path in save_figure(figure, tmp_path, "fig04"))


def test_studies_beside_one_another_are_found(tmp_path: Path) -> None:
    """Those that differ in the weight alone and are finished: not another length, not one that has not run, no folder of something else."""
    studies = {}
    for name, changes in {
        "none": {}, "some": {"objective": {"method": "simclr", "regularizer": {"weight": 0.1}}},
        "longer": {"objective": {"method": "simclr", "regularizer": {"weight": 0.2}}, "training": {"epochs": 8}},
    }.items():  # fmt: skip
        studies[name] = make_study(tmp_path / name, samples=60, seeds=2)
        spec = studies[name].spec.as_dict()
        for section, values in changes.items():
            spec[section] |= values
        changed = parse_spec(spec | {"name": name}, where="test").resolved(tmp_path)
        studies[name].spec_path.unlink()
        results = studies[name].results_path.rename(tmp_path / f"{name}.zarr")
        create_or_resume(studies[name].path, changed)
        results.rename(studies[name].results_path)
    waiting = parse_spec({**studies["some"].spec.as_dict(), "name": "waiting"}, where="test")
    create_or_resume(tmp_path / "waiting", waiting.model_copy(update={}))
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "study.yaml").write_text("name: [")
    opened = type(studies["none"])(tmp_path / "none")
    assert [one.path.name for one in studies_by_weight(opened)] == ["none", "some"]
    assert [one.path.name for one in studies_by_weight(opened, [tmp_path / "longer"])] == ["none", "longer"]
    with pytest.raises(UserError, match="STUDY"):
        studies_by_weight(opened, [tmp_path / "nowhere"])


def test_an_audit_is_refused_by_name(tmp_path: Path) -> None:
    audit = AuditSpec.model_construct(name="audit")
    study = make_study(tmp_path / "one", samples=60, seeds=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StudyFolder, "read_spec", lambda self: audit)
        with pytest.raises(UserError, match="is an audit of encoders that were trained elsewhere"):
            studies_by_weight(type(study)(study.path))
