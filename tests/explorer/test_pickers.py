"""The pickers by their traits: plain numpy says what is picked."""

from __future__ import annotations

import re
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.notebook.pickers import ClassPicker, ThresholdPicker, pick_class, pick_threshold
from sslmem_kit.names import PARTITIONS
from tests.support.fake_study import make_study


def made_up(n: int = 500, *, names: list[str] | None = None, values: np.ndarray | None = None, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.02, n) if values is None else values
    names = ["cat", "dog", "<b>cow</b>"] if names is None else names
    return xr.Dataset(
        {"sslmem": ("sample", values), "z": ("sample", values * 3)},
        coords={
            "sample": np.arange(n) * 7,
            "label": ("sample", rng.integers(0, 3, n), {"class_names": names}),
            "partition": ("sample", rng.integers(0, 4, n).astype(np.int8)),
        },
        attrs={"protocol": "corrected"},
    )


def shown(picker: ThresholdPicker | ClassPicker) -> dict[str, tuple[int, int, float]]:
    """The counts in the HTML, by partition."""
    rows = re.findall(
        r"<td>(\w+)</td>\s*<td>([\d,]+)</td>\s*<td>([\d,]+)</td>\s*<td>([\d.]+)%</td>", picker._repr_mimebundle_()["text/html"]
    )
    return {name: (int(n.replace(",", "")), int(of.replace(",", "")), float(share)) for name, n, of, share in rows}


