"""Which encoders a study trains beside its pairs, and on which samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslmem_kit.data.folds import folds
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.spec.design import grouped
from sslmem_kit.spec.loading import load_spec, parse_spec
from sslmem_kit.spec.study import StudySpec


def make_spec(design: dict[str, Any], **changes: Any) -> StudySpec:
    loaded = {
        "name": "designed",
        "data": {"name": "digits"},
        "partition": {"shared": 60, "candidate": 20, "independent": 20, "extra": 10},
        "training": {"seeds": 2, "epochs": 2, "warmup_epochs": 0, "batch_size": 16, "record_every": 0},
        "design": design,
    }
    return parse_spec(loaded | changes, where="test").resolved(Path.cwd())


def test_without_a_design_a_study_is_what_it_was() -> None:
    """Ids, and the hash by which a begun study is known."""
    spec = load_spec("digits")
    assert [plan.id for plan in spec.encoders] == ["f-0", "g-0", "f-1", "g-1", "f-2", "g-2"]
    assert spec.hash == parse_spec({k: v for k, v in spec.as_dict().items() if k != "design"}, where="old").hash
    changed = spec.model_copy(update={"design": make_spec({"subsets": {"repeats": 1}}).design})
    assert changed.hash != spec.hash


def test_ids_families_and_seeds_are_the_encoders_own() -> None:
    spec = make_spec({"subsets": {"folds": 3, "repeats": 2}, "leave_one_out": {"samples": 4, "seeds": 2}})
    plans = spec.encoders
    assert len(plans) == 4 + 6 + 2 * 5
    assert len({plan.id for plan in plans}) == len(plans)
    seeds = {design: {plan.seed for plan in plans if plan.design == design} for design in ("pair", "subset", "leave_one_out")}
    assert seeds == {"pair": {0, 1}, "subset": {2, 3}, "leave_one_out": {4, 5}}
    one_out = [plan for plan in plans if plan.design == "leave_one_out"]
    assert {plan.family for plan in one_out if plan.seed == 4} == {plan.family for plan in one_out if plan.seed == 5}
    assert not {plan.family for plan in one_out} & {plan.family for plan in plans if plan.design != "leave_one_out"}


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_training_sample_is_left_out_once_a_cut(count: int) -> None:
    spec = make_spec({"subsets": {"folds": count, "repeats": 3}})
    samples = load_samples(spec)
    train = samples.codes[samples.scored] != PARTITION_CODE["extra"]
    plans = [plan for plan in spec.encoders if plan.design == "subset"]
    trained = samples.trained_on(plans)
    assert not trained[~train].any()
    left_out = [(~trained[train][:, [i for i, plan in enumerate(plans) if plan.seed == seed]]).sum(axis=1) for seed in (2, 3, 4)]
    assert (np.stack(left_out) == 1).all()
    assert len({tuple(column) for column in trained.T}) == len(plans)  # other cuts are other cuts


def test_folds_hold_the_classes_in_proportion() -> None:
    labels = np.repeat(np.arange(10), [20] * 5 + [10] * 4 + [40])
    for count in (2, 5, 10):
        fold = folds(labels, count, stratified=True, seed=3)
        assert (np.bincount(fold) == 180 / count).all()
        assert max(np.ptp(np.bincount(fold[labels == label], minlength=count)) for label in range(10)) <= 2
    fold = folds(labels, 5, stratified=True, seed=3)
    assert (fold == folds(labels, 5, stratified=True, seed=3)).all()
    assert (fold != folds(labels, 5, stratified=True, seed=4)).any()


def test_leave_one_out_leaves_out_one_candidate_and_nothing_else() -> None:
    spec = make_spec({"leave_one_out": {"samples": 7, "seeds": 2}})
    samples = load_samples(spec)
    scored = samples.dataset.ids[samples.scored]
    f = samples.trained_on(spec.encoders[:1])[:, 0]
    missing = {}
    for plan in (plan for plan in spec.encoders if plan.design == "leave_one_out"):
        lacks = scored[f & ~samples.trained_on([plan])[:, 0]]
        assert not (samples.trained_on([plan])[:, 0] & ~f).any()
        assert len(lacks) == (plan.left_out is not None)
        missing.setdefault(plan.family, set()).update(lacks.tolist())
    assert all(len(ids) <= 1 for ids in missing.values())  # of every seed the same
    candidates = scored[samples.codes[samples.scored] == PARTITION_CODE["candidate"]]
    assert set().union(*missing.values()) <= set(candidates.tolist())
    assert len(set().union(*missing.values())) == 7


def test_a_left_out_sample_moves_no_other_from_its_slot() -> None:
    spec = make_spec({"leave_one_out": {"samples": 3, "seeds": 1}})
    samples = load_samples(spec)
    whole, *others = [samples.slots(plan) for plan in spec.encoders if plan.design == "leave_one_out"]
    np.testing.assert_array_equal(whole, samples.slots(spec.encoders[0]))
    for slots in others:
        assert (slots != whole).sum() == 1
        assert slots[slots != whole] == [-1]


def test_more_candidates_than_there_are_is_told() -> None:
    spec = make_spec({"leave_one_out": {"samples": 21, "seeds": 1}})
    with pytest.raises(UserError, match=r"design\.leave_one_out\.samples: 21 candidates are asked for, the partition has 20"):
        load_samples(spec).trained_on(spec.encoders)


@pytest.mark.parametrize(
    ("design", "telling"),
    [
        ({"subset": {}}, "design.subset: unknown field"),
        ({"subsets": {"folds": 1, "repeats": 2}}, "design.subsets.folds"),
        ({"subsets": {}}, "design.subsets.repeats: field required"),
        ({"leave_one_out": {"samples": 0, "seeds": 1}}, "design.leave_one_out.samples"),
        ({"together": 0}, "design.together"),
    ],
)
def test_wrong_fields_are_named(design: dict[str, Any], telling: str) -> None:
    with pytest.raises(UserError, match=telling):
        make_spec(design)


def test_groups_hold_one_kind_and_pairs_stay_alone() -> None:
    spec = make_spec({"subsets": {"folds": 2, "repeats": 3}, "leave_one_out": {"samples": 4, "seeds": 1}})
    plans = spec.encoders
    groups = grouped(plans, [plan.design for plan in plans], 4)
    assert [len(group) for group in groups] == [1, 1, 1, 1, 4, 2, 4, 1]
    assert [plan for group in groups for plan in group] == list(plans)
    assert all(len({plan.design for plan in group}) == 1 for group in groups)
