"""Treatment of the most memorized candidates: exactly the chosen are treated, a resumed training is as if undisturbed."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from sslmem_kit.data.identity import encoder_hash
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import StudySamples, load_samples
from sslmem_kit.encoders.weights import load_weights
from sslmem_kit.errors import UserError
from sslmem_kit.measures import mitigation as measured
from sslmem_kit.measures.evaluation import score_samples
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.mitigation import MitigationSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.caveats import caveats
from sslmem_kit.store import mean_of_pairs
from sslmem_kit.study import open_study
from sslmem_kit.training import loop
from sslmem_kit.training.loop import train
from sslmem_kit.training.mitigation import Chooser, filled
from sslmem_kit.training.objectives import Batch, make_training_views
from sslmem_kit.training.objectives.base import mean_distance
from sslmem_kit.training.setup import new_objective
from sslmem_kit.views import sample_keys
from tests.support.fake_study import workers_in_this_process
from tests.training.test_loop import METHODS, assert_same_bits, make_spec

NOISE = [{"op": "noise", "sigma": 0.5}]
ACTIONS = {
    "drop": {"action": "drop"},
    "stronger_views": {"action": "stronger_views", "policy": NOISE},
    "regularize": {"action": "regularize", "weight": 0.3},
}


def spec_of(action: str | None, method: str = "simclr", *, by: str = "memorization", **training: object) -> StudySpec:
    mitigation = None if action is None else {**ACTIONS[action], "every": 1, "share": 0.3, "by": by}
    return make_spec(method, mitigation=mitigation, **training)


def train_f(spec: StudySpec, folder: Path, chooser: Chooser | None, samples: StudySamples | None = None):
    samples = samples or load_samples(spec)
    return train(spec, spec.pairs[0], samples, ImageLoader(samples.dataset, "cpu"), folder, chooser=chooser)


def train_pair(spec: StudySpec, folder: Path) -> dict[str, torch.Tensor]:
    """Train g, then f, as a study does."""
    samples = load_samples(spec)
    loader, mitigation = ImageLoader(samples.dataset, "cpu"), spec.training.mitigation
    epochs = mitigation.choice_epochs(spec.training.epochs)
    f, g = spec.pairs[:2]
    recorder = measured.recorder(spec, samples, loader, folder / "g", epochs)
    train(spec, g, samples, loader, folder / "g", chooser=recorder)
    chooser = measured.chooser(spec, f, samples, loader, mitigation, folder / "g")
    return train(spec, f, samples, loader, folder / "f", chooser=chooser)[0].state_dict()


class Seen:
    """Slots, views and calls of the objective, by epoch."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.slots: dict[int, list[int]] = defaultdict(list)
        self.views: dict[tuple[int, int], torch.Tensor] = {}
        self.chosen: dict[int, dict[int, bool]] = defaultdict(dict)
        original_batch, original_regularized = loop._Training.batch, loop._Training.regularized

        def batch(training, slots, images, epoch):
            made = original_batch(training, slots, images, epoch)
            self.slots[epoch] += slots.tolist()
            self.epoch = epoch
            for place, slot in enumerate(slots.tolist()):
                self.views[epoch, slot] = torch.stack([view[place] for view in made.views])
            return made

        def regularized(training, slots):
            found = original_regularized(training, slots)
            if found:
                self.chosen[self.epoch] |= dict(zip(slots.tolist(), found[0].tolist(), strict=True))
            return found

        patch.setattr(loop._Training, "batch", batch)
        patch.setattr(loop._Training, "regularized", regularized)


def planted(samples: StudySamples) -> tuple[Chooser, dict[int, set[int]]]:
    """Choose other candidates after each of two epochs; return the slots that they stand in, by the epoch in which they are treated."""
    ids, slots = measured.candidates(samples), samples.slots(samples.spec.pairs[0])
    chosen = {1: ids[:3], 2: ids[2:5]}
    place = {sample: slot for slot, sample in enumerate(slots.tolist())}
    treated = {epoch: {place[sample] for sample in chosen[epoch].tolist()} for epoch in chosen}
    return Chooser((1, 2), lambda encoder, epoch: chosen[epoch]), {0: set(), **treated, 3: treated[2]}


