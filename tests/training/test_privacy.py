"""DP-SGD: exact gradients of single samples, their bound, the noise, random batches, the accountant, and what is refused."""

from __future__ import annotations

import math
import shutil
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.errors import UserError
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.objective import MAESpec, RegularizerSpec, SupervisedSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.spec.training import PrivacySpec
from sslmem_kit.statistics.privacy_audit import epsilon_of_gaussian
from sslmem_kit.training import sample_gradients as by_sample
from sslmem_kit.training.loop import train
from sslmem_kit.training.objectives import Batch, Objective, build_objective
from sslmem_kit.training.privacy import PrivateGradients, clip_factors, noise_multiplier, spent_epsilon
from sslmem_kit.training.sample_gradients import sample_gradients, trained
from sslmem_kit.views import sample_keys

SIDE, CLASSES = 12, 3
METHODS = {
    "mae": MAESpec(decoder_dim=8, decoder_depth=1, decoder_heads=2),
    "supervised": SupervisedSpec(label_smoothing=0.1),
    "regularized": MAESpec(decoder_dim=8, decoder_depth=1, decoder_heads=2, regularizer=RegularizerSpec(weight=0.3)),
}
VIT = BackboneSpec(backbone="vit_tiny_patch16_224", options={"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2})


@pytest.fixture(autouse=True)
def _own_chance():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def make_objective(method: str = "mae", encoder: BackboneSpec = VIT) -> Objective:
    objective = build_objective(build_encoder(encoder, (SIDE, SIDE, 2)), METHODS[method], classes=CLASSES)
    objective.regularized = method == "regularized"
    return objective


def make_batch(count: int = 5, views: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = tuple(torch.rand(count, 2, SIDE, SIDE, generator=generator) for _ in range(views))
    return Batch(images, sample_keys(2, torch.arange(count), 0), torch.arange(count) % CLASSES)


def make_private(objective: Objective, **options: float) -> PrivateGradients:
    spec = PrivacySpec(**{"epsilon": 8.0, "clip_norm": 0.5, **options})
    return PrivateGradients(objective, spec, samples=100, batch=10, steps=20)


def by_loop(objective: Objective, batch: Batch) -> tuple[list[dict[str, Tensor]], list[Tensor]]:
    """The slow way: a backward pass for each sample."""
    gradients, losses = [], []
    for i in range(len(batch.keys)):
        objective.zero_grad()
        one = slice(i, i + 1)
        loss = objective(Batch(tuple(view[one] for view in batch.views), batch.keys[one], batch.labels[one]))
        loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in trained(objective)})
        losses.append(loss.detach())
    objective.zero_grad()
    return gradients, losses


def flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients.values()])


def current(objective: Objective) -> Tensor:
    return flat({name: parameter.grad for name, parameter in trained(objective)})


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_samples_are_those_of_single_backward_passes(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_sample, "CHUNK_SAMPLES", 2)
    objective, batch = make_objective(method), make_batch(5)
    chunks = list(sample_gradients(objective, batch))
    assert [len(losses) for _, losses in chunks] == [2, 2, 1]
    expected, losses = by_loop(objective, batch)
    got = [
        {name: gradient[i] for name, gradient in chunk.items()} for chunk, chunk_losses in chunks for i in range(len(chunk_losses))
    ]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        assert all(gradient.abs().max() > 0 for gradient in one.values())
    torch.testing.assert_close(torch.cat([losses for _, losses in chunks]), torch.stack(losses), rtol=1e-5, atol=1e-5)
    # The samples differ, so does what they are given: a mask or label shared by all would not be noticed otherwise.
    assert all((flat(one) - flat(other)).abs().max() > 1e-3 for one, other in pairwise(got))


def test_the_objective_keeps_its_own_parameters() -> None:
    objective = make_objective()
    before = {
        name: (id(parameter), parameter.detach().clone()) for name, parameter in objective.named_parameters(remove_duplicate=False)
    }
    make_private(objective).backward(make_batch())
    for name, parameter in objective.named_parameters(remove_duplicate=False):
        assert (id(parameter), True) == (before[name][0], torch.equal(parameter, before[name][1])), name


