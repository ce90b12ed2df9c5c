"""Tasks take the size and the channels of the study's images, and the study's test split."""

import numpy as np
import pytest

from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.measures.downstream.tasks import load_task
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.loading import parse_spec


@pytest.fixture
def colours(tmp_path) -> DataSpec:
    images = np.zeros((20, 12, 12, 3), np.uint8)
    images[:10, ..., 0] = 200  # red
    images[10:, ..., 2] = 100  # blue
    np.savez(tmp_path / "colours.npz", images=images, labels=np.repeat([0, 1], 10))
    return DataSpec(name=f"npz:{tmp_path / 'colours.npz'}")


def test_a_task_on_the_studys_data_is_the_studys_data() -> None:
    study = load_samples(parse_spec({"name": "s", "seed": 7, "data": {"name": "digits"}}, where="spec")).dataset
    task = load_task(DataSpec(name="digits"), study.image_shape, seed=7)
    assert task.fingerprint == study.fingerprint
    assert load_task(DataSpec(name="digits"), study.image_shape, seed=8).fingerprint != study.fingerprint


def test_grey_is_repeated_and_enlarged() -> None:
    task = load_task(DataSpec(name="digits"), (20, 20, 3), seed=0)
    images = task.read(task.ids[:5])
    assert task.image_shape == images.shape[1:] == (20, 20, 3)
    np.testing.assert_array_equal(images, np.repeat(images[..., :1], 3, axis=3))
    assert images.std() > 50


def test_colours_become_grey_by_luma(colours: DataSpec) -> None:
    task = load_task(colours, (8, 8, 1), seed=0)
    images = task.read(task.ids)
    assert images.shape == (20, 8, 8, 1)
    np.testing.assert_allclose(images[:10], 0.299 * 200, atol=1)
    np.testing.assert_allclose(images[10:], 0.114 * 100, atol=1)


def test_colours_stay(colours: DataSpec) -> None:
    task = load_task(colours, (8, 8, 3), seed=0)
    assert task.read([0])[0, 0, 0].tolist() == [200, 0, 0]
    assert 0 < task.is_test.sum() < 10


def test_data_that_is_not_there(tmp_path) -> None:
    with pytest.raises(UserError, match="not there"):
        load_task(DataSpec(name=f"npz:{tmp_path / 'gone.npz'}"), (8, 8, 1), seed=0)
