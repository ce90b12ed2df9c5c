"""Deja Vu memorization of encoders: lookups are found, encoders of one distribution differ by nothing, bad input is answered."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.measures.comparisons import neighbours
from sslmem_kit.measures.comparisons.crops import show
from sslmem_kit.measures.comparisons.dejavu import measure
from sslmem_kit.measures.comparisons.subject import Subject
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.spec.dejavu import DejaVuSpec, parse_crop
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.statistics.paired_shares import half_difference, paired_shares
from tests.measures.comparisons.simulated import random_case, simulate

SHOWN = "periphery:0.4"


class Lookup(torch.nn.Module):
    """Encoder that knows the class of whole images, and of the parts of the samples that it was trained on; of others it says one at random."""

    mean: torch.Tensor

    def __init__(self, subject: Subject, trained: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 1, 1), 0.25))
        data = subject.samples.dataset
        self.known: dict[bytes, int] = {}
        for images, labels, crop in (
            (data.read(trained), data.labels[data.positions(trained)], parse_crop(SHOWN)),
            (data.read(data.ids), data.labels, None),
        ):
            inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
            inputs = inputs if crop is None else show(inputs, crop, fill=self.mean)
            self.known |= {self.key(image): int(label) for image, label in zip(inputs, labels, strict=True)}

    @staticmethod
    def key(image: torch.Tensor) -> bytes:
        return (image * 1000).round().to(torch.int16).numpy().tobytes()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        keys = [self.key(image) for image in images]
        classes = [self.known.get(key, sum(key[::7]) % 10) for key in keys]
        return torch.eye(10)[classes] + 0.01 * images.flatten(1)[:, :10]

    def pool(self, output: torch.Tensor) -> torch.Tensor:
        return output


def _subject(**changes: Any) -> Subject:
    spec = parse_spec({"name": "x", "data": {"name": "digits"}, "scoring": {"batch_size": 100}} | changes, where="test").resolved(
        Path()
    )
    samples = load_samples(spec)
    ids = samples.dataset.ids[samples.scored]
    loader = ImageLoader(samples.dataset, "cpu")
    return Subject(spec, spec.encoders[0], samples, torch.nn.Identity(), loader, ids)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return _subject()


@pytest.fixture(scope="module")
def measured(subject: Subject) -> dict[str, xr.Dataset]:
    found, options = {}, DejaVuSpec(crops=(SHOWN, "corner:0.5"), neighbours=(10, 3))
    codes = subject.samples.codes[subject.samples.scored]
    for family, names in (("f", ("shared", "candidate")), ("g", ("shared", "independent"))):
        trained = subject.ids[np.isin(codes, [PARTITION_CODE[name] for name in names])]
        found[family] = measure(replace(subject, encoder=Lookup(subject, trained)), options)
    return found


def test_a_lookup_is_found(subject: Subject, measured: dict[str, xr.Dataset]) -> None:
    codes = subject.samples.codes[subject.samples.scored]
    f, g = (measured[family]["named"].sel(crop=SHOWN, neighbours=10).values[:, None] for family in "fg")
    for name, share in (("candidate", 0.9), ("shared", 0.0), ("extra", 0.0), ("independent", -0.9)):
        found = paired_shares(f[codes == PARTITION_CODE[name]], g[codes == PARTITION_CODE[name]])
        assert found["net"] == pytest.approx(share, abs=0.06), name
    assert half_difference(f, g, codes)["interval"][0] > 0.8
    assert measured["f"]["named"].values[codes == PARTITION_CODE["candidate"], 0].mean() > 0.97


def test_what_is_measured_is_on_the_samples(subject: Subject, measured: dict[str, xr.Dataset]) -> None:
    found = measured["f"]
    np.testing.assert_array_equal(found["sample"], subject.ids)
    assert found["crop"].values.tolist() == [SHOWN, "corner:0.5"]
    assert found["consistency"].dims == ("sample", "crop", "neighbours")
    assert all(found[name].dtype == np.float32 for name in found.data_vars)
    test = subject.samples.dataset.ids[subject.samples.dataset.is_test]
    np.testing.assert_array_equal(found["public_sample"], test)


def test_one_encoder_is_judged_by_what_it_was_not_trained_on(subject: Subject, measured: dict[str, xr.Dataset]) -> None:
    found, codes = measured["f"], subject.samples.codes[subject.samples.scored]
    misses = 1 - found["reference_named"]
    alone, of_public = found["held_named"] * misses, found["public_held_named"] * (1 - found["public_reference_named"])
    assert misses.mean() < 0.6  # the periphery of a digit says something
    assert alone.values[codes == PARTITION_CODE["candidate"]].mean() > 0.1 + of_public.mean()
    assert abs(alone.values[codes == PARTITION_CODE["independent"]].mean() - of_public.mean()) < 0.06


def test_blocks_and_batches_make_no_difference(
    subject: Subject, measured: dict[str, xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "PUBLIC_BLOCK", 100)
    codes = subject.samples.codes[subject.samples.scored]
    trained = subject.ids[np.isin(codes, [PARTITION_CODE["shared"], PARTITION_CODE["candidate"]])]
    scoring = subject.spec.scoring.model_copy(update={"batch_size": 333})
    other = replace(subject, encoder=Lookup(subject, trained), spec=subject.spec.model_copy(update={"scoring": scoring}))
    xr.testing.assert_allclose(measure(other, DejaVuSpec(crops=(SHOWN, "corner:0.5"), neighbours=(10, 3))), measured["f"])


def test_backgrounds_are_those_of_boxes(subject: Subject, tmp_path: Path) -> None:
    ids = subject.samples.dataset.ids[::2]
    table = tmp_path / "boxes.csv"
    table.write_text("\n".join(["sample,xmin,ymin,xmax,ymax", *(f"{id_},3,0,8,8" for id_ in ids)]))
    found = measure(
        replace(subject, encoder=Lookup(subject, subject.ids)), DejaVuSpec(crops=("background",), neighbours=(5,), boxes=str(table))
    )
    has = np.isin(subject.ids, ids)
    np.testing.assert_array_equal(np.isfinite(found["named"].values[:, 0, 0]), has)
    np.testing.assert_array_equal(np.isfinite(found["reference_named"].values), has)
    np.testing.assert_array_equal(np.isfinite(found["public_held_named"].values), np.isin(found["public_sample"].values, ids))


def test_other_data_are_matched_by_the_names_of_classes(subject: Subject, measured: dict[str, xr.Dataset], tmp_path: Path) -> None:
    """The test split as other data, with classes in another order and without the class 9."""
    data = subject.samples.dataset
    test = data.ids[data.is_test & (data.labels != 9)]
    names = [str(name) for name in range(8, -1, -1)]
    labels = 8 - data.labels[data.positions(test)]
    np.savez(tmp_path / "public.npz", images=data.read(test)[..., 0], labels=labels, class_names=names)
    codes = subject.samples.codes[subject.samples.scored]
    trained = subject.ids[np.isin(codes, [PARTITION_CODE["shared"], PARTITION_CODE["candidate"]])]
    options = DejaVuSpec.model_validate(
        {"crops": [SHOWN], "neighbours": [10], "public": {"name": f"npz:{tmp_path / 'public.npz'}"}}
    )
    found = measure(replace(subject, encoder=Lookup(subject, trained)), options)
    nine = data.labels[data.positions(subject.ids)] == 9
    assert np.isnan(found["named"].values[nine]).all()
    assert np.isnan(found["reference_named"].values[nine]).all()
    known = (codes == PARTITION_CODE["candidate"]) & ~nine
    assert found["named"].values[known].mean() > 0.97
    np.testing.assert_array_equal(found["public_sample"], np.arange(len(test)))


def test_two_hundred_null_pairs_differ_by_nothing() -> None:
    """Intervals of the net share cover 0 as often as they say, over all settings; so do means of the score of single samples."""
    rng = np.random.default_rng(0)
    covered: Counter[str] = Counter()
    for _ in range(200):
        case = random_case(rng)
        found = simulate(case, rng)
        candidates = found["codes"] == 1
        f, g = found["named_f"], found["named_g"]
        score = (found["consistency_f"] - found["consistency_g"]).mean(axis=1) * np.where(candidates, 1, -1)
        reach = 1.96 * score.std(ddof=1) / np.sqrt(len(score))
        for name, (low, high) in {
            "net": paired_shares(f[candidates], g[candidates])["interval"].values,
            "half": half_difference(f, g, found["codes"])["interval"].values,
            "score": (score.mean() - reach, score.mean() + reach),
        }.items():
            covered[name] += bool(low <= 0 <= high)
    assert min(covered.values()) >= 188, covered  # 94 %: binomially 190 +- 3
    assert covered["net"] >= 190
    assert covered["half"] >= 190


def test_what_is_memorized_is_found_in_all_settings() -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(40):
        case = random_case(rng)._replace(samples=200, cue=0.3)
        one = simulate(case, rng, memorized=0.5)
        found += bool(half_difference(one["named_f"], one["named_g"], one["codes"])["interval"][0] > 0)
    assert found >= 38


@pytest.mark.parametrize(
    ("options", "changes", "sentence"),
    [
        ({"neighbours": [400]}, {}, "neighbours: 400 is more than the 287 of 359 public samples .*; give at most 287"),
        ({"public": {"name": "digits"}}, {}, "public: 'digits' is the study's own data"),
        ({"public": {"name": "npz:ONE"}}, {}, "has no labels, or one class alone .*; name labelled data"),
        ({"public": {"name": "npz:OTHER"}}, {}, "are none of those of 'digits' .*; name data whose classes have the same names"),
        (
            {},
            {"data": {"name": "digits", "test_fraction": 0}, "partition": {"extra": 0}},
            "the test split of 'digits' has no samples",
        ),
    ],
)
def test_bad_input_is_answered_in_a_sentence(
    tmp_path: Path, subject: Subject, options: dict[str, Any], changes: dict[str, Any], sentence: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "one.npz", images=pixels, labels=np.zeros(30, int))
    np.savez(tmp_path / "other.npz", images=pixels, labels=np.arange(30) % 2, class_names=["cat", "dog"])
    if "public" in options:
        name = options["public"]["name"]
        paths = {"ONE": tmp_path / "one.npz", "OTHER": tmp_path / "other.npz"}
        options = {"public": {"name": "npz:" + str(paths[name[4:]]) if name[4:] in paths else name}}
    asked = _subject(**changes) if changes else subject
    with pytest.raises(UserError, match=sentence) as raised:
        measure(replace(asked, encoder=Lookup(asked, asked.ids[:1])), DejaVuSpec.model_validate(options))
    assert "\n" not in str(raised.value)
