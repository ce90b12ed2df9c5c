"""Views against torchvision, one image at a time, with the parameters that were drawn; and purity, to the bit."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import to_tensor
from torchvision.transforms.v2 import functional as tv

from sslmem_kit.data.loader import to_float
from sslmem_kit.errors import UserError
from sslmem_kit.spec.policy import POLICIES, STEPS, ColorJitter, Crop, CropResize, Flip, Mask, Noise, Policy, Rotate
from sslmem_kit.views import OPS, CounterRNG, make_views, sample_keys, scored_view, several_views

EVERYTHING = Policy.model_validate(["crop", "simclr", "rotate270", "noise", "mask"])
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 65, 65), (3, 20, 33)]


def pictures(n, shape, seed=0):
    """Random 8-bit images in which grey pixels, ties between channels, black and white all occur."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), generator=generator)
    coarse = torch.randint(0, 3, (n, *shape), generator=generator) * 127 + 1
    grey = images[:, :1].expand_as(images)
    kind = torch.randint(0, 3, (n, 1, *shape[1:]), generator=generator)
    return torch.stack((images, coarse, grey)).gather(0, kind.expand_as(images)[None])[0].float() / 255


def drawn(step, shape, n=64, seed=3):
    return OPS[step.op].sample(CounterRNG(sample_keys(seed, torch.arange(n), 1), 0), step, shape)


def assert_each_like(step, shape, reference, n=64, tolerance=1e-5):
    """The op on a batch against `reference(image, parameters of that image)` on each image."""
    images, params = pictures(n, shape), drawn(step, shape, n)
    got = OPS[step.op].apply(images, params)
    expected = torch.stack([reference(image, {name: value[i] for name, value in params.items()}) for i, image in enumerate(images)])
    assert not torch.equal(expected, images)
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


# --- each op against torchvision


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_is_torchvisions(shape):
    step = Crop(padding=0.25)
    top, left = (round(0.25 * side) for side in shape[1:])

    def reference(image, params):
        y, x = params["offset"].tolist()
        return tv.crop(tv.pad(image, [left, top]), y + top, x + left, *shape[1:])

    assert_each_like(step, shape, reference, tolerance=0)
    offset = drawn(step, shape, 4000)["offset"]
    for column, padding in zip(offset.T, (top, left), strict=True):
        counts = torch.bincount(column + padding, minlength=2 * padding + 1)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-4
        assert len(counts) == 2 * padding + 1


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_resize_is_torchvisions(shape):
    def reference(image, params):
        return tv.resized_crop(image, *params["box"].tolist(), size=shape[1:], antialias=True)

    assert_each_like(CropResize(), shape, reference)
    assert_each_like(CropResize(scale=(0.01, 0.1), ratio=(0.3, 3.0)), shape, reference)


def test_crop_resize_looks_at_nothing_outside_its_box():
    images, params = torch.zeros(64, 3, 32, 32), drawn(CropResize(scale=(0.1, 0.5)), (3, 32, 32))
    for image, (top, left, height, width) in zip(images, params["box"].tolist(), strict=True):
        image += 1
        image[:, top : top + height, left : left + width] = 0
    assert images.amax() == 1
    assert OPS["crop_resize"].apply(images, params).amax() < 1e-5


@pytest.mark.parametrize(
    ("size", "step"),
    [
        ((32, 32), CropResize()),
        ((20, 33), CropResize(scale=(0.5, 1.0))),
        ((12, 40), CropResize(scale=(0.3, 1.0), ratio=(1.0, 2.0))),  # about a tenth falls back to the central crop
    ],
)
def test_crop_boxes_follow_torchvisions_distribution(size, step):
    n = 5000
    image = torch.empty(3, *size)
    torch.manual_seed(0)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, list(step.scale), list(step.ratio)) for _ in range(n)])
    ours = drawn(step, (3, *size), n)["box"]
    other = drawn(step.model_copy(update={"scale": (step.scale[0] + 0.2, 1.0)}), (3, *size), n)["box"]

    def p_values(a, b):
        area, slack = (lambda box: box[:, 2] * box[:, 3]), (lambda box: box[:, 0] - box[:, 1])
        columns = [(a[:, i], b[:, i]) for i in range(4)] + [(area(a), area(b)), (slack(a), slack(b))]
        return [stats.ks_2samp(x.numpy(), y.numpy()).pvalue for x, y in columns]

    assert min(p_values(ours, theirs)) > 1e-4
    assert min(p_values(other, theirs)) < 1e-8