def test_dropout_differs_from_sample_to_sample_and_follows_torchs_generator() -> None:
    objective = make_objective(
        "supervised", VIT.model_copy(update={"options": {**VIT.options, "proj_drop_rate": 0.5, "drop_path_rate": 0.2}})
    )
    alike = Batch((torch.full((4, 2, SIDE, SIDE), 0.5),), torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses += [loss for _, loss in sample_gradients(objective, alike)]
    assert len(set(losses[0].tolist())) == 4
    assert torch.equal(*losses)


def test_the_gradient_is_the_clipped_sum_plus_noise_over_the_expected_batch() -> None:
    objective, batch = make_objective(), make_batch(6)
    gradients, losses = by_loop(objective, batch)
    norms = torch.stack([flat(gradient).norm() for gradient in gradients])
    clip = norms.median().item()  # some are clipped, some are not
    private = make_private(objective, clip_norm=clip)
    private.noise_multiplier = 0.0
    loss = private.backward(batch)
    expected = (
        sum(flat(gradient) * min(1.0, clip / norm.item()) for gradient, norm in zip(gradients, norms, strict=True)) / private.batch
    )
    torch.testing.assert_close(current(objective), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss, torch.stack(losses).sum() / private.batch)


@pytest.mark.parametrize("method", METHODS)
def test_without_noise_and_clipping_a_step_is_an_ordinary_one(method: str) -> None:
    objective, batch = make_objective(method), make_batch(10)
    objective(batch).backward()
    ordinary = current(objective).clone()
    objective.zero_grad()
    private = make_private(objective, clip_norm=1e6)
    private.noise_multiplier = 0.0
    private.backward(batch)
    torch.testing.assert_close(current(objective), ordinary, rtol=1e-4, atol=1e-6)


def test_no_sample_moves_the_sum_by_more_than_the_clipping_norm() -> None:
    objective, batch = make_objective("supervised"), make_batch(6)
    private = make_private(objective, clip_norm=0.05)
    private.noise_multiplier = 0.0  # each call has its own
    private.backward(batch)
    full = current(objective) * private.batch
    for left_out in range(6):
        rest = torch.arange(6) != left_out
        private.backward(Batch(tuple(view[rest] for view in batch.views), batch.keys[rest], batch.labels[rest]))
        moved = (full - current(objective) * private.batch).norm()
        assert 0.04 < moved <= 0.05 * (1 + 1e-4)


def test_clip_factors_leave_small_gradients_and_zeros_alone() -> None:
    gradients = {"a": torch.tensor([[3.0], [0.3], [0.0]]), "b": torch.tensor([[[4.0]], [[0.4]], [[0.0]]])}
    torch.testing.assert_close(clip_factors(gradients, 1.0), torch.tensor([0.2, 1.0, 1.0]))


def test_the_noise_has_the_standard_deviation_that_the_accountant_assumes() -> None:
    objective = make_objective()
    private = make_private(objective)
    loss = private.backward(None)
    noise = current(objective)
    expected = private.noise_multiplier * 0.5 / private.batch
    assert loss == 0
    assert len(noise) > 5000
    assert noise.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * len(noise)))
    assert abs(noise.mean().item()) < 5 * expected / math.sqrt(len(noise))
    # No number is used twice, neither in a step nor in two.
    assert len(noise.unique()) > 0.99 * len(noise)
    private.backward(None)
    assert abs(torch.corrcoef(torch.stack([noise, current(objective)]))[0, 1]) < 5 / math.sqrt(len(noise))


