"""Planted truth: kinds are what they say, in proportion in partitions, by a rule of (seed, id), and invisible where nothing is planted."""

import numpy as np
import pytest

from sslmem_kit.data import load
from sslmem_kit.data.plant import Overlay, hashed
from sslmem_kit.data.record import lines
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE, PLANTED_CODE
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.loading import parse_spec

PLANT = {"duplicates": 40, "mislabelled": 30, "out_of_distribution": 20, "noisy": 0.02}


def data(**more):
    return DataSpec.model_validate({"name": "digits", **more})


@pytest.fixture(scope="module")
def both():
    return load(data(), seed=3), load(data(plant=PLANT), seed=3)


def ids_of(dataset, kind):
    return dataset.ids[dataset.planted == PLANTED_CODE[kind]]


def test_each_kind_is_what_it_says(both):
    clean, planted = both
    counts = {kind: len(ids_of(planted, kind)) for kind in PLANTED_CODE}
    noisy = round(0.02 * (~clean.is_test).sum())
    assert {kind: counts[kind] for kind in counts if kind != "clean"} == {
        "duplicate": 40, "mislabelled": 30, "out_of_distribution": 20, "noisy": noisy, "original": 40,
    }  # fmt: skip
    assert not planted.planted[planted.is_test].any()
    for kind in ("clean", "original", "mislabelled"):
        ids = ids_of(planted, kind)
        np.testing.assert_array_equal(clean.read(ids), planted.read(ids))
    changed = planted.labels != clean.labels
    assert changed[planted.positions(ids_of(planted, "mislabelled"))].all()
    assert not changed[
        np.isin(planted.planted, [PLANTED_CODE[kind] for kind in ("clean", "original", "noisy", "out_of_distribution")])
    ].any()
    copies = ids_of(planted, "duplicate")
    originals = planted.planted_of[planted.positions(copies)]
    assert sorted(originals) == ids_of(planted, "original").tolist()
    np.testing.assert_array_equal(planted.labels[planted.positions(copies)], planted.labels[planted.positions(originals)])
    apart = np.abs(planted.read(copies).astype(float) - planted.read(originals)).mean(axis=(1, 2, 3))
    others = np.abs(planted.read(copies).astype(float) - clean.read(copies)).mean(axis=(1, 2, 3))
    assert apart.max() < 12 < np.median(others)
    assert (np.delete(planted.planted_of, planted.positions(copies)) == -1).all()
    noise = planted.read(ids_of(planted, "noisy")).astype(float) - clean.read(ids_of(planted, "noisy"))
    assert noise.std() > 40


def test_the_rule_is_of_seed_and_id(both):
    clean, planted = both
    again = load(data(plant=PLANT), seed=3)
    assert again.fingerprint == planted.fingerprint != clean.fingerprint
    assert load(data(plant=PLANT | {"noisy": 5}), seed=3).fingerprint != planted.fingerprint
    assert (load(data(plant=PLANT), seed=4).planted != planted.planted).any()
    more = load(data(plant={"duplicates": 60}), seed=3)
    assert np.isin(ids_of(planted, "duplicate"), ids_of(more, "duplicate")).all()
    assert clean.planted is None
    assert clean.record.keys() ^ planted.record.keys() == {"planted"}


def test_images_on_disk_are_planted_as_those_in_memory(both):
    lazy = load(data(plant=PLANT, image_size=16, memory_limit_mb=0), seed=3)
    held = load(data(plant=PLANT, image_size=16), seed=3)
    assert isinstance(lazy.pixels, Overlay)
    rng = np.random.default_rng(0)
    ids = rng.permutation(held.ids)[:700]
    np.testing.assert_array_equal(lazy.read(ids), held.read(ids))
    np.testing.assert_array_equal(lazy.keys, held.keys)
    assert lazy.fingerprint == held.fingerprint
    assert len(np.unique(hashed(np.arange(100_000), 5))) == 100_000


def test_partitions_hold_kinds_in_proportion_and_the_record_counts_them():
    sizes = {"shared": 0.5, "candidate": 0.25, "independent": 0.25, "extra": 0.1}
    spec = parse_spec(
        {"name": "a", "data": {"name": "digits", "plant": {"duplicates": 80, "noisy": 80}}, "partition": sizes}, where="t"
    )
    samples = load_samples(spec)
    found = samples.record["planted"]
    assert {name: found[name] for name in ("duplicate", "noisy")} == {
        name: {"shared": 40, "candidate": 20, "independent": 20} for name in ("duplicate", "noisy")
    }
    codes = samples.codes[samples.dataset.planted == PLANTED_CODE["noisy"]]
    assert (codes == PARTITION_CODE["candidate"]).sum() == 20
    assert any(
        "planted by data.plant: 80 duplicate (40 shared, 20 candidate, 20 independent)" in line for line in lines(samples.record)
    )


def test_older_studies_have_the_hash_that_they_had():
    spec = {"name": "a", "data": {"name": "digits"}, "downstream": {"tasks": [{"name": "mnist5k"}]}}
    one = parse_spec(spec, where="t")
    written = one.as_dict()
    assert written["data"]["plant"] is None
    planted = parse_spec({**spec, "data": {"name": "digits", "plant": {"noisy": 1}}}, where="t")
    assert one.hash != planted.hash
    assert one.hash == "4a1b302092a8a58c"  # of the version before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"plant": {"duplicates": 1000}},
            "2,000 samples are needed, originals of duplicates among them, the train split has 1,438",
        ),
        ({"plant": {"noisy": 0}}, "nothing is planted"),
        ({"plant": {"nosy": 3}}, "nosy"),
        (
            {"plant": {"noisy": 3}, "groups": "near_duplicates"},
            "data.plant replaces images, data.groups is of those before: give one",
        ),
    ],
)
def test_bad_plants_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        load(parse_spec({"name": "a", "data": {"name": "digits", **spec}}, where="t").data)


def test_tasks_are_not_planted():
    with pytest.raises(UserError, match="planted in the study's own data alone"):
        parse_spec(
            {"name": "a", "data": {"name": "digits"}, "downstream": {"tasks": [{"name": "mnist5k", "plant": {"noisy": 1}}]}},
            where="t",
        )
