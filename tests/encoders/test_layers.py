"""Layers: which they are, what is captured of them, that nothing else changes by it, how they are stored and read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import holoviews as hv
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from torch import Tensor, nn

from sslmem_kit import store
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.encoders.layers import Layered
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.quantities import of_store
from sslmem_kit.figures import layers, save_figure, units
from sslmem_kit.measures.alignment import align, measure
from sslmem_kit.report.build import build_report
from sslmem_kit.report.text import as_text
from sslmem_kit.report.validate import problems
from sslmem_kit.run.resources import required_bytes
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics import layers as localization
from sslmem_kit.statistics import units as units_
from sslmem_kit.store import integrity
from sslmem_kit.store.schema import OLD_UNIT_RULE, UNIT_RULE
from sslmem_kit.study import Study
from tests.support.fake_study import add_group, make_study, workers_in_this_process
from tests.training.test_loop import make_spec

VIT = BackboneSpec(backbone="vit_tiny_patch16_224", options={"depth": 2, "embed_dim": 24, "num_heads": 2, "patch_size": 8})
RESNET = BackboneSpec(backbone="resnet18", stem="stock", options={"layers": [1, 1, 1, 0], "channels": [8, 8, 16, 16]})


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with workers_in_this_process():
        yield


def encoder(spec: BackboneSpec | str, side: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return build_encoder(BackboneSpec(backbone=spec) if isinstance(spec, str) else spec, (side, side, 3)).eval()


def images(count: int = 2, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def hooks_of(module: nn.Module) -> list[object]:
    return [hook for part in module.modules() for hook in (*part._forward_hooks, *part._forward_pre_hooks)]


class Toy(nn.Module):
    """A module of each kind that is hard to capture."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.active = nn.ReLU(inplace=True)
        self.twice = nn.Linear(4, 4)
        self.pair = Pair()
        self.unused = nn.Linear(4, 4)
        self.windows = Windows()
        self.index = Index()
        self.same = nn.Dropout()

    def forward(self, batch: Tensor) -> Tensor:
        out = self.active(self.first(batch))
        out = self.twice(self.twice(out))
        out = self.pair(out)[0]
        out = out + self.windows(out).unflatten(0, (-1, 2)).sum(1)
        return self.same(out) * self.index(out).sum()


class Pair(nn.Module):
    def forward(self, batch: Tensor) -> tuple[Tensor, str]:
        return batch.sin(), "beside it"


class Windows(nn.Module):
    def forward(self, batch: Tensor) -> Tensor:
        return batch.repeat_interleave(2, dim=0)


class Index(nn.Module):
    def forward(self, batch: Tensor) -> Tensor:
        return torch.ones(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (VIT, ["patch_embed", "blocks.0", "blocks.1", "norm"]),
        (RESNET, ["act1", "layer1", "layer2", "layer3"]),  # layer4 has no block: it passes on what layer3 gives
        ("resnet18", ["act1", "layer1", "layer2", "layer3", "layer4"]),
        ("convnext_atto", ["stem", "stages.0", "stages.1", "stages.2", "stages.3"]),
        ("mobilenetv3_small_050", ["bn1", *(f"blocks.{number}" for number in range(6))]),
        ("regnetx_002", ["stem", "s1", "s2", "s3", "s4"]),
        ("efficientnet_lite0", ["bn1", *(f"blocks.{number}" for number in range(7)), "bn2"]),
    ],
)
def test_auto_takes_stem_stages_and_the_whole_output(spec: BackboneSpec | str, names: list[str]) -> None:
    built, batch = encoder(spec), images()
    layered = Layered(built, "auto", batch)
    assert list(layered.names) == names
    with torch.inference_mode():
        found, whole = layered(batch), built(batch)
    assert list(found) == names
    assert torch.equal(found[names[-1]], whole)
    assert all(len(value) == len(batch) for value in found.values())
    assert not hooks_of(built)


def test_layers_of_windowed_and_mixing_backbones() -> None:
    for backbone, first, last in (("swin_s3_tiny_224", "patch_embed", "norm"), ("mixer_s32_224", "stem", "norm")):
        built = encoder(backbone, 64)
        layered = Layered(built, "auto", images(1, 64))
        assert (layered.names[0], layered.names[-1]) == (first, last)
        assert layered.channels[last] == built.backbone.num_features