def test_noise_comes_on_top_of_samples_and_from_no_seed() -> None:
    """Two trainings of one seed, as f and g of a pair are, and two of one process differ in noise and batches."""
    objective, batch = make_objective(), make_batch()
    occupied, noises, batches = torch.ones(100, dtype=torch.bool), [], []
    for _ in range(3):
        torch.manual_seed(0)
        np.random.seed(0)
        private = make_private(objective)
        private.backward(None)
        noises.append(current(objective))
        batches.append(private.sample_batch(occupied))
    correlations = torch.corrcoef(torch.stack(noises))[[0, 0, 1], [1, 2, 2]]
    assert correlations.abs().max() < 5 / math.sqrt(len(noises[0]))
    assert not torch.equal(batches[0], batches[1])
    private = make_private(objective)
    state = private._random.bit_generator.state
    private.backward(batch)
    both = current(objective)
    private._random.bit_generator.state = state
    private.backward(None)
    noise = current(objective)
    private.noise_multiplier = 0.0
    private.backward(batch)
    torch.testing.assert_close(both - noise, current(objective), rtol=0, atol=1e-6)


def test_batches_take_each_occupied_slot_with_the_sampling_rate() -> None:
    private = make_private(make_objective())
    occupied = torch.ones(100, dtype=torch.bool)
    occupied[::5] = False
    batches = [private.sample_batch(occupied) for _ in range(1000)]
    taken = torch.bincount(torch.cat(batches), minlength=100)
    assert not taken[::5].any()
    # Each count is binomial(1000, 0.1): mean 100, standard deviation 9.5.
    assert ((taken[occupied] - 100).abs() < 5 * 9.5).all()
    assert taken[occupied].double().std().item() == pytest.approx(9.5, rel=0.4)
    sizes = torch.tensor([len(batch) for batch in batches]).double()
    assert sizes.mean().item() == pytest.approx(8, abs=5 * math.sqrt(80 * 0.1 * 0.9 / 1000))
    assert sizes.var().item() == pytest.approx(80 * 0.1 * 0.9, rel=0.25)


def test_the_noise_is_as_little_as_epsilon_allows() -> None:
    wanted = {"rate": 0.05, "steps": 200}
    sigma = noise_multiplier(3.0, 1e-5, **wanted)
    assert spent_epsilon(sigma, 1e-5, **wanted, error=0.015) <= 3
    assert spent_epsilon(sigma / 1.004, 1e-5, **wanted, error=0.015) > 3
    from opacus.accountants.utils import get_noise_multiplier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        options = {"target_epsilon": 3.0, "target_delta": 1e-5, "sample_rate": 0.05, "steps": 200}
        assert sigma == pytest.approx(get_noise_multiplier(**options, accountant="prv"), rel=0.005)
        assert sigma < 0.97 * get_noise_multiplier(**options, accountant="rdp")