@pytest.mark.parametrize(("size", "ratio"), [((20, 60), (0.9, 1.1)), ((60, 21), (0.9, 1.1)), ((21, 60), (3.5, 4.0))])
def test_the_fallback_is_torchvisions_central_crop(size, ratio):
    box = RandomResizedCrop.get_params(torch.empty(3, *size), [1.0, 1.0], list(ratio))
    assert drawn(CropResize(scale=(1.0, 1.0), ratio=ratio), (3, *size), 5)["box"].tolist() == [list(box)] * 5


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_is_torchvisions(shape):
    assert_each_like(Flip(), shape, lambda image, params: tv.horizontal_flip(image) if params["flip"] else image, tolerance=0)
    assert abs(drawn(Flip(p=0.3), shape, 10000)["flip"].float().mean() - 0.3) < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_rotate_is_torchvisions(shape):
    def reference(image, params):
        return tv.rotate(image, params["angle"].item(), InterpolationMode.BILINEAR)

    assert_each_like(Rotate(degrees=270), shape, reference, tolerance=2e-5)
    angle = drawn(Rotate(degrees=270), shape, 4000)["angle"]
    assert stats.kstest(angle.numpy(), stats.uniform(-270, 540).cdf).pvalue > 1e-4


def test_rotation_by_quarter_turns_is_exact():
    images = pictures(5, (3, 9, 9))
    angle = torch.tensor([0.0, 90.0, 180.0, -90.0, 360.0]).double()
    expected = torch.stack([torch.rot90(image, k, (1, 2)) for image, k in zip(images, (0, 1, 2, 3, 0), strict=True)])
    torch.testing.assert_close(OPS["rotate"].apply(images, {"angle": angle}), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "step", [ColorJitter(), ColorJitter(brightness=1.5, contrast=2, saturation=2, hue=0.5, p=1), ColorJitter(hue=0)]
)
def test_color_jitter_is_torchvisions(shape, step):
    def reference(image, params):
        brightness, contrast, saturation = params["factors"].tolist()
        adjust = (
            lambda x: tv.adjust_brightness(x, brightness),
            lambda x: tv.adjust_contrast(x, contrast),
            lambda x: tv.adjust_saturation(x, saturation),
            lambda x: tv.adjust_hue(x, params["hue"].item()) if "hue" in params else x,
        )
        for kind in params["order"].tolist() if params["jitter"] else ():
            image = adjust[kind](image)
        return image

    assert_each_like(step, shape, reference, n=48)


def test_color_jitter_draws_factors_orders_and_gate_as_torchvision_does():
    n = 20000
    params = drawn(ColorJitter(brightness=1.5, contrast=0.4, saturation=0.2, hue=0.1, p=0.8), (3, 8, 8), n)
    assert abs(params["jitter"].float().mean() - 0.8) < 0.015
    orders = params["order"] @ torch.tensor([64, 16, 4, 1])
    counts = orders.unique(return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4
    assert (params["order"].sort(1).values == torch.arange(4)).all()
    for values, low, high in zip((*params["factors"].T, params["hue"]), (0, 0.6, 0.8, -0.1), (2.5, 1.4, 1.2, 0.1), strict=True):
        assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-4


def test_color_jitter_and_drop_refuse_two_channels():
    for policy in (["color_jitter"], ["color_drop"]):
        with pytest.raises(UserError, match="2 channels"):
            make_views(torch.rand(4, 2, 8, 8), torch.arange(4), view=1, seed=0, policy=Policy.model_validate(policy))


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 20, 33)])
def test_color_drop_is_torchvisions(shape):
    assert_each_like(
        STEPS["color_drop"](p=0.5),
        shape,
        lambda image, params: tv.rgb_to_grayscale(image, 3) if params["drop"] else image,
        tolerance=1e-6,
    )
    grey = pictures(8, (1, *shape[1:]))
    assert torch.equal(OPS["color_drop"].apply(grey, {"drop": torch.ones(8, dtype=torch.bool)}), grey)


