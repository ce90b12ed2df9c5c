"""Pooled representations in memory and in a file."""

import numpy as np
import pytest
import torch

from sslmem_kit.data import load
from sslmem_kit.data.loader import image_loader
from sslmem_kit.measures import features
from sslmem_kit.measures.features import pooled_features
from sslmem_kit.spec.data import DataSpec


class Pixels(torch.nn.Module):
    """Encoder whose representation is the image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def pool(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_a_file_holds_what_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load(DataSpec(name="digits"), seed=0)
    ids = data.ids[:100]
    found = pooled_features(Pixels(), image_loader(data, "cpu"), ids, batch_size=32)  # with a rest
    assert not isinstance(found, np.memmap)
    np.testing.assert_allclose(found, data.read(ids).reshape(100, -1) / np.float32(255), rtol=1e-6)
    monkeypatch.setattr(features, "IN_MEMORY", found.nbytes - 1)
    stored = pooled_features(Pixels(), image_loader(data, "cpu"), ids, batch_size=32)
    assert isinstance(stored, np.memmap)
    np.testing.assert_array_equal(stored, found)
    assert pooled_features(Pixels(), image_loader(data, "cpu"), ids[:0], batch_size=32).shape == (0, 0)