def test_epsilon_of_one_full_step_is_that_of_the_gaussian_mechanism() -> None:
    """Balle & Wang 2018: delta = Phi(1/(2 sigma) - epsilon sigma) - exp(epsilon) Phi(-1/(2 sigma) - epsilon sigma)."""
    from scipy.stats import norm

    sigma = 2.0
    epsilon = spent_epsilon(sigma, 1e-5, rate=1 - 1e-9, steps=1, error=0.01)
    delta = norm.cdf(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * norm.cdf(-0.5 / sigma - epsilon * sigma)
    # An upper bound of epsilon, at most 0.02 above: with less noise the delta would be the one that was asked for.
    assert delta < 1e-5
    tighter = epsilon - 0.03
    assert norm.cdf(0.5 / sigma - tighter * sigma) - math.exp(tighter) * norm.cdf(-0.5 / sigma - tighter * sigma) > 1e-5


@pytest.mark.parametrize(("sigma", "rate", "steps", "delta"), [(0.7, 0.02, 500, 1e-5), (1.2, 0.1, 300, 1e-4), (4.0, 0.5, 50, 1e-6)])
def test_epsilon_is_that_of_opacus_and_below_renyis(sigma: float, rate: float, steps: int, delta: float) -> None:
    from opacus.accountants import PRVAccountant, RDPAccountant

    renyi, loss_variables = RDPAccountant(), PRVAccountant()
    for accountant in (renyi, loss_variables):
        accountant.history = [(sigma, rate, steps)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        upper, expected = renyi.get_epsilon(delta), loss_variables.get_epsilon(delta, eps_error=0.01)
    found = spent_epsilon(sigma, delta, rate=rate, steps=steps, error=0.01)
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0.6 * upper < found <= upper + 0.01  # Renyi's conversion to epsilon is the looser bound


@pytest.mark.parametrize(("sigma", "steps", "delta"), [(2.0, 4, 1e-5), (10.0, 100, 1e-3)])
def test_epsilon_of_full_steps_is_that_of_gaussian_noise(sigma: float, steps: int, delta: float) -> None:
    """Without sampling the steps are one Gaussian mechanism, mu = sqrt(steps) / sigma: what audits compare with."""
    exact = epsilon_of_gaussian(math.sqrt(steps) / sigma, delta)
    assert exact <= spent_epsilon(sigma, delta, rate=1 - 1e-9, steps=steps, error=0.01) <= exact + 0.03


def test_noise_too_little_for_the_accountants_numbers_promises_nothing() -> None:
    assert spent_epsilon(0.02, 1e-5, rate=0.001, steps=20, error=0.5) == math.inf


def test_what_is_spent_grows_to_what_is_wanted() -> None:
    private = make_private(make_objective())
    spent = [private.privacy_spent(steps) for steps in (0, 5, 20)]
    assert [delta for _, delta in spent] == [1e-5] * 3
    assert spent[0][0] == 0 < spent[1][0] < spent[2][0] <= 8
    assert spent[2][0] > 7.9


def test_in_mixed_precision_gradients_are_clipped_and_added_in_float32() -> None:
    objective, batch = make_objective(), make_batch(6)
    private = make_private(objective, clip_norm=0.05)
    private.noise_multiplier, private.precision = 0.0, "bf16"
    private.backward(batch)
    [(gradients, _)] = sample_gradients(objective, batch, "bf16")
    mixed = [{name: gradient[i] for name, gradient in gradients.items()} for i in range(6)]
    torch.testing.assert_close(current(objective) * private.batch, sum(flat(one) * (0.05 / flat(one).norm()) for one in mixed))
    full, _ = by_loop(objective, batch)
    for one, other in zip(mixed, full, strict=True):
        assert 0 < (flat(one) - flat(other)).norm() < 0.05 * flat(other).norm()


def test_chunks_are_bounded_in_bytes_and_samples() -> None:
    assert [by_sample.chunk_size(size) for size in (1000, 2**25, 2**40)] == [128, 32, 1]


@pytest.mark.parametrize(
    ("options", "samples", "field"),
    [({"delta": 0.01}, 100, "training.privacy.delta: 0.01"), ({}, 10, "training.batch_size: a step of 10")],
)
def test_what_cannot_be_private_is_refused(options: dict[str, float], samples: int, field: str) -> None:
    with pytest.raises(UserError, match=field):
        PrivateGradients(make_objective(), PrivacySpec(**{"epsilon": 8.0, **options}), samples=samples, batch=10, steps=20)


def test_batch_norm_is_refused() -> None:
    resnet = BackboneSpec(backbone="resnet18", options={"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]})
    with pytest.raises(UserError, match=r"^encoder\.backbone: batch norm \(encoder\.backbone\.bn1\) mixes samples"):
        make_private(make_objective("supervised", resnet))


@pytest.mark.parametrize("method", ["simclr", "dino", "vicreg", "simsiam"])
def test_methods_that_compare_samples_are_refused_by_the_spec(method: str) -> None:
    with pytest.raises(UserError, match=f"objective.method '{method}' compares samples or encoders; allowed are mae, supervised"):
        parse_spec(study({"method": method}), where="study")


@pytest.mark.parametrize(
    ("training", "field"),
    [
        ({"precision": "fp16"}, "with privacy take float32 or bf16"),
        ({"compile": True}, "compile is true"),
        ({"privacy": {"epsilon": 0.001}}, "training.privacy.epsilon"),
        ({"privacy": {"epsilon": 200}}, "training.privacy.epsilon"),
        ({"privacy": {"epsilon": 8, "clip_norm": 0}}, "training.privacy.clip_norm"),
        ({"privacy": {"epsilon": 8, "delta": 1}}, "training.privacy.delta"),
        ({"privacy": {}}, "training.privacy.epsilon"),
    ],
)
def test_fields_are_bounded(training: dict[str, object], field: str) -> None:
    with pytest.raises(UserError, match=field):
        parse_spec(study({"method": "mae"}, **training), where="study")


@pytest.mark.parametrize("method", ["mae", "supervised"])
def test_methods_of_single_samples_are_allowed(method: str) -> None:
    assert parse_spec(study({"method": method}), where="study").training.privacy == PrivacySpec(epsilon=8)


def private_study() -> StudySpec:
    loaded = study({"method": "mae", "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2})
    loaded["training"] |= {
        "epochs": 2,
        "warmup_epochs": 0,
        "batch_size": 16,
        "seeds": 1,
        "record_every": 0,
        "checkpoint_seconds": 1e-9,
    }
    loaded["training"]["privacy"]["delta"] = 1e-3
    encoder = {"backbone": VIT.backbone, "grid": 4, "options": {"embed_dim": 16, "depth": 1, "num_heads": 2}}
    partition = {"shared": 60, "candidate": 20, "independent": 20, "extra": 10}
    return parse_spec(loaded | {"encoder": encoder, "partition": partition}, where="study").resolved(Path())


def test_nothing_of_noise_or_batches_follows_from_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trainings of one encoder differ, f and g of one seed have different noise, and no file holds a generator or its seed."""
    made: list[PrivateGradients] = []
    original = PrivateGradients.__init__

    def remember(self: PrivateGradients, *args: object, **options: object) -> None:
        original(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(PrivateGradients, "__init__", remember)
    spec = private_study()
    samples = load_samples(spec)
    loader = ImageLoader(samples.dataset, "cpu")
    f, g = spec.encoders
    assert spec.training.coupled
    weights = []
    for plan, name in ((f, "f"), (f, "again"), (g, "g")):
        encoder, progress = train(spec, plan, samples, loader, tmp_path / name)
        weights.append(torch.cat([value.flatten() for value in encoder.state_dict().values()]))
        assert 0 < progress.epsilon <= 8
    assert not torch.equal(weights[0], weights[1])
    secrets = [private._random.bit_generator.seed_seq.entropy for private in made]
    assert len(set(secrets)) == 3
    assert all(secret.bit_length() > 64 for secret in secrets)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 6  # history.csv and resume/state.pt
    for private, secret in zip(made, secrets, strict=True):
        numbers = [secret, *private._random.bit_generator.state["state"].values()]
        forms = [form for n in numbers for form in (str(n).encode(), n.to_bytes(16, "little"), n.to_bytes(16, "big"))]
        assert not any(form in content for form in forms for content in files)
    state = torch.load(tmp_path / "f" / "resume" / "state.pt", weights_only=True)
    assert set(state) == {"objective", "optimizer", "scaler", "progress"}


def test_an_interrupted_private_training_resumes_with_fresh_noise(tmp_path: Path) -> None:
    spec = private_study()
    samples, plan = load_samples(spec), spec.encoders[0]
    loader = ImageLoader(samples.dataset, "cpu")

    def stop(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, plan, samples, loader, tmp_path / "begun", emit=stop)
    for name in ("one", "other"):
        shutil.copytree(tmp_path / "begun", tmp_path / name)
    (one, progress), (other, _) = (train(spec, plan, samples, loader, tmp_path / name) for name in ("one", "other"))
    assert [row["epoch"] for row in progress.history] == [1, 2]
    assert progress.epsilon == pytest.approx(8, rel=0.02)
    assert not torch.equal(*(next(encoder.parameters()) for encoder in (one, other)))


def study(objective: dict[str, object], **training: object) -> dict[str, object]:
    return {"name": "x", "data": {"name": "digits"}, "objective": objective, "training": {"privacy": {"epsilon": 8}, **training}}