def test_noise_is_normal_and_clamped():
    noise = drawn(Noise(mean=0.1, sigma=0.2), (3, 31, 7), 200)["noise"].double()
    assert noise.shape == (200, 3, 31, 7)
    values = noise.flatten().numpy()
    assert stats.kstest(values, stats.norm(0.1, 0.2).cdf).pvalue > 1e-4
    assert abs(values.mean() - 0.1) < 5 * 0.2 / math.sqrt(values.size)
    assert abs(values.std() - 0.2) < 5 * 0.2 / math.sqrt(2 * values.size)
    neighbours = torch.corrcoef(torch.stack((noise.flatten()[:-1], noise.flatten()[1:])))[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(values.size)
    assert_each_like(Noise(sigma=0.5), (3, 8, 8), lambda image, params: (image + params["noise"]).clamp(0, 1), tolerance=0)


@pytest.mark.parametrize(("side", "ratio", "tile"), [(32, 0.75, 4), (8, 0.75, 1), (28, 0.5, 4), (30, 0.3, 4)])
def test_mask_hides_exactly_its_share_of_whole_patches(side, ratio, tile):
    hidden = drawn(Mask(ratio=ratio), (1, side, side), 300)["hidden"]
    across = math.ceil(side / tile)
    patches = hidden[:, ::tile, ::tile]
    assert patches.shape[1:] == (across, across)
    assert (patches.sum((1, 2)) == round(ratio * across**2)).all()
    assert torch.equal(patches.repeat_interleave(tile, 1).repeat_interleave(tile, 2)[:, :side, :side], hidden)
    spread = math.sqrt(ratio * (1 - ratio) / 300)
    assert (patches.float().mean(0) - ratio).abs().amax() < 5 * spread
    images = pictures(300, (3, side, side)) * 0.5 + 0.5
    assert torch.equal(OPS["mask"].apply(images, {"hidden": hidden}), images.masked_fill(hidden[:, None], 0))


# --- the generator


def test_keys_and_bits_are_splitmix64():
    whole = 2**64

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % whole
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % whole
        return x ^ (x >> 31)

    ids = torch.tensor([0, 1, 5, 2**62, -3])
    for seed, view, stream in ((0, 0, 0), (1, 2, 3), (-5, 1, 7), (2**70 + 1, 9, 1)):
        expected = [mix((mix((mix((seed + 0x9E3779B97F4A7C15) % whole) + i) % whole) + view) % whole) for i in ids.tolist()]
        key = sample_keys(seed, ids, view)
        assert [k % whole for k in key.tolist()] == expected
        start = [mix((k + (stream + 1) * 0xD1342543DE82EF95) % whole) for k in expected]
        bits = [[mix((s + j * 0x9E3779B97F4A7C15) % whole) for j in (1, 2, 3)] for s in start]
        rng = CounterRNG(key, stream)
        assert [[b % whole for b in row] for row in rng.bits(3).tolist()] == bits
        assert rng.uniform(3).tolist() == [[(b >> 11) / 2**53 for b in row] for row in bits]


def test_draws_are_uniform_and_independent_over_seeds_ids_views_streams_and_elements():
    n, elements = 4096, 4
    ids = torch.arange(n)
    columns = torch.stack(
        [
            CounterRNG(sample_keys(seed, ids + shift, view), stream).uniform(elements)[:, element]
            for seed in (0, 1)
            for shift in (0, n)
            for view in (0, 1, 2)
            for stream in (0, 1, 2)
            for element in range(elements)
        ]
    )
    lagged = torch.cat((columns, columns[:, torch.arange(n) - 1]))
    correlation = torch.corrcoef(lagged).fill_diagonal_(0).abs()
    assert correlation.amax() < 5.5 / math.sqrt(n)
    assert (columns.mean(1) - 0.5).abs().amax() < 5 / math.sqrt(12 * n)
    p_values = [stats.kstest(column, "uniform").pvalue for column in columns.numpy()]
    assert min(p_values) > 0.01 / len(p_values)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4
    assert columns.unique().numel() == columns.numel()


def test_every_bit_is_fair():
    bits = CounterRNG(sample_keys(0, torch.arange(4096), 1)).bits(4).flatten()
    share = torch.stack([((bits >> place) & 1).double().mean() for place in range(64)])
    assert (share - 0.5).abs().amax() < 5 * 0.5 / math.sqrt(len(bits))


def test_a_step_draws_the_same_whatever_follows_it_and_differently_elsewhere():
    images, ids = pictures(64, (3, 16, 16)), torch.arange(64)

    def views(*ops):
        return make_views(images, ids, view=1, seed=0, policy=Policy.model_validate(list(ops)))

    second = OPS["mask"].sample(CounterRNG(sample_keys(0, ids, 1), 1), Mask(), (3, 16, 16))
    assert torch.equal(OPS["mask"].apply(views("noise"), second), views("noise", "mask"))
    step = Noise()
    first, second = (
        OPS["noise"].sample(CounterRNG(sample_keys(0, ids, 1), stream), step, (3, 16, 16))["noise"].flatten() for stream in (0, 1)
    )
    assert torch.corrcoef(torch.stack((first, second)))[0, 1].abs() < 5 / math.sqrt(first.numel())


# --- purity


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("shape", "policy"),
    [((3, 32, 32), POLICIES["simclr"]), *((shape, EVERYTHING) for shape in SHAPES)],
    ids=lambda value: getattr(value, "name", None),
)
def test_views_are_identical_to_the_bit_in_any_batch(shape, policy, threads):
    n = 512 if math.prod(shape) <= 4000 else 66  # the largest images would take half of the time
    images = pictures(n, shape)
    ids = torch.arange(n) * 7919 + 3
    threads(1)
    whole = make_views(images, ids, view=2, seed=11, policy=policy)

    def check(rows):
        assert torch.equal(make_views(images[rows], ids[rows], view=2, seed=11, policy=policy), whole[rows])

    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    for count in (1, 2):
        threads(count)
        check(slice(None))
        check(shuffled)
        check(slice(5, None, 3))
        for size in (1, 2, 7, 31):
            for start in (0, n - size):
                check(slice(start, start + size))
        check(shuffled[:31])
    threads(1)
    assert torch.equal(make_views(images.to(memory_format=torch.channels_last), ids, view=2, seed=11, policy=policy), whole)


