"""What the classifier of a supervised encoder says of its samples: the probability of the own class, and whether it is the most probable.

The classifier is not part of an encoder's weights; it is read from the last state of the objective that training kept. Samples of the test
split are classified too, for the influence of training samples on them.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from sslmem_kit.data.loader import in_batches
from sslmem_kit.encoders.device import plain_float32
from sslmem_kit.errors import UserError
from sslmem_kit.measures.comparisons.subject import Subject
from sslmem_kit.names import SAMPLE
from sslmem_kit.spec.comparisons import SupervisedScoreSpec
from sslmem_kit.training.objectives import Objective
from sslmem_kit.views import several_views

TEST_SAMPLE = "test_sample"


def measure(subject: Subject, options: SupervisedScoreSpec) -> xr.Dataset:
    """Measure how an encoder's classifier finds its samples.

    Parameters
    ----------
    subject
        Encoder that was trained with ``objective.method: supervised``.
    options
        ``over``: the clean image, or the mean over the views that are scored.

    Returns
    -------
    ``probability``, of the own class by softmax, and ``correct``, 1 where it is the most probable, both float32 on ``sample``; of samples of
    the test split ``test_probability`` and ``test_correct`` on ``test_sample``. Over views both are means.

    Raises
    ------
    UserError
        Its training has no classifier, or kept no state.

    References
    ----------
    Feldman, STOC 2020; the paper, section 4.5, for softmax in place of correctness.
    """
    objective = classifier_of(subject)
    dataset, samples = subject.samples.dataset, subject.samples
    test = dataset.ids[samples.probe_test]
    found = {}
    for prefix, ids, dim in (("", subject.ids, SAMPLE), ("test_", test, TEST_SAMPLE)):
        probability, correct = own_class(subject, objective, ids, views=options.over == "views")
        found |= {
            f"{prefix}probability": (dim, probability, {"long_name": "softmax probability of the own class"}),
            f"{prefix}correct": (dim, correct, {"long_name": "own class is the most probable"}),
        }
    return xr.Dataset(found, {SAMPLE: subject.ids, TEST_SAMPLE: test}, {"over": options.over})


def classifier_of(subject: Subject) -> Objective:
    """Return the objective of a supervised encoder at the end of its training.

    Raises
    ------
    UserError
        Its training has no classifier, or kept no state.
    """
    if subject.spec.objective.method != "supervised":
        raise UserError(
            f"objective.method: {subject.spec.objective.method!r} has no classifier, which the comparison supervised reads; compare studies of "
            "objective.method supervised"
        )
    epochs = subject.spec.training.epochs
    if not subject.checkpoints or subject.checkpoints[-1].epoch != epochs:
        raise UserError(
            f"comparisons: the classifier of {subject.plan.id} was not kept when it was trained; run the study with comparisons: [supervised] "
            "into a new folder"
        )
    return subject.checkpoints[-1].load()


@torch.inference_mode()
def own_class(subject: Subject, objective: Objective, ids: np.ndarray, *, views: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the own class, and whether it is the most probable.

    Parameters
    ----------
    subject
        The encoder's study, samples and images.
    objective
        With ``classifier``.
    ids
        Samples that are classified.
    views
        Classify the views that are scored, and average over them, in place of the clean image.

    Returns
    -------
    (sample,) float32 twice.
    """
    scoring, labels = subject.spec.scoring, subject.samples.dataset.labels[subject.samples.dataset.positions(ids)]
    encoder, classifier = objective.encoder, objective.get_submodule("classifier")
    probability, correct, start = np.empty(len(ids), np.float32), np.empty(len(ids), np.float32), 0
    batches = in_batches(ids, max(1, scoring.batch_size // (scoring.views if views else 1)))
    with plain_float32():
        for chosen, images in zip(batches, subject.loader.batches(batches), strict=True):
            part = slice(start, start + len(chosen))
            own = torch.from_numpy(labels[part]).to(images.device)
            shown: tuple[Tensor, ...] = (images,)
            if views:
                assert scoring.policy is not None  # of a resolved spec
                keys = torch.from_numpy(chosen).to(images.device)
                numbers = range(1, scoring.views + 1)
                shown = several_views(images, keys, views=numbers, seed=subject.spec.view_seed, policy=scoring.policy)
            logits = torch.stack([classifier(encoder.pool(encoder(view))).float() for view in shown])
            softmax = nn.functional.softmax(logits, dim=2)
            chance = softmax.gather(2, own.expand(len(shown), -1)[..., None])[..., 0]
            probability[part] = chance.mean(dim=0).cpu().numpy()
            correct[part] = (logits.argmax(dim=2) == own).float().mean(dim=0).cpu().numpy()
            start += len(chosen)
    return probability, correct
