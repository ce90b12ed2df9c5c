"""Encoders of tables, for `audit.yaml`: SimCLR on scikit-learn's breast cancer data, a pair f and g on different rows.

`python tumours.py` trains both in seconds and writes, here, their weights and the ids of the rows that they were trained on.
"""

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_breast_cancer
from torch import nn

from sslmem_kit.views.features import perturbed


def load():
    """What `source` names: ids, an array (sample, ...), labels. Columns are standardized."""
    data = load_breast_cancer()
    values = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    return np.arange(len(values)), values.astype(np.float32), data.target_names[data.target]


def make_encoder(width=64):
    """What `factory` names: the encoder, without weights."""
    return nn.Sequential(nn.Linear(30, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 32))


def train(values, ids, seed, epochs=100):
    """An encoder that has seen the rows `ids`, by SimCLR's loss."""
    torch.manual_seed(seed)
    encoder = make_encoder()
    optimizer = torch.optim.Adam(encoder.parameters(), 2e-3)
    rows, keys = torch.from_numpy(values[ids]), torch.from_numpy(ids)
    for epoch in range(epochs):
        for part in torch.randperm(len(ids)).split(100):
            views = [perturbed(rows[part], keys[part], 2 * epoch + number, seed) for number in (1, 2)]
            units = nn.functional.normalize(encoder(torch.cat(views)), dim=1)
            similarity = (units @ units.T / 0.2).fill_diagonal_(-torch.inf)
            other = torch.arange(len(units)).roll(len(part))
            loss = nn.functional.cross_entropy(similarity, other)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return encoder


def main():
    """Both share 300 rows; 100 are f's alone, 100 g's alone, and 69 are seen by neither."""
    ids, values, _ = load()
    order = np.random.default_rng(0).permutation(ids)
    for family, own in (("f", order[300:400]), ("g", order[400:500])):
        seen = np.sort(np.concatenate([order[:300], own]))
        save_file(train(values, seen, seed=0).state_dict(), f"{family}-0.safetensors")
        np.savetxt(f"{family}-0.csv", seen, fmt="%d", header="sample", comments="")


if __name__ == "__main__":
    main()