def test_a_vits_blocks_are_what_timm_gives_itself() -> None:
    built, batch = encoder(VIT), images()
    with torch.inference_mode():
        found = Layered(built, "auto", batch)(batch)
        maps = built.backbone.forward_intermediates(
            built.normalize(batch), norm=False, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
        )
    for number, (tokens, prefix) in enumerate(maps):
        assert torch.equal(found[f"blocks.{number}"], torch.cat([prefix, tokens], dim=1))


def test_what_is_overwritten_in_place_later_is_what_the_module_returned() -> None:
    built, batch = encoder("resnet18"), images()
    backbone = built.backbone
    with torch.inference_mode():
        found = Layered(built, ["bn1", "layer1.0.bn1", "layer2"], batch)(batch)
        expected = backbone.bn1(backbone.conv1(built.normalize(batch)))
    assert (expected < 0).any()
    assert torch.equal(found["bn1"], expected)  # act1 is ReLU(inplace=True)
    assert (found["layer1.0.bn1"] < 0).any()
    assert list(found) == ["bn1", "layer1.0.bn1", "layer2", "layer4"]


def test_all_takes_every_tensor_once() -> None:
    toy = Toy().eval()
    assert Layered(toy, "all", torch.ones(1, 4)).names == ("first", "active", "pair", "output")
    built = encoder("resnet18")
    names = Layered(built, "all", images()).names
    assert {"act1", "bn1", "layer1", "layer1.0", "layer2.0.downsample", "layer4"} <= set(names)
    assert not {"layer1.1", "layer1.1.act2", "layer4.1"} & set(names)  # they return what layer1 and layer4 return
    assert names[-1] == "layer4"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fist", "has no module 'fist', near are first"),
        ("twice", "'twice' is called 2 times"),
        ("unused", "'unused' is not called"),
        ("windows", r"'windows' returns \[6, 4\] for 3 samples"),
        ("index", "'index' returns no floating tensor"),
    ],
)
def test_what_is_no_layer_is_refused(name: str, message: str) -> None:
    toy = Toy().eval()
    with pytest.raises(UserError, match=rf"scoring\.layers: .*{message}"):
        Layered(toy, ["first", name], torch.ones(1, 4))
    assert not hooks_of(toy)


def test_of_a_tuple_the_first_tensor_is_taken_and_named_layers_come_in_forward_order() -> None:
    toy, batch = Toy().eval(), torch.randn(5, 4)
    layered = Layered(toy, ["pair", "first"], batch)
    assert layered.names == ("first", "pair", "output")
    with torch.no_grad():
        found = layered(batch)
        first = toy.first(batch)
    assert torch.equal(found["first"], first)
    assert torch.equal(found["pair"], toy.twice(toy.twice(first.relu())).sin())


def test_hooks_go_with_an_error_too() -> None:
    toy = Toy().eval()
    layered = Layered(toy, "all", torch.ones(1, 4))
    with pytest.raises(RuntimeError):
        layered(torch.ones(2, 5))
    assert not hooks_of(toy)
    toy.active.forward = lambda batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        Layered(toy, "auto", torch.ones(1, 4))
    assert not hooks_of(toy)


def test_units_lie_along_the_channels() -> None:
    assert Layered(encoder(VIT), "auto", images()).channels == dict.fromkeys(["patch_embed", "blocks.0", "blocks.1", "norm"], 24)
    built, batch = encoder("resnet18"), images()
    layered = Layered(built, ["layer1"], batch)
    assert layered.channels == {"layer1": 64, "layer4": 512}
    with torch.inference_mode():
        activations, found = layered.activations(batch), layered(batch)
    torch.testing.assert_close(activations[:, :64], found["layer1"].mean(dim=(2, 3)))  # behind a ReLU: nothing is negative
    torch.testing.assert_close(activations[:, 64:], found["layer4"].abs().mean(dim=(2, 3)))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("spec", [VIT, RESNET], ids=["vit", "resnet"])
