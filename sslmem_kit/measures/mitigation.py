"""Choice of the candidates that are treated while family f trains: those that it memorizes most at the time, against g after as many epochs.

g of a seed is trained first. After the epochs at which f chooses it is scored, and the candidates' alignment is kept in its folder; f is
scored in the same views and takes the highest differences. These views are others after each of these epochs, and others than those
that a study is scored in: what is measured in the end has not chosen. Shared samples cannot be scored by a pair, for both saw them.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.errors import UserError
from sslmem_kit.measures.alignment import measure
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.mitigation import MitigationSpec
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store import mean_of_pairs
from sslmem_kit.store.files import write_atomically
from sslmem_kit.training.mitigation import Chooser


def recorder(spec: StudySpec, samples: StudySamples, loader: ImageLoader, folder: Path, epochs: tuple[int, ...]) -> Chooser:
    """Return what keeps the candidates' alignment under g, after some epochs of its training, in its folder."""

    def record(encoder: Encoder, epoch: int) -> None:
        buffer = io.BytesIO()
        ids = candidates(samples)
        np.savez(buffer, sample=ids, alignment=alignment_of(spec, encoder, ids, loader, epoch))
        path = kept_alignment(folder, epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())

    return Chooser(epochs, record)


def chooser(
    spec: StudySpec, plan: EncoderPlan, samples: StudySamples, loader: ImageLoader, mitigation: MitigationSpec, partner: Path
) -> Chooser:
    """Return what chooses the candidates that are treated while f trains.

    Parameters
    ----------
    spec, plan
        Study, and the plan of an encoder of family f.
    samples, loader
        Samples of the study and their images.
    mitigation
        How many are chosen, when, and by what.
    partner
        Folder of g of the same seed, which is trained.
    """
    ids = candidates(samples)
    count = mitigation.count(len(ids))

    def choose(encoder: Encoder, epoch: int) -> np.ndarray:
        if mitigation.by == "random":
            rng = np.random.Generator(np.random.Philox(derive_seed(plan.seed, "mitigation", epoch)))
            return np.sort(rng.permutation(ids)[:count])
        kept = read_alignment(kept_alignment(partner, epoch), ids)
        if kept is None:
            raise UserError(
                f"{kept_alignment(partner, epoch)} is missing or damaged, {plan.id} cannot be scored against it; remove {partner} and run the "
                "same command again"
            )
        difference = kept - alignment_of(spec, encoder, ids, loader, epoch)
        # Ties: the smaller id ranks higher.
        return np.sort(ids[np.lexsort((ids, -difference))[:count]])

    return Chooser(mitigation.choice_epochs(spec.training.epochs), choose)


def candidates(samples: StudySamples) -> np.ndarray:
    """Return the ids of the candidates, ascending."""
    return np.sort(samples.dataset.ids[samples.codes == PARTITION_CODE["candidate"]])


def alignment_of(spec: StudySpec, encoder: Encoder, ids: np.ndarray, loader: ImageLoader, epoch: int) -> np.ndarray:
    """Return the mean alignment of samples in views that belong to an epoch alone, (sample,) float32.

    Raises
    ------
    FloatingPointError
        Representations are not finite.
    """
    scoring = spec.scoring
    distances = measure(
        encoder,
        loader,
        ids,
        views=scoring.views,
        policy=scoring.policy or spec.training.policy,
        seed=derive_seed(spec.seed, "mitigation views", epoch),
        batch_size=scoring.batch_size,
        precision=scoring.precision,
    )
    assert isinstance(distances, np.ndarray), "an encoder by itself has no layers"
    found = mean_of_pairs(distances, scoring.views)
    if not np.isfinite(found).all():
        raise FloatingPointError
    return found


def kept_alignment(folder: Path, epoch: int) -> Path:
    """Return the path of the candidates' alignment under an encoder after some epochs."""
    return folder / "mitigation" / f"{epoch}.npz"


def read_alignment(path: Path, ids: np.ndarray) -> np.ndarray | None:
    """Return what :func:`recorder` kept of these samples; None where it is missing, damaged or of others."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["alignment"] if np.array_equal(archive["sample"], ids) else None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError):
        return None


def has_recorded(samples: StudySamples, folder: Path, epochs: tuple[int, ...]) -> bool:
    """Return whether g's folder has what f needs after each of these epochs."""
    ids = candidates(samples)
    return all(read_alignment(kept_alignment(folder, epoch), ids) is not None for epoch in epochs)