def test_one_view_each_is_the_same_as_one_view_for_all():
    images, ids = pictures(40, (3, 16, 16)), torch.arange(40)
    view = torch.arange(40) % 4
    each = make_views(images, ids, view=view, seed=5, policy=EVERYTHING)
    scored = scored_view(images, ids, view=view, seed=5, policy=EVERYTHING)
    for index in range(4):
        rows = view == index
        for_all = make_views(images, ids, view=index, seed=5, policy=EVERYTHING)
        assert torch.equal(each[rows], for_all[rows])
        expected = for_all if index else images
        assert torch.equal(scored[rows], expected[rows])
        assert torch.equal(scored_view(images, ids, view=index, seed=5, policy=EVERYTHING), expected)
    assert not torch.equal(each, scored)


@given(
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 14), st.integers(1, 14)),
    n=st.integers(0, 6),
    names=st.lists(st.sampled_from([*STEPS, *POLICIES]), min_size=1, max_size=4),
    seed=st.integers(-(2**63), 2**64),
    view=st.integers(0, 1000),
    value=st.sampled_from([None, 0.0, 1.0, 1 / 3]),
)
@settings(max_examples=120, deadline=None)
def test_views_keep_range_shape_and_input(shape, n, names, seed, view, value):
    policy = Policy.model_validate(names)
    images = pictures(n, shape, seed=view) if value is None else torch.full((n, *shape), value)
    before, ids = images.clone(), torch.arange(n) * 31
    views = make_views(images, ids, view=view, seed=seed, policy=policy)
    assert views.shape == images.shape
    assert views.dtype == images.dtype
    assert torch.equal(images, before)
    assert ((views >= 0) & (views <= 1)).all()
    assert torch.equal(views, make_views(images, ids, view=view, seed=seed, policy=policy))
    assert torch.equal(views[1:], make_views(images[1:], ids[1:], view=view, seed=seed, policy=policy))


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "identity"])
def test_seed_id_and_view_each_change_the_view(name):
    images = pictures(1, (3, 32, 32)).expand(200, -1, -1, -1)
    base = {"ids": torch.arange(200), "view": 1, "seed": 0}
    views = make_views(images, **base, policy=POLICIES[name])
    for other in ({"ids": torch.arange(200) + 200}, {"view": 2}, {"seed": 1}):
        changed = make_views(images, **(base | other), policy=POLICIES[name])
        assert (views != changed).flatten(1).any(1).float().mean() > 0.2
    assert (views[1:] != views[:-1]).flatten(1).any(1).float().mean() > 0.2


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-5), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_other_dtypes_agree_with_float32(dtype, tolerance):
    images, ids = pictures(32, (3, 16, 16)).to(dtype), torch.arange(32)
    views = make_views(images, ids, view=1, seed=0, policy=POLICIES["simclr"])
    assert views.dtype == dtype
    single = make_views(images.float(), ids, view=1, seed=0, policy=POLICIES["simclr"])
    torch.testing.assert_close(views.float(), single, rtol=0, atol=tolerance)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("shape", SHAPES)
