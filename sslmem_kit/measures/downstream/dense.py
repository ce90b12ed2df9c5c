"""Fine-tuning of an encoder and a decoder for a dense task, resumable bit-identically, and measures over the test split."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sslmem_kit.data.datasets.dense import DenseDataset
from sslmem_kit.data.loader import to_float
from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.encoders.device import plain_float32
from sslmem_kit.errors import UserError
from sslmem_kit.measures.downstream.dense_model import DenseModel
from sslmem_kit.measures.downstream.depth import Depth
from sslmem_kit.measures.downstream.segmentation import Segmentation
from sslmem_kit.spec.dense import DenseSpec
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.store.files import write_atomically
from sslmem_kit.training import checkpoints
from sslmem_kit.views.dense import make_dense_views

MOMENTUM = 0.9
TEST_BATCH = 16
"""Test images in a forward pass."""
RESAMPLES = 1000
"""Resamples of the test images from which an interval over them follows."""

Task = Segmentation | Depth
OnEpoch = Callable[[int, float], None]


def build_task(spec: DenseSpec, data: DenseDataset) -> Task:
    """Return loss and measures of a task."""
    if spec.task == "segmentation":
        return Segmentation(data.class_names, data.record["train_share"])
    return Depth(data.record["train_mean"])


def fine_tune(
    spec: DenseSpec,
    data: DenseDataset,
    encoder: Encoder,
    *,
    frozen: bool,
    calibrate: bool = False,
    seed: int,
    checkpoint: Path,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
) -> dict[str, Any]:
    """Fine-tune a decoder, with its encoder or on top of it, and measure it on the test split.

    Parameters
    ----------
    spec
        Task, decoder and schedule.
    data
        Images and targets.
    encoder
        The encoder, which is changed.
    frozen
        True: the encoder's weights and statistics stay.
    calibrate
        True: the statistics of a frozen encoder's batch norms are first taken from one pass over the train split: initial weights have none.
    seed
        Seed of the decoder's initial weights, of batches and of augmentations.
    checkpoint
        File that an interrupted training resumes from; removed when it is done.
    device
        Device on which it is done.
    on_epoch
        Called with the number of finished epochs and the mean loss after each of them.

    Returns
    -------
    ``measures``, each with ``value`` and ``interval`` (95 %, bootstrap over test images, given this model); ``constant``, the same measures of
    the prediction that needs no image; ``loss`` by epoch; ``n_test`` images, ``n_pixels``, ``parameters``, ``seconds``, and ``details``.

    Raises
    ------
    UserError
        The training diverged, or the checkpoint is damaged or of another training.
    """
    started, task = time.monotonic(), build_task(spec, data)
    side, _, channels = data.image_shape
    with torch.random.fork_rng(devices=[]), plain_float32():
        torch.manual_seed(derive_seed(seed, "decoder"))
        model = DenseModel(
            encoder,
            spec.decoder_name,
            width=spec.decoder_channels,
            side=side,
            channels=channels,
            outputs=task.outputs,
            frozen=frozen,
        ).to(device)
        if frozen and calibrate and not checkpoint.exists():
            _calibrate(model, spec, data, device)
        losses, seconds = _train(spec, data, task, model, seed, checkpoint, device, on_epoch)
        counts, constant = _test(model, task, data, device)
    measures = task.measure(counts.sum(axis=0))
    intervals = _intervals(task, counts, seed=derive_seed(seed, "bootstrap"))
    checkpoint.unlink(missing_ok=True)
    return {
        "measures": {name: {"value": float(measures[name]), "interval": intervals[name]} for name in task.metrics},
        "constant": {name: float(value) for name, value in task.measure(constant.sum(axis=0)).items()},
        "loss": losses,
        "n_test": len(counts),
        "n_pixels": task.pixels(counts),
        "parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "seconds": round(seconds + time.monotonic() - started, 3),
        "details": task.details(counts),
    }


def _train(
    spec: DenseSpec,
    data: DenseDataset,
    task: Task,
    model: DenseModel,
    seed: int,
    checkpoint: Path,
    device: str,
    on_epoch: OnEpoch | None,
) -> tuple[list[float], float]:
    """Train a model in place; return the mean loss of each epoch, and the seconds of earlier runs."""
    places = np.flatnonzero(~data.is_test)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if spec.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            parameters, lr=spec.learning_rate, momentum=MOMENTUM, weight_decay=spec.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay)
    losses, before = _resume(checkpoint, model, optimizer, device)
    started = saved = time.monotonic()
    steps = -(-len(places) // spec.batch_size)
    for epoch in range(len(losses), spec.epochs):
        # Every epoch starts from seeds of its own: one that resumes goes on as if there had been no interruption.
        torch.manual_seed(derive_seed(seed, "epoch", epoch))
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch))).numpy()
        model.train()
        total = 0.0
        for step, chosen in enumerate(np.array_split(order, steps), epoch * steps):
            rate = poly_rate(spec, step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            images, targets = _augmented(spec, task, data, places[chosen], seed, epoch, device)
            loss = task.loss(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(chosen)
        losses.append(total / len(places))
        if not np.isfinite(losses[-1]):
            raise UserError(
                f"learning_rate: the training diverged at {spec.learning_rate} in epoch {epoch + 1}, its loss is not finite; lower it or "
                "raise warmup_epochs"
            )
        if on_epoch is not None:
            on_epoch(epoch + 1, losses[-1])
        if time.monotonic() - saved > spec.checkpoint_seconds and epoch + 1 < spec.epochs:
            saved = time.monotonic()
            _save(checkpoint, model, optimizer, losses, before + saved - started)
    return losses, before


def poly_rate(spec: DenseSpec, step: int, steps_of_epoch: int) -> float:
    """Return the learning rate of a step: a linear warm-up times the polynomial schedule, which falls to zero after the last step.

    Examples
    --------
    >>> spec = DenseSpec(name="one", task="depth", data={"name": "scenes"}, epochs=10)
    >>> [round(poly_rate(spec, step, 1), 4) for step in (0, 5, 9)]
    [0.02, 0.0107, 0.0025]
    """
    total, warm = spec.epochs * steps_of_epoch, spec.warmup_epochs * steps_of_epoch
    return spec.learning_rate * (1 - step / total) ** spec.power * min(1.0, (step + 1) / (warm + 1))


def _augmented(
    spec: DenseSpec, task: Task, data: DenseDataset, places: np.ndarray, seed: int, epoch: int, device: str
) -> tuple[Tensor, Tensor]:
    """Return images in [0, 1] and targets of an epoch, moved together."""
    images, targets = _on_device(data, places, device)
    ids = torch.from_numpy(places).to(device)
    return make_dense_views(images, targets, ids, view=epoch, seed=derive_seed(seed, "views"), policy=spec.policy, fill=task.fill)


def _on_device(data: DenseDataset, places: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    images, targets = data.read(places)
    return to_float(torch.from_numpy(images).to(device)), torch.from_numpy(targets).to(device)


def _calibrate(model: DenseModel, spec: DenseSpec, data: DenseDataset, device: str) -> None:
    """Take the statistics of the encoder's batch norms from one pass over the train split."""
    encoder = model.pyramid.encoder
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    with torch.no_grad():
        for images, _ in _batches(data, np.flatnonzero(~data.is_test), spec.batch_size, device):
            model.pyramid(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.eval()


def _batches(data: DenseDataset, places: np.ndarray, size: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    for chosen in np.array_split(places, -(-len(places) // size)):
        yield _on_device(data, chosen, device)


@torch.no_grad()
def _test(model: DenseModel, task: Task, data: DenseDataset, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Return counts by test image of the model, and of the prediction that needs no image."""
    model.eval()
    counts, constant = [], []
    for images, targets in _batches(data, np.flatnonzero(data.is_test), TEST_BATCH, device):
        counts.append(task.count(task.predict(model(images)), targets))
        constant.append(task.count(task.constant(targets), targets))
    return np.concatenate(counts), np.concatenate(constant)


def _intervals(task: Task, counts: np.ndarray, *, seed: int) -> dict[str, list[float]]:
    """Return 95 % intervals of the measures by the bootstrap over test images, the model given."""
    rng = np.random.default_rng(seed)
    n = len(counts)
    found: dict[str, list[np.ndarray]] = {name: [] for name in task.metrics}
    for _ in range(RESAMPLES // 50):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=50)
        for name, values in task.measure(np.tensordot(weights, counts, axes=1)).items():
            found[name].append(values)
    return {name: [float(end) for end in np.nanquantile(np.concatenate(parts), [0.025, 0.975])] for name, parts in found.items()}


def _save(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, losses: list[float], seconds: float) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses, "seconds": seconds}, buffer)
    write_atomically(checkpoint, buffer.getvalue())


def _resume(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> tuple[list[float], float]:
    """Load a checkpoint, where there is one; return the losses of the finished epochs and the seconds that they took."""
    if not checkpoint.exists():
        return [], 0.0
    state = checkpoints.read(checkpoint, device)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return list(state["losses"]), float(state["seconds"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{checkpoint}: it is of another training ({reason}); delete it to train anew") from None