def test_dropped_samples_are_not_seen_and_all_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("drop", batch_size=10)  # seven batches of all 70
    samples, seen = load_samples(spec), Seen(monkeypatch)
    chooser, treated = planted(samples)
    train_f(spec, tmp_path, chooser, samples)
    for epoch, slots in seen.slots.items():
        assert set(slots) == set(range(70)) - treated[epoch]
        assert len(slots) == 70  # as many steps as without a treatment
        for batch in np.split(np.array(slots), 7):
            assert len(set(batch)) == 10
    assert set(seen.slots) == {0, 1, 2, 3}
    lines = (tmp_path / "treated.csv").read_text().splitlines()
    ids = measured.candidates(samples)
    assert lines == ["epoch,sample", *(f"1,{i}" for i in ids[:3]), *(f"2,{i}" for i in ids[2:5])]


def test_stronger_views_are_of_the_treated_alone(tmp_path: Path) -> None:
    spec, plain = spec_of("stronger_views"), spec_of(None)
    samples = load_samples(spec)
    chooser, treated = planted(samples)
    with pytest.MonkeyPatch.context() as patch:
        seen = Seen(patch)
        train_f(spec, tmp_path / "a", chooser, samples)
    with pytest.MonkeyPatch.context() as patch:
        base = Seen(patch)
        train_f(plain, tmp_path / "b", None, load_samples(plain))
    assert seen.slots == base.slots
    images = next(ImageLoader(samples.dataset, "cpu").batches([samples.slots(spec.pairs[0])]))
    policy = spec.training.mitigation.policy
    reached = 0
    for (epoch, slot), views in seen.views.items():
        is_base = torch.equal(views, base.views[epoch, slot])
        assert is_base != (slot in treated[epoch])
        if not is_base:
            reached += 1
            specs = [view._replace(policy=policy) for view in new_objective(spec, spec.pairs[0], samples, "cpu").view_specs(policy)]
            seed = loop.encoder_seed(spec, spec.pairs[0], "views")
            own = make_training_views(specs, images[slot : slot + 1], torch.tensor([slot]), first=2 * epoch, seed=seed)
            assert torch.equal(views, torch.cat(own))
    assert reached > 3


def test_the_regularizer_is_told_of_the_treated_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("regularize")
    samples, seen = load_samples(spec), Seen(monkeypatch)
    chooser, treated = planted(samples)
    train_f(spec, tmp_path, chooser, samples)
    for epoch in range(4):
        assert {slot for slot, chosen in seen.chosen[epoch].items() if chosen} == treated[epoch] & set(seen.slots[epoch])
        assert set(seen.chosen[epoch]) == set(seen.slots[epoch])


