"""Policies as data: what a spec may say, what it resolves to, and how mistakes are answered."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmem_kit.spec.policy import POLICIES, STEPS, ColorDrop, ColorJitter, Crop, CropResize, Flip, Mask, Noise, Policy, Rotate

NAMES = ["simclr", "crop", "crop_resize", "noise", "rotate90", "rotate270", "color_drop", "mask", "identity"]
unit = st.floats(0, 1)
positive = st.floats(0.01, 1)
OPTIONS = {
    "crop": st.fixed_dictionaries({}, optional={"padding": unit}),
    "crop_resize": st.fixed_dictionaries(
        {}, optional={"scale": st.tuples(positive, positive).map(sorted), "ratio": st.just([0.5, 2])}
    ),
    "flip": st.fixed_dictionaries({}, optional={"p": unit}),
    "color_jitter": st.fixed_dictionaries({}, optional={"brightness": unit, "contrast": unit, "hue": st.floats(0, 0.5), "p": unit}),
    "color_drop": st.fixed_dictionaries({}, optional={"p": unit}),
    "noise": st.fixed_dictionaries({}, optional={"mean": st.floats(-1, 1), "sigma": unit}),
    "rotate": st.fixed_dictionaries({}, optional={"degrees": st.floats(0, 360)}),
    "mask": st.fixed_dictionaries({}, optional={"ratio": unit, "patch": positive}),
}
mappings = st.sampled_from(list(OPTIONS)).flatmap(lambda op: OPTIONS[op].map(lambda options: {"op": op, **options}))
items = st.one_of(st.sampled_from(NAMES), st.sampled_from(list(OPTIONS)), mappings)


def test_named_policies_are_the_papers():
    assert list(POLICIES) == NAMES
    assert POLICIES["simclr"].steps == (
        CropResize(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)),
        Flip(p=0.5),
        ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8),
        ColorDrop(p=0.2),
    )
    assert POLICIES["crop"].steps == (Crop(padding=0.125),)
    assert POLICIES["noise"].steps == (Noise(mean=0, sigma=0.2),)
    assert POLICIES["rotate270"].steps == (Rotate(degrees=270),)
    assert POLICIES["color_drop"].steps == (ColorDrop(p=0.25),)
    assert POLICIES["mask"].steps == (Mask(ratio=0.75, patch=0.125),)
    assert POLICIES["identity"].steps == ()
    assert all(name == policy.name for name, policy in POLICIES.items())


def test_every_op_has_options_under_test():
    assert set(STEPS) == set(OPTIONS)


def test_a_name_a_composition_and_the_resolved_form():
    assert Policy.model_validate("simclr") == POLICIES["simclr"]
    mixed = Policy.model_validate(["simclr", "rotate", {"op": "noise", "sigma": 0.1}])
    assert mixed.name == "simclr+rotate+noise"
    assert mixed.steps == (*POLICIES["simclr"].steps, Rotate(), Noise(sigma=0.1))
    assert Policy.model_validate([Noise(sigma=0.3)]).steps == (Noise(sigma=0.3),)
    assert Policy.model_validate({"name": "mine", "steps": [{"op": "flip", "p": 0.1}]}).steps == (Flip(p=0.1),)


@given(st.one_of(st.sampled_from(NAMES), st.lists(items, min_size=1, max_size=5)))
def test_the_resolved_form_round_trips(spec):
    policy = Policy.model_validate(spec)
    assert Policy.model_validate(policy.model_dump(mode="json")) == policy
    assert Policy.model_validate_json(policy.model_dump_json()) == policy
    assert Policy.model_validate(policy) == policy


@pytest.mark.parametrize("spec", ["simclrr", ["crop", "blur"], ["crop", {"op": "blur"}], ["crop", {"sigma": 0.1}], ["crop", 3]])
def test_an_unknown_name_is_answered_with_the_valid_ones(spec):
    with pytest.raises(ValueError, match="got") as error:
        Policy.model_validate(spec)
    assert all(name in str(error.value) for name in NAMES)
    if isinstance(spec, list):
        assert all(name in str(error.value) for name in STEPS)


@pytest.mark.parametrize(
    ("step", "field"),
    [
        ({"op": "noise", "sigma": -0.1}, "sigma"),
        ({"op": "noise", "mean": float("nan")}, "mean"),
        ({"op": "flip", "p": 1.1}, "p"),
        ({"op": "flip", "q": 0.5}, "q"),
        ({"op": "crop", "padding": -0.1}, "padding"),
        ({"op": "crop_resize", "scale": [0.5, 0.2]}, "scale"),
        ({"op": "crop_resize", "scale": [0, 1]}, "scale"),
        ({"op": "crop_resize", "ratio": [2, 1]}, "ratio"),
        ({"op": "color_jitter", "hue": 0.6}, "hue"),
        ({"op": "color_jitter", "brightness": -1}, "brightness"),
        ({"op": "rotate", "degrees": 361}, "degrees"),
        ({"op": "mask", "patch": 0}, "patch"),
        ({"op": "mask", "ratio": 1.5}, "ratio"),
    ],
)
def test_options_out_of_bounds_are_refused_by_name(step, field):
    with pytest.raises(ValueError, match=field):
        Policy.model_validate([step])


def test_empty_lists_and_changes_are_refused():
    with pytest.raises(ValueError, match="identity"):
        Policy.model_validate([])
    with pytest.raises(ValueError, match="frozen"):
        POLICIES["noise"].steps[0].sigma = 1.0


def test_importing_policies_does_not_import_torch():
    code = "import sys, sslmem_kit.spec.policy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