def test_the_whole_output_is_measured_the_same_to_the_bit(spec: BackboneSpec, precision: str) -> None:
    study = make_spec("simclr").model_copy(update={"encoder": spec})
    samples = load_samples(study)
    torch.manual_seed(0)
    built = build_encoder(spec.model_copy(update={"options": {**spec.options, "in_chans": 1}}), samples.dataset.image_shape).eval()
    ids = samples.dataset.ids[:37]
    options = {"views": 3, "policy": study.scoring.policy, "seed": 5, "batch_size": 16, "precision": precision}
    alone = measure(built, ImageLoader(samples.dataset, "cpu"), ids, **options)
    every = measure(Layered(built, "all", torch.zeros(1, 1, 8, 8)), ImageLoader(samples.dataset, "cpu"), ids, **options)
    assert np.array_equal(list(every.values())[-1], alone)
    assert all(
        values.shape == alone.shape and values.dtype == np.float32 and np.isfinite(values).all() for values in every.values()
    )


def test_layers_do_not_change_what_goes_into_a_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bits depend on how many views go together."""
    built, batch = encoder("resnet18"), images(12)
    monkeypatch.setattr("sslmem_kit.measures.alignment.HELD_BYTES", 5 * built(batch[:1]).nbytes)
    seen: dict[str, list[int]] = {"alone": [], "layers": []}

    def counted(encode: object, name: str) -> object:
        return lambda views: (seen[name].append(len(views)), encode(views))[1]

    def view(images: Tensor, ids: Tensor, number: int, seed: int) -> Tensor:
        return images.roll(number, dims=-1)

    (alone,) = align(counted(built, "alone"), view, [(np.arange(12), batch)], views=2, seed=0)
    (every,) = align(counted(Layered(built, "auto", batch), "layers"), view, [(np.arange(12), batch)], views=2, seed=0)
    assert seen["alone"] == seen["layers"]
    assert max(seen["alone"]) < 12
    assert np.array_equal(list(every.values())[-1], alone)


def test_layers_align_by_a_simple_reimplementation() -> None:
    built, batch = encoder(RESNET), images(4)
    layered = Layered(built, "auto", batch)

    def view(images: Tensor, ids: Tensor, number: int, seed: int) -> Tensor:
        return images.roll(number, dims=-1)

    (found,) = align(layered, view, [(np.arange(4), batch)], views=2, seed=0)
    with torch.inference_mode():
        views = [{name: value.flatten(1) for name, value in layered(view(batch, None, number, 0)).items()} for number in range(3)]
    for name in layered.names:
        unit = [value[name] / value[name].norm(dim=1, keepdim=True) for value in views]
        expected = torch.stack([(unit[a] - unit[b]).norm(dim=1) for a, b in ((0, 1), (0, 2), (1, 2))], dim=1)
        np.testing.assert_allclose(found[name], expected.numpy(), rtol=1e-4, atol=1e-6)


def with_layers(wanted: object = "auto") -> StudySpec:
    spec = make_spec("simclr", epochs=2)
    return spec.model_copy(update={"scoring": spec.scoring.model_copy(update={"layers": wanted})})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run_study(with_layers(), tmp_path_factory.mktemp("layers") / "tiny", workers=1)


@pytest.fixture
def study(whole: Study, tmp_path: Path) -> Study:
    shutil.copytree(whole.path, tmp_path / "tiny")
    return Study(tmp_path / "tiny")


def test_a_study_stores_layers_beside_unchanged_scores(whole: Study, tmp_path: Path) -> None:
    plain = run_study(make_spec("simclr", epochs=2), tmp_path / "plain", workers=1)
    assert np.array_equal(whole.tree["alignment"].values, plain.tree["alignment"].values)
    assert "layers" not in plain.tree.children
    stored = whole.tree["layers/alignment"]
    assert stored.dims == ("sample", "encoder", "layer")
    assert stored.dtype == np.float32
    assert stored["layer"].dtype.kind == "T"
    names = stored["layer"].values.tolist()
    assert len(names) > 2
    root_views = int(whole.results["view_b"].max())
    root = whole.tree["alignment"].transpose("encoder", "sample", "augmentation").values
    np.testing.assert_allclose(stored.isel(layer=-1).values.T, root @ store.pair_weights(root_views), rtol=1e-6)
    array = zarr.open_group(whole.results_path, mode="r")["layers/alignment"]
    assert array.chunks == (40, 1, len(names))
    group = whole.tree["units"].to_dataset()
    assert list(dict.fromkeys(group["layer"].values.tolist())) == names
    assert group.attrs["rule"] == UNIT_RULE
    assert not any("UnitMem" in sentence for sentence in whole.caveats)
    assert np.isfinite(group["null"]).all()
    assert ((group["unit_mem"] >= -1) & (group["unit_mem"] <= 1)).all()
    assert np.isin(group["strongest"], [*whole.tree["sample"].values, -1]).all()
    assert list(problems(whole.path)) == []


def test_an_interrupted_study_goes_on_to_the_same_layers(study: Study, whole: Study) -> None:
    shutil.rmtree(study.results_path / "units")
    group = zarr.open_group(study.results_path, mode="r+", use_consolidated=False)
    group["completeness/scored"][1, 1:] = False
    group["layers/alignment"][40:, 1] = np.nan
    group["alignment"][40:, :, 1] = np.nan
    store.set_attributes(study.results_path, {"seconds": 1.0})  # takes the consolidated metadata away
    assert store.is_finished(study.results_path) is False
    resumed = run_study(with_layers(), study.path, workers=1)
    for name in ("layers", "units"):
        xr.testing.assert_identical(resumed.tree[name].to_dataset().load(), whole.tree[name].to_dataset().load())
    assert list(problems(resumed.path)) == []


def test_units_that_were_lost_are_made_again(study: Study, whole: Study) -> None:
    shutil.rmtree(study.results_path / "units")
    store.finish(study.results_path)
    assert store.unlisted_details(study.results_path) == ["units"]
    resumed = run_study(with_layers(), study.path, workers=1)
    xr.testing.assert_identical(resumed.tree["units"].to_dataset().load(), whole.tree["units"].to_dataset().load())


@pytest.mark.parametrize(
    ("array", "at", "value", "message"),
    [
        ("layers/alignment", (3, 0, 0), np.nan, "/layers: alignment holds values outside 0..2"),
        ("layers/alignment", (3, 0, 0), 2.5, "/layers: alignment holds values outside 0..2"),
        ("layers/alignment", (3, 0, -1), 1.99, "/layers: the alignment of the last layer"),
        ("units/unit_mem", (0, 0), 1.5, "/units: unit_mem holds values outside -1..1"),
        ("units/strongest", (0, 0), 10**9, "/units: strongest holds ids"),
    ],
)
def test_validation_sees_damage(study: Study, array: str, at: tuple[int, ...], value: float, message: str) -> None:
    zarr.open_group(study.results_path, mode="r+", use_consolidated=False)[array][at] = value
    store.finish(study.results_path)
    integrity.renew(study.results_path)
    assert [problem for problem in problems(study.path) if message in problem]


def test_the_schema_has_the_dimensions(study: Study) -> None:
    group = study.tree["layers"].to_dataset(inherit=False).load()
    shutil.rmtree(study.results_path / "layers")
    add_group(study, "layers", group.transpose("encoder", "sample", "layer"))
    with pytest.raises(UserError, match="group /layers has 'alignment' with dimensions"):
        store.open_results(study.results_path)


def test_the_spec_names_layers_and_old_hashes_stay() -> None:
    plain = {"name": "x", "data": {"name": "digits"}}
    assert parse_spec({**plain, "scoring": {"layers": []}}, where="test").hash == parse_spec(plain, where="test").hash
    assert parse_spec({**plain, "scoring": {"layers": "auto"}}, where="test").hash != parse_spec(plain, where="test").hash
    assert parse_spec({**plain, "scoring": {"layers": ["blocks.1"]}}, where="test").scoring.layers == ["blocks.1"]
    for wrong, message in (("blocks.1", "allowed are 'auto', 'all' and a list"), ([1], "allowed are"), (["a", "a"], "twice")):
        with pytest.raises(UserError, match=rf"scoring\.layers: .*{message}"):
            parse_spec({**plain, "scoring": {"layers": wrong}}, where="test")


def test_an_unknown_layer_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scoring\.layers: the backbone has no module 'layr1', near are layer1"):
        run_study(with_layers(["layr1"]), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_the_estimate_of_disk_knows_layers() -> None:
    spec, facts = make_spec("simclr"), {"parameters": 1, "objective_parameters": 1, "layers": {}}
    samples = load_samples(spec)
    without = required_bytes(spec, samples, facts)
    told = required_bytes(spec, samples, {**facts, "layers": {"a": 3, "b": 5}})
    assert not {"layers", "units"} & set(without)
    assert told["layers"] == 4 * 90 * 2 * 2
    assert told["units"] == 24 * 2 * 8


# What is read from the store, without torch


@pytest.fixture
def made_up(tmp_path: Path) -> Study:
    """Three layers, of which the last alone tells the families apart: by 0.3 for candidates; and units of four encoders."""
    study, rng = make_study(tmp_path / "made-up", samples=300, seeds=2), np.random.default_rng(1)
    tree = study.tree
    seen, family = tree["trained_on"].values, tree["family"].values.astype(object)
    codes, ids = tree["partition"].values, tree["sample"].values
    values = rng.normal(0.8, 0.05, (*seen.shape, 3)).astype(np.float32)
    values[:, :, 2] -= 0.3 * (seen & np.isin(codes, [1, 2])[:, None])
    names = np.array(["stem", "middle", "top"], np.dtypes.StringDType())
    add_group(study, "layers", xr.Dataset({"alignment": (("sample", "encoder", "layer"), values)}, {"layer": names}))
    members = {"f": ids[codes == 1], "g": ids[codes == 2]}
    strongest = rng.choice(ids[np.isin(codes, [1, 2])], (len(family), 80))
    for row, name in enumerate(family):
        strongest[row, 40:] = rng.choice(members[name], 40)  # the second layer knows what its encoder has seen
    dims, unit_mem = ("encoder", "unit"), rng.random((len(family), 80)).astype(np.float32)
    columns = dict.fromkeys(("unit_mem", "standard_error", "response", "background"), (dims, unit_mem))
    layer = np.repeat(np.array(["stem", "top"], np.dtypes.StringDType()), 40)
    coords = {"layer": ("unit", layer), "channel": ("unit", np.tile(np.arange(40), 2))}
    add_group(study, "units", xr.Dataset({**columns, "strongest": (dims, strongest)}, coords))
    return Study(study.path)


def test_scores_by_layer_are_family_differences(made_up: Study) -> None:
    scores = localization.layer_scores(made_up.tree)
    values, family = made_up.tree["layers/alignment"].values, made_up.tree["family"].values.astype(object)
    expected = values[:, family == "g"].mean(axis=1) - values[:, family == "f"].mean(axis=1)
    np.testing.assert_allclose(scores["sslmem"], expected, atol=1e-6)
    table = localization.layer_table(scores)
    assert table["layer"].values.tolist() == ["stem", "middle", "top"]
    for number in range(3):
        for code, name in enumerate(("shared", "candidate", "independent", "extra")):
            part = expected[made_up.tree["partition"].values == code, number]
            one = table.isel(layer=number).sel(partition=name)
            assert one["mean"] == pytest.approx(part.mean(), abs=1e-6)
            assert one["interval"].mean() == pytest.approx(part.mean(), abs=1e-6)
    assert table["mean"].sel(layer="top", partition="candidate") == pytest.approx(0.3, abs=0.03)
    assert table["effect_interval"].sel(layer="top", bound="low") > 3
    low, high = table["effect_interval"].sel(layer="stem").values
    assert low < 0 < high


def test_the_last_layer_has_the_studys_scores(whole: Study) -> None:
    ours = localization.layer_scores(whole.tree)["sslmem"].isel(layer=-1)
    np.testing.assert_allclose(ours, whole.scores("corrected")["sslmem"], atol=1e-6)


def test_units_that_answer_to_what_was_seen_are_told_from_chance(made_up: Study) -> None:
    every, stem, top = (seen.isel(layer=row) for seen in [units_.strongest_seen(made_up.tree)] for row in range(3))
    assert (every["n_units"], stem["n_units"], top["n_units"]) == (320, 160, 160)
    assert top["share"] == 1
    assert top["p"] < 0.01
    assert stem["null_interval"].sel(bound="low") <= stem["share"] <= stem["null_interval"].sel(bound="high")
    assert stem["null_mean"] == pytest.approx(0.5, abs=0.02)
    assert every["share"] == pytest.approx((stem["share"] + top["share"]) / 2)


def test_permutations_in_slices_tell_the_same(made_up: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = units_.strongest_seen(made_up.tree)
    monkeypatch.setattr(units_, "SLICE_BYTES", 100_000)
    sliced = units_.strongest_seen(made_up.tree)
    xr.testing.assert_equal(whole[["share", "n_units"]], sliced[["share", "n_units"]])
    xr.testing.assert_allclose(whole["null_interval"], sliced["null_interval"], atol=0.03)
    xr.testing.assert_allclose(whole["p"], sliced["p"], atol=0.05)


def test_the_null_of_the_units_is_calibrated(made_up: Study) -> None:
    """Units that share few strongest samples: a binomial test would call a tenth of such studies significant at 0.05 or more."""
    tree, rng = made_up.tree, np.random.default_rng(0)
    codes, ids = tree["partition"].values, tree["sample"].values
    pool, p = ids[np.isin(codes, [1, 2])], []
    for number in range(60):
        few = rng.choice(pool, 10, replace=False)
        redrawn = tree["units"].to_dataset().assign(strongest=(("encoder", "unit"), rng.choice(few, (4, 80))))
        seen = units_.strongest_seen(xr.DataTree.from_dict({"/": tree.to_dataset(), "/units": redrawn}), seed=number)
        p.append(seen["p"].values[0])
    assert 15 < np.sum(np.array(p) < 0.5) < 45
    assert np.sum(np.array(p) < 0.05) <= 8


def test_the_report_has_a_table_of_layers(made_up: Study, tmp_path: Path) -> None:
    report = build_report(made_up)
    assert [row["layer"] for row in report["layers"]] == ["stem", "middle", "top"]
    assert json.loads(json.dumps(report, allow_nan=False))["strongest_seen"][0]["layer"] == "all layers"
    text = as_text(report)
    assert "UnitMem" in text
    # Units of a store without a rule are those of earlier versions: chosen and measured on the same views.
    (said,) = [warning for warning in report["warnings"] if "UnitMem" in warning]
    assert "pure noise gives .26 to .69; its values are too high" in said
    assert report["unit_rule"] == OLD_UNIT_RULE
    assert [row["null"] for row in report["units"]] == [None, None]
    assert "strongest sample of a unit seen in training" in text
    plain = make_study(tmp_path / "plain", samples=60, seeds=1, views=2)
    assert "layers" not in build_report(plain)
    with pytest.raises(UserError, match=r"scoring\.layers: this study was scored without layers"):
        localization.layer_scores(plain.tree)


@pytest.mark.parametrize("name", ["layers", "units"])
def test_the_figures_show_the_tables_and_open_offline(made_up: Study, name: str, tmp_path: Path) -> None:
    table = localization.layer_table(localization.layer_scores(made_up.tree))
    by_unit, seen = units_.unit_table(made_up.tree), units_.strongest_seen(made_up.tree)
    drawn = layers.plot(table) if name == "layers" else units.plot(by_unit, seen)
    shown = [points.dimension_values(1).tolist() for points in drawn.traverse(lambda x: x, [hv.Scatter])]
    if name == "layers":
        expected = [
            *table["mean"].sel(partition=list(layers.PARTITIONS)).values.T.tolist(),
            (100 * table["relative_effect"]).values.tolist(),
        ]
    else:
        expected = [by_unit["unit_mem"].sel(quantile=0.5).values.tolist(), seen["share"].values.tolist()]
    assert shown == [pytest.approx(values) for values in expected]
    page, picture = save_figure(drawn, tmp_path, name)
    assert "<script src" not in page.read_text()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_explorer_finds_the_layers_by_itself(whole: Study) -> None:
    names = whole.tree["layers/layer"].values.tolist()
    found = {quantity.key: quantity for quantity in of_store(whole.tree) if quantity.group == "layers"}
    assert set(found) == {f"layers/alignment:{family}@layer={name}" for family in ("f", "g", "g-f") for name in names}
    ids = tuple(str(name) for name in whole.tree["encoder"].values)
    read = found[f"layers/alignment:g-f@layer={names[-1]}"].read(whole.tree, ids)
    np.testing.assert_allclose(read, whole.scores()["difference"], atol=1e-6)
    assert not [quantity for quantity in of_store(whole.tree) if quantity.group == "units"]
