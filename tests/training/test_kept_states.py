"""States that training keeps for comparisons: whole, of the recorded epochs, with what has two names once, and of no other run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sslmem_kit.errors import UserError
from sslmem_kit.training.checkpoints import keep_state, kept_epochs, load_state


class TwoNames(nn.Module):
    """A layer under two names, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.second = nn.Sequential(self.first, nn.BatchNorm1d(2))


def test_a_state_is_loaded_as_it_was_kept(tmp_path: Path) -> None:
    kept, other = TwoNames(), TwoNames()
    kept.second[1].running_mean += 1.5
    keep_state(tmp_path, 20, kept)
    keep_state(tmp_path, 5, other)
    assert kept_epochs(tmp_path) == [5, 20]
    loaded = TwoNames()
    load_state(tmp_path, 20, loaded, "cpu")
    for name, tensor in kept.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.first is loaded.second[0]


def test_a_state_of_another_objective_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    keep_state(tmp_path, 1, TwoNames())
    with pytest.raises(UserError, match=r"1\.safetensors: the kept state cannot be loaded"):
        load_state(tmp_path, 1, nn.Linear(3, 2), "cpu")
    partial = nn.Module()
    partial.first = nn.Linear(3, 2)
    keep_state(tmp_path, 2, partial)
    with pytest.raises(UserError, match="does not fit"):
        load_state(tmp_path, 2, TwoNames(), "cpu")
    path = tmp_path / "checkpoints" / "1.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_state(tmp_path, 1, TwoNames(), "cpu")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_state(tmp_path, 7, TwoNames(), "cpu")