def test_cuda_agrees_with_the_cpu(shape):
    images, ids = pictures(64, shape), torch.arange(64)
    views = make_views(images.cuda(), ids, view=1, seed=0, policy=EVERYTHING)
    assert views.is_cuda
    torch.testing.assert_close(views.cpu(), make_views(images, ids, view=1, seed=0, policy=EVERYTHING), rtol=0, atol=1e-4)


# --- the edge


def test_to_float_is_torchvisions():
    stored = torch.randint(0, 256, (5, 6, 7, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([to_tensor(image.numpy()) for image in stored])
    assert torch.equal(to_float(stored), expected)
    assert to_float(stored).is_contiguous()
    for wrong in (stored.float(), stored[0]):
        with pytest.raises(UserError, match="uint8"):
            to_float(wrong)


def test_mistakes_are_named():
    images, ids = torch.rand(4, 3, 8, 8), torch.arange(4)
    for wrong in (images[0], (images * 255).byte()):
        with pytest.raises(UserError, match="images: got"):
            make_views(wrong, ids, view=1, seed=0, policy=POLICIES["noise"])
    for wrong in (ids[:3], ids.int(), ids.float()):
        with pytest.raises(UserError, match="ids: got"):
            make_views(images, wrong, view=1, seed=0, policy=POLICIES["noise"])
    with pytest.raises(UserError, match="view: got"):
        make_views(images, ids, view=ids[:2], seed=0, policy=POLICIES["noise"])


@pytest.mark.parametrize("at_once", [0, 2**22])
def test_several_views_are_the_single_ones(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslmem_kit.views.make.AT_ONCE", at_once)
    images = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    ids, policy = torch.tensor([3, 1, 4, 15, 9]), Policy.model_validate("simclr")
    together = several_views(images, ids, views=[7, 2, 3], seed=11, policy=policy)
    assert len(together) == 3
    for view, drawn in zip([7, 2, 3], together, strict=True):
        assert torch.equal(drawn, make_views(images, ids, view=view, seed=11, policy=policy))
