"""The classifier's outputs against a plain forward pass, one image at a time; a study without a classifier or a kept state is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sslmem_kit.data.loader import image_loader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.measures.comparisons.subject import Checkpoint, Subject
from sslmem_kit.measures.comparisons.supervised import measure
from sslmem_kit.spec.comparisons import SupervisedScoreSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.training.setup import new_objective
from sslmem_kit.views import several_views


def subject(method: str = "supervised", **fields: Any) -> Subject:
    """A tiny encoder of digits with its initial weights."""
    spec = parse_spec(
        {
            "name": "tiny",
            "data": {"name": "digits"},
            "encoder": {"backbone": "resnet18", "options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}},
            "objective": {"method": method},
            "training": {"epochs": 2, "seeds": 1, "warmup_epochs": 1},
            "scoring": {"views": 3, "batch_size": 50},
            **fields,
        },
        where="test",
    )
    spec = spec.model_copy(update={"scoring": spec.scoring.model_copy(update={"policy": spec.training.policy})})
    samples, plan = load_samples(spec), spec.encoders[0]
    objective = new_objective(spec, plan, samples, "cpu").eval()
    loader = image_loader(samples.dataset, "cpu")
    ids = samples.dataset.ids[samples.scored][:120]
    return Subject(spec, plan, samples, objective.encoder, loader, ids, (Checkpoint(2, 0.1, lambda: objective),))


@pytest.mark.parametrize("over", ["clean", "views"])
@torch.inference_mode()
def test_it_is_softmax_of_a_plain_forward_pass(over: str) -> None:
    one = subject()
    found = measure(one, SupervisedScoreSpec(name="supervised", over=over))
    objective, dataset = one.checkpoints[-1].load(), one.samples.dataset
    for prefix, dim, ids in (("", "sample", one.ids), ("test_", "test_sample", dataset.ids[dataset.is_test])):
        assert found[dim].values.tolist() == ids.tolist()
        for number in ids[:: len(ids) // 9]:
            image = next(iter(one.loader.batches([np.array([number])])))
            shown = [image]
            if over == "views":
                key = torch.tensor([number])
                shown = several_views(image, key, views=range(1, 4), seed=one.spec.view_seed, policy=one.spec.scoring.policy)
            label = int(dataset.labels[dataset.positions(np.array([number]))[0]])
            logits = [objective.classifier(objective.encoder.pool(objective.encoder(view)))[0] for view in shown]
            softmax = np.mean([float(torch.exp(values - values.logsumexp(0))[label]) for values in logits])
            right = np.mean([int(values.argmax()) == label for values in logits])
            assert found[f"{prefix}probability"].sel({dim: number}).item() == pytest.approx(softmax, abs=1e-5)
            assert found[f"{prefix}correct"].sel({dim: number}).item() == pytest.approx(right)


def test_other_methods_are_refused() -> None:
    with pytest.raises(UserError, match=r"'simclr' has no classifier, .*; compare studies of objective\.method supervised"):
        measure(subject("simclr"), SupervisedScoreSpec(name="supervised"))


def test_a_study_that_kept_no_state_is_refused() -> None:
    one = subject()
    for checkpoints in ((), (replace(one.checkpoints[0], epoch=1),)):
        with pytest.raises(
            UserError, match=r"the classifier of f-0 was not kept .* run the study with comparisons: \[supervised\]"
        ):
            measure(replace(one, checkpoints=checkpoints), SupervisedScoreSpec(name="supervised"))