@pytest.mark.parametrize("method", METHODS)
def test_the_regularizer_of_some_is_eq_3_where_all_are_chosen(method: str) -> None:
    spec = spec_of("regularize", method) if method != "supervised" else parse_spec(
        {**spec_of(None, method).as_dict(), "objective": {"method": "supervised"}}, where="test")  # fmt: skip
    samples = load_samples(spec)
    objective = new_objective(spec, spec.pairs[0], samples, "cpu")
    objective.weight_of_chosen = 0.3
    slots = torch.arange(12)
    images = next(ImageLoader(samples.dataset, "cpu").batches([samples.slots(spec.pairs[0])[:12]]))
    views = make_training_views(objective.view_specs(spec.training.policy), images, slots, first=0, seed=1)
    assert len(views) >= 2
    batch = Batch(views, sample_keys(1, slots, 0), slots % 10)
    objective.eval()  # no dropout, so that each call gives the same
    center = objective.criterion.center.clone() if method == "dino" else None

    def loss(*chosen: torch.Tensor) -> torch.Tensor:
        if center is not None:  # it moves with each loss
            objective.criterion.center.copy_(center)
        return objective(batch, *chosen)

    plain = loss()
    first, second = objective.encoder(views[0]), objective.encoder(views[1])
    assert torch.equal(loss(torch.zeros(12, dtype=torch.bool)), plain)
    every = loss(torch.ones(12, dtype=torch.bool))
    torch.testing.assert_close(every, 0.7 * plain - 0.3 * mean_distance(first, second), rtol=1e-4, atol=1e-5)
    some = torch.arange(12) < 3
    of_some = 0.925 * plain - 0.075 * mean_distance(first[:3], second[:3])
    torch.testing.assert_close(loss(some), of_some, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("action", ACTIONS)
def test_interrupted_and_resumed_is_undisturbed(tmp_path: Path, action: str) -> None:
    spec = spec_of(action, checkpoint_seconds=1e-9)
    whole = train_pair(spec, tmp_path / "whole")
    calls, original = 0, torch.optim.Optimizer.zero_grad

    class Stop(Exception):
        pass

    def stop_now_and_then(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls in (7, 22, 27):
            raise Stop
        return original(self, *args, **kwargs)

    stops = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Optimizer, "zero_grad", stop_now_and_then)
        while True:
            try:
                broken = train_pair(spec, tmp_path / "broken")
                break
            except Stop:
                stops += 1
    assert stops == 3
    assert_same_bits(broken, whole)
    assert (tmp_path / "broken/f/treated.csv").read_bytes() == (tmp_path / "whole/f/treated.csv").read_bytes()
    assert not all(torch.equal(value, other) for value, other in zip(
        whole.values(), train_f(spec_of(None), tmp_path / "plain", None)[0].state_dict().values(), strict=True))  # fmt: skip


def test_null_and_recording_change_no_bit(tmp_path: Path) -> None:
    spec = spec_of(None)
    samples = load_samples(spec)
    loader = ImageLoader(samples.dataset, "cpu")
    plain = train_f(spec, tmp_path / "plain", None)[0].state_dict()
    recorder = measured.recorder(spec, samples, loader, tmp_path / "recorded", (1, 2, 3))
    assert_same_bits(train_f(spec, tmp_path / "recorded", recorder)[0].state_dict(), plain)
    assert measured.has_recorded(samples, tmp_path / "recorded", (1, 2, 3))
    old = make_spec("simclr").as_dict()
    del old["training"]["mitigation"]
    assert parse_spec(old, where="old").hash == spec.hash == make_spec("simclr").hash


def test_the_most_memorized_are_chosen_and_as_many_at_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("drop")
    samples = load_samples(spec)
    loader, ids = ImageLoader(samples.dataset, "cpu"), measured.candidates(samples)
    rng, memorized = np.random.default_rng(0), ids[[1, 4, 8]]
    of_g = rng.uniform(0.2, 1.0, len(ids))
    of_f = of_g - rng.uniform(-0.05, 0.05, len(ids)) - 0.2 * np.isin(ids, memorized)  # memorized: views are closer under f
    values = iter([of_g, of_f])
    monkeypatch.setattr(measured, "alignment_of", lambda *_: next(values))
    measured.recorder(spec, samples, loader, tmp_path, (1,)).choose(None, 1)
    chooser = measured.chooser(spec, spec.pairs[0], samples, loader, spec.training.mitigation, tmp_path)
    assert chooser.epochs == (1, 2, 3)
    assert chooser.choose(None, 1).tolist() == memorized.tolist()
    control = spec_of("drop", by="random").training.mitigation
    at_random = measured.chooser(spec, spec.pairs[0], samples, loader, control, tmp_path)
    drawn = [at_random.choose(None, epoch) for epoch in (1, 2, 3)]
    assert all(len(set(chosen.tolist())) == len(memorized) and np.isin(chosen, ids).all() for chosen in drawn)
    assert not np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(at_random.choose(None, 1), drawn[0])
    with pytest.raises(UserError, match="missing or damaged"):
        chooser.choose(None, 2)


def test_views_that_choose_are_not_those_that_measure() -> None:
    spec = spec_of("drop")
    samples = load_samples(spec)
    loader, ids = ImageLoader(samples.dataset, "cpu"), measured.candidates(samples)
    encoder = new_objective(spec, spec.pairs[0], samples, "cpu").encoder.eval()
    final = mean_of_pairs(score_samples(spec, encoder, ids, loader), spec.scoring.views)
    first, second = (measured.alignment_of(spec, encoder, ids, loader, epoch) for epoch in (1, 2))
    assert (first != second).mean() > 0.7  # views of small images may be equal by chance
    assert (first != final).mean() > 0.7
    np.testing.assert_array_equal(first, measured.alignment_of(spec, encoder, ids, loader, 1))


@pytest.mark.parametrize(
    ("mitigation", "training", "problem"),
    [
        ({"action": "drop", "share": 0.0}, {}, "training.mitigation.share"),
        ({"action": "drop", "share": 0.6}, {}, "training.mitigation.share"),
        ({"action": "drop", "every": 0}, {}, "training.mitigation.every"),
        ({"action": "drop", "every": 4}, {}, "mitigation.every is 4, it must be below epochs, which is 4"),
        ({"action": "forget"}, {}, "training.mitigation.action"),
        ({"action": "drop", "by": "loss"}, {}, "training.mitigation.by"),
        ({"action": "drop", "weight": 0.1}, {}, "weight is not for this action"),
        ({"action": "regularize"}, {}, "weight is needed"),
        ({"action": "stronger_views"}, {}, "policy is needed"),
        ({"action": "drop", "every": 1}, {"compile": True}, "compile is true"),
    ],
)
def test_what_is_refused(mitigation: dict, training: dict, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        make_spec("simclr", mitigation=mitigation, **training)


def test_what_else_is_refused(tmp_path: Path) -> None:
    base = spec_of("drop").as_dict()
    with pytest.raises(UserError, match="mitigation and privacy are both given"):
        make_spec("mae", mitigation={"action": "drop", "every": 1}, privacy={"epsilon": 8})
    with pytest.raises(UserError, match="design asks for others"):
        parse_spec({**base, "design": {"subsets": {"folds": 2, "repeats": 2}}}, where="test")
    objective = {"method": "simclr", "regularizer": {"weight": 0.1}}
    with pytest.raises(UserError, match="give one"):
        parse_spec({**spec_of("regularize").as_dict(), "objective": objective}, where="test")
    few = make_spec("simclr", mitigation={"action": "drop", "every": 1, "share": 0.01})
    with pytest.raises(UserError, match=r"0\.01 of 10 candidates is none"):
        run_study(few, tmp_path / "few", device="cpu", workers=1)
    with pytest.raises(ValueError, match="no chooser"):
        train_f(spec_of("drop"), tmp_path / "f", None)
    samples = load_samples(spec_of("drop"))
    with pytest.raises(UserError, match="--devices: 2"):
        loop.check_mitigation(spec_of("drop"), samples, ranks=2)


def test_a_batch_that_is_all_of_an_epoch_is_left_short() -> None:
    assert filled(torch.arange(6), 8, batch=8).tolist() == [0, 1, 2, 3, 4, 5]
    assert filled(torch.arange(9), 8, batch=4).tolist() == list(range(9))
    assert filled(torch.arange(5), 8, batch=4).tolist() == [0, 1, 2, 3, 4, 0, 1, 2]


def test_an_encoder_is_known_by_its_treatment_and_g_is_not_treated() -> None:
    plain, drop, control = spec_of(None), spec_of("drop"), spec_of("drop", by="random")
    f, g = ([encoder_hash(load_samples(spec), spec.pairs[place]) for spec in (plain, drop, control)] for place in (0, 1))
    assert len(set(f)) == 3
    assert len(set(g)) == 1


def test_a_study_is_run_and_says_what_was_done(tmp_path: Path) -> None:
    spec = spec_of("drop")
    with workers_in_this_process():
        study = run_study(spec, tmp_path / "study", device="cpu", threads=1)
    name = spec.pairs[0].id
    rows = np.loadtxt(study.encoder(name) / "treated.csv", delimiter=",", skiprows=1, dtype=int)
    epochs, counts = np.unique(rows[:, 0], return_counts=True)
    assert (epochs.tolist(), counts.tolist()) == ([1, 2, 3], [3, 3, 3])
    # The last choice, once more: of f after 3 epochs, trained anew up to there, against what g kept.
    samples = load_samples(spec)
    loader, ids = ImageLoader(samples.dataset, "cpu"), measured.candidates(samples)
    states = {}

    def copied(encoder, epoch):
        states[epoch] = {key: value.clone() for key, value in encoder.state_dict().items()}
        return rows[rows[:, 0] == epoch, 1]

    encoder, _ = train_f(spec, tmp_path / "again", Chooser((1, 2, 3), copied), samples)
    final = new_objective(spec, spec.pairs[0], samples, "cpu").encoder
    load_weights(final, study.encoder(name) / "weights.safetensors", device="cpu")
    assert_same_bits(encoder.state_dict(), final.state_dict())
    encoder.load_state_dict(states[3])
    kept = measured.read_alignment(measured.kept_alignment(study.encoder(spec.pairs[1].id), 3), ids)
    difference = kept - measured.alignment_of(spec, encoder.eval(), ids, loader, 3)
    assert set(ids[np.argsort(-difference)[:3]].tolist()) == set(rows[rows[:, 0] == 3, 1].tolist())
    assert any("training.mitigation" in sentence for sentence in caveats(open_study(study.path).tree))


def test_choices_between_epochs() -> None:
    assert MitigationSpec(action="drop").choice_epochs(60) == (10, 20, 30, 40, 50)
    assert MitigationSpec(action="drop").share == 0.05