def check(picker: ThresholdPicker | ClassPicker, scores: xr.Dataset, mask: np.ndarray) -> None:
    """What the picker selects, lists and tells is what the mask says."""
    assert picker.selected.identical(scores.isel(sample=mask))
    codes = scores["partition"].values
    expected = {"all": (int(mask.sum()), mask.size)}
    expected |= {
        name: (int(mask[codes == i].sum()), int((codes == i).sum())) for i, name in enumerate(PARTITIONS) if (codes == i).any()
    }
    got = shown(picker)
    assert {name: row[:2] for name, row in got.items()} == expected
    assert all(share == pytest.approx(100 * n / of, abs=0.051) for n, of, share in got.values())
    assert picker.table["sample"].tolist() == sorted(
        scores["sample"].values[mask], key=lambda i: -float(scores["sslmem"].sel(sample=i))
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_samples_above_are_picked(dtype: type) -> None:
    scores = made_up().astype(dtype)
    picker = pick_threshold(scores)
    values = scores["sslmem"].values.astype(float)
    assert picker.value == np.quantile(values, 0.9, method="inverted_cdf")
    check(picker, scores, values > picker.value)
    for value in (0.0, float(values[17]), float(values.max()), float(values.min()), 99.0, -99.0):
        picker.value = value
        check(picker, scores, values > value)


def test_the_slider_by_value_reaches_all_and_none() -> None:
    scores = made_up()
    picker = pick_threshold(scores)
    slider = picker._slider
    slider.value = slider.min
    assert picker.value == slider.min
    check(picker, scores, np.ones(500, bool))
    slider.value = slider.max
    check(picker, scores, np.zeros(500, bool))


def test_the_slider_by_quantile_picks_the_share_above() -> None:
    picker = pick_threshold(made_up(400), quantile=True)
    assert picker._slider.description == "above quantile"
    for quantile in (0.0, 0.001, 0.25, 0.3, 0.9, 0.999, 1.0):
        picker._slider.value = quantile
        assert picker.selected.sizes["sample"] == int(round(400 * (1 - quantile), 6))


@pytest.mark.parametrize("quantile", [False, True])
def test_what_a_browser_sends_back_moves_nothing(quantile: bool) -> None:
    picker = pick_threshold(made_up(), quantile=quantile)
    slider = picker._slider
    for value in (0.0123456789, -0.01, 5.0):
        picker.value = value
        assert abs(slider.value - np.clip(slider.value, slider.min, slider.max)) == 0
        slider.value += slider.step * 1e-6
        assert picker.value == value
    slider.value -= slider.step
    moved = picker.value
    assert moved < 5.0
    slider.value -= slider.step
    assert picker.value < moved


def test_the_box_switches_the_slider_and_leaves_the_threshold() -> None:
    picker = pick_threshold(made_up())
    toggle, before, _ = picker.children
    picker.value = 0.0123456789
    assert before.value == pytest.approx(picker.value, abs=before.step / 2)
    toggle.value = True
    assert picker.value == 0.0123456789
    after = picker.children[1]
    assert (before.description, after.description) == ("score above", "above quantile")
    assert after.value == pytest.approx(1 - picker.selected.sizes["sample"] / 500, abs=0.0005)
    before.value = 0.0  # a late message of the slider that is gone
    toggle.value = False
    assert picker.value == 0.0123456789


def test_scores_that_are_all_alike() -> None:
    scores = made_up(10, values=np.zeros(10))
    for quantile in (False, True):
        picker = pick_threshold(scores, quantile=quantile)
        check(picker, scores, np.zeros(10, bool))
        picker._slider.value = picker._slider.min
        check(picker, scores, np.ones(10, bool))


def test_classes_are_picked_by_name() -> None:
    scores = made_up()
    picker = pick_class(scores)
    assert picker.value == "cat"
    for label, name in enumerate(("cat", "dog", "<b>cow</b>")):
        picker.value = name
        check(picker, scores, scores["label"].values == label)
        assert set(picker.table["class"]) == {name}
    picker.children[0].value = "dog"
    assert picker.value == "dog"
    with pytest.raises(UserError, match="no class 'cow' here, choose one of cat, dog"):
        picker.value = "cow"
    assert picker.value == "dog"


def test_classes_without_a_name_of_their_own_are_told_apart() -> None:
    scores = made_up(names=["crane", "crane"])
    picker = pick_class(scores)
    assert list(picker.children[0].options) == ["crane (0)", "crane (1)", "2"]
    picker.value = "crane (1)"
    check(picker, scores, scores["label"].values == 1)


def test_pickers_compose(tmp_path) -> None:
    scores = make_study(tmp_path / "study", samples=200).scores()
    by_class = pick_class(scores)
    by_class.value = "two"
    picker = pick_threshold(by_class.selected)
    picker.value = 0.05
    mask = (scores["label"].values == 2) & (scores["sslmem"].values > 0.05)
    assert 0 < mask.sum() < 67
    pd.testing.assert_frame_equal(
        picker.table.sort_values("sample", ignore_index=True),
        pd.DataFrame(
            {
                "sample": scores["sample"].values[mask],
                "class": ["two"] * mask.sum(),
                "partition": [PARTITIONS[code] for code in scores["partition"].values[mask]],
                "sslmem": scores["sslmem"].values[mask],
            }
        ),
        check_dtype=False,
    )
    assert picker.selected.attrs == scores.attrs
    check(pick_class(picker.selected), picker.selected, picker.selected["label"].values == 2)


@pytest.mark.parametrize("pick", [pick_threshold, pick_class])
def test_what_is_not_scores_is_refused(pick) -> None:
    for wrong, message in (
        (None, "a NoneType without 'sslmem'"),
        (xr.Dataset({"loss": ("sample", [1.0])}), "a Dataset without"),
        (made_up().isel(sample=slice(0)), "there are no samples"),
        (made_up(2, values=np.array([0.0, np.nan])), "not finite"),
    ):
        with pytest.raises(UserError, match=f"scores: .*{message}"):
            pick(wrong)


def test_a_move_is_instant_with_more_than_a_million_samples() -> None:
    picker = pick_threshold(made_up(1_300_000))
    began = time.process_time()
    for value in np.linspace(-0.02, 0.02, 20):
        picker._slider.value = value
    assert (time.process_time() - began) / 20 < 0.05
