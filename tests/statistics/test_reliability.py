"""Reliability: parts that were put in are found, predictions come true on other seeds, and what cannot be told is said."""

from __future__ import annotations

import itertools
import json
import shutil

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
import yaml
from scipy import stats

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.figures import error_parts, save_figure
from sslmem_kit.figures import planning_curve as planning_curve_figure
from sslmem_kit.report.precision import planned, planned_as_text
from sslmem_kit.report.reliability import as_json, as_text, required_rows
from sslmem_kit.scores import family_contrast, score, select_protocol
from sslmem_kit.spec.audit import parse_audit
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.statistics.caveats import of_seeds
from sslmem_kit.statistics.precision import VarianceComponents, curve_of_study, planning_curve, required_seeds, variance_shares
from sslmem_kit.statistics.reliability import assess, bootstrap_weights, forecast, spearman_brown
from sslmem_kit.statistics.variance_components import CrossedScores
from sslmem_kit.study import Study
from tests.scores.test_intervals import by_pair, labelled, of_views
from tests.support.fake_study import make_study

TRUE = {"score": 1.0, "seeds": 2.0, "views": 0.6, "interaction": 4.0, "offset": 0.5}
EXACT = VarianceComponents(**TRUE)


def made(*, samples: int = 400, seeds: int = 6, views: int = 8, seed: int = 0, pairs: float = 0) -> xr.Dataset:
    """A store's root, half candidates and half shared, whose differences have the parts of ``TRUE`` under protocol released; with a variance
    of pairs of random views beside.
    """
    rng = np.random.default_rng(seed)
    family, number = np.array(["f", "g"] * seeds), np.repeat(np.arange(seeds), 2)
    partition = np.arange(samples) % 2

    def scaled(name: str, draw: np.ndarray) -> np.ndarray:
        return np.sqrt(TRUE[name]) * draw

    differences = scaled("score", rng.normal(size=(samples, 1, 1)))
    differences = differences + scaled("seeds", rng.normal(size=(samples, seeds, 1)))
    differences = differences + scaled("offset", rng.normal(size=(1, seeds, 1)))
    differences = differences + scaled("views", by_pair(of_views(rng, samples, 1, views + 1)))
    differences = differences + scaled("interaction", by_pair(of_views(rng, samples, seeds, views + 1)))
    first, _ = np.array(list(itertools.combinations(range(views + 1), 2))).T
    differences = differences + np.sqrt(pairs) * rng.normal(size=differences.shape) * (first > 0)
    values = np.zeros((samples, 2 * seeds, differences.shape[2])) + rng.normal(size=(samples, 1, 1))
    values[:, 1::2] += differences
    trained = np.array([[code == 0 or name == "f" for name in family] for code in partition])
    return xr.Dataset(
        {
            "alignment": labelled(values.transpose(0, 2, 1), views, family=family, seed=number),
            "trained_on": (("sample", "encoder"), trained),
        },
        {"partition": ("sample", partition), "encoder": [f"{f}-{n}" for f, n in zip(family, number, strict=True)]},
    )


def test_parts_that_were_put_in_are_found():
    found = [CrossedScores.of(made(seed=seed), "released").parts() for seed in range(40)]
    for name, value in TRUE.items():
        estimates = [getattr(parts, name) for parts in found]
        assert np.mean(estimates) == pytest.approx(value, abs=4 * stats.sem(estimates)), name
        assert stats.sem(estimates) < 0.2


OF_VIEWS = {"released": 1, "paper": 4, "corrected": 25 / 9}
"""Variance that the effect of a view has in a score of one view: it is in one mean, twice in the other, or in both."""
OF_PAIRS = {"released": 0, "paper": 1, "corrected": 4 / 9}


@pytest.mark.parametrize("protocol", OF_VIEWS)
@pytest.mark.parametrize("views", [4, 8])
def test_parts_of_every_protocol_are_found(protocol, views):
    found = [CrossedScores.of(made(views=views, seed=seed, pairs=9), protocol).parts() for seed in range(20)]
    expected = {**TRUE, "pairs": 9 * OF_PAIRS[protocol]}
    for name, value in expected.items():
        estimates = [getattr(parts, name) for parts in found]
        value = value * OF_VIEWS[protocol] if name in ("views", "interaction") else value
        assert np.mean(estimates) == pytest.approx(value, abs=4 * stats.sem(estimates) + 1e-9), name


@pytest.mark.parametrize("protocol", OF_VIEWS)
@pytest.mark.parametrize("views", [1, 2, 3, 5, 10, 20])
def test_the_score_that_is_measured_is_the_same_at_any_number_of_views(protocol, views):
    if protocol != "released" and views == 1:
        return
    rng, samples = np.random.default_rng(views), 3000
    a, _ = np.array(list(itertools.combinations(range(views + 1), 2))).T
    values = np.zeros((samples, len(a), 2)) + 0.1 * rng.normal(size=(samples, len(a), 2))
    values[:, :, 1] += np.where(a == 0, 1.0, 1.3)  # the kinds of pairs differ
    alignment = labelled(values, views, family=np.array(["f", "g"]))
    found = family_contrast(select_protocol(alignment, protocol))["sslmem"]
    expected = {"released": 1.0, "paper": 1.3, "corrected": 1 / 3 + 2 * 1.3 / 3}[protocol]
    assert float(found.mean()) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("protocol", OF_VIEWS)
@pytest.mark.parametrize("own", [4, 5, 10])
def test_precision_is_predicted_for_other_numbers_of_views(protocol, own):
    """Parts of one number of views against the correlation of scores of another number, of other seeds and views."""
    for other in (2, 5, 10):
        predicted, actual = [], []
        for seed in range(12):
            parts = CrossedScores.of(made(seeds=6, views=own, seed=seed, pairs=9), protocol).parts()
            predicted.append(parts.reliability(6, other))
            table = CrossedScores.of(made(seeds=12, views=2 * other, seed=100 + seed, pairs=9), protocol)
            halves = [
                table.only(seeds=range(6 * half, 6 * half + 6), views=range(1 + half * other, 1 + half * other + other))
                for half in range(2)
            ]
            actual.append(np.corrcoef(*(half.scores() for half in halves))[0, 1])
        error = np.hypot(stats.sem(predicted), stats.sem(actual))
        assert np.mean(predicted) == pytest.approx(np.mean(actual), abs=4 * error), (other, np.mean(predicted), np.mean(actual))
        assert error < 0.04


def test_parts_are_an_analysis_of_variance():
    table = CrossedScores.of(made(samples=60, seeds=4, views=5), "released")
    parts, x = table.parts(), table.differences.transpose(0, 2, 1)  # (sample, seed, view)
    n, s, v = x.shape
    by_sample, by_seed, by_both = x.mean(axis=(1, 2)), x.mean(axis=2), x.mean(axis=1)
    offset = by_seed.mean(axis=0)
    between = (by_seed - by_sample[:, None] - offset + x.mean()) ** 2
    ms_seeds = v * between.sum() / ((n - 1) * (s - 1))
    ms_views = s * ((by_both - by_sample[:, None]) ** 2).sum() / (n * (v - 1))
    ms_both = ((x - by_seed[:, :, None] - by_both[:, None] + by_sample[:, None, None]) ** 2).sum() / (n * (s - 1) * (v - 1))
    assert parts.interaction == pytest.approx(ms_both)
    assert parts.views == pytest.approx((ms_views - ms_both) / s)
    assert parts.seeds == pytest.approx((ms_seeds - ms_both) / v)
    assert parts.score == pytest.approx(by_sample.var(ddof=1) - (ms_seeds + ms_views - ms_both) / (s * v))
    assert parts.offset == pytest.approx(offset.var(ddof=1) - ms_seeds / (v * n))


def test_the_scores_are_those_of_the_study():
    root = made(seeds=3)
    for protocol in ("paper", "released", "corrected"):
        expected = score(root, protocol=protocol)["difference"].values[root["partition"].values == 1]
        np.testing.assert_allclose(CrossedScores.of(root, protocol).scores(), expected)


def test_halves_of_the_seeds_correlate_as_by_hand():
    root = made(samples=80, seeds=4)
    found, by_seed = assess(root).sel(halved="seeds"), CrossedScores.of(root).by_seed()
    halves = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    pairs = [(by_seed[:, one].mean(axis=1), by_seed[:, other].mean(axis=1)) for one, other in halves]
    assert found["splits"] == 3
    for name, correlate in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        value = np.mean([correlate(*pair).statistic for pair in pairs])
        one = found.sel(statistic=name)
        assert one["correlation"] == pytest.approx(value)
        assert one["full_correlation"] == pytest.approx(2 * value / (1 + value))
        low, high = one["correlation_interval"].values
        assert low < value < high


def test_equal_scores_share_their_rank():
    root = made(samples=80, seeds=4)
    root["alignment"].values[:] = np.round(root["alignment"].values)  # few levels, many ties
    table = CrossedScores.of(root)
    expected = np.mean([stats.spearmanr(one, other).statistic for one, other in table.split_halves("seeds")])
    found = assess(root)["correlation"].sel(halved="seeds", statistic="spearman").item()
    assert found == pytest.approx(expected, abs=1e-12)


def test_identical_encoders_order_nothing():
    """Ranks by position gave them a reliability of 1.00 [1.00, 1.00]."""
    root = made(seeds=4)
    root["alignment"].values[:] = root["alignment"].values[..., :1]
    found = assess(root)
    for name in ("correlation", "correlation_interval", "full_correlation", "full_correlation_interval", "reliability"):
        assert np.isnan(found[name]).all(), name
    assert any("all scores are equal" in sentence for sentence in found.attrs["unknown"])


@pytest.mark.parametrize(("seeds", "splits"), [(2, 1), (3, 3), (5, 15), (6, 10), (8, 35), (12, 100)])
def test_all_halvings_where_they_are_few(seeds, splits):
    found = assess(made(samples=40, seeds=seeds))["splits"]
    assert found.to_series().to_dict() == {"seeds": splits, "views": 35}


def test_the_reliability_is_the_correlation_with_other_seeds_and_views():
    parts = CrossedScores.of(made(samples=4000), "released").parts()
    for seeds, views in itertools.product((1, 3), (2, 4)):
        table = CrossedScores.of(made(samples=8000, seed=7), "released")
        one = table.only(seeds=range(seeds), views=range(1, views + 1))
        other = table.only(seeds=range(3, 3 + seeds), views=range(5, 5 + views))
        actual = np.corrcoef(one.scores(), other.scores())[0, 1]
        assert parts.reliability(seeds, views) == pytest.approx(actual, abs=0.04)
        assert EXACT.reliability(seeds, views) == pytest.approx(actual, abs=0.04)


def test_the_standard_error_is_that_of_the_scores():
    # Of studies that differ in all but the true scores, which are the first that are drawn: none is, so their variance is known.
    spread = [CrossedScores.of(made(samples=200, seeds=3, views=4, seed=seed), "released").scores() for seed in range(60)]
    total = np.mean([values.var(ddof=1) for values in spread]) + np.var([values.mean() for values in spread], ddof=1)
    assert np.sqrt(total - TRUE["score"]) == pytest.approx(EXACT.standard_error(3, 4), rel=0.08)


@pytest.mark.parametrize(
    ("name", "better", "wanted"), [("reliability", 1, (0.5, 0.8, 0.9)), ("standard_error", -1, (0.3, 0.7, 1.0))]
)
def test_fewest_seeds_are_the_fewest(name, better, wanted):
    predict = getattr(EXACT, name)
    for target in wanted:
        rows = required_rows(required_seeds(EXACT, **{name: target}))
        assert [row["views"] for row in rows] == [2, 5, 10, 20]
        for row in rows:
            seeds, views = row["seeds"], row["views"]
            if seeds is None:
                assert better * predict(10**9, views) < better * target
                continue
            assert better * predict(seeds, views) >= better * target - 1e-9
            assert seeds == 1 or better * predict(seeds - 1, views) < better * target
            assert row["encoders"] == 2 * seeds
            assert row["forward_passes"] == 2 * seeds * (views + 1)
    assert required_rows(required_seeds(EXACT, reliability=0.9))[0]["seeds"] is None


def test_the_curve_is_the_prediction():
    curve = planning_curve(EXACT, seeds=range(1, 9), views=(5, 10))
    assert curve["reliability"].dims == ("views", "seeds")
    assert float(curve["reliability"].sel(views=5, seeds=3)) == pytest.approx(EXACT.reliability(3, 5))
    assert float(curve["standard_error"].sel(views=10, seeds=2)) == pytest.approx(EXACT.standard_error(2, 10))


def test_negative_parts_count_as_nothing():
    parts = VarianceComponents(score=-0.1, seeds=-1.0, views=-1.0, interaction=2.0, offset=-1.0)
    assert parts.reliability(3, 5) == 0
    assert parts.standard_error(1, 2) == 1
    assert np.isnan(required_seeds(parts, reliability=0.8)["required_seeds"].values[0])


def test_one_seed_tells_no_reliability_and_says_so():
    found = assess(made(seeds=1))
    assert found.attrs["unknown"] == ["the error over seeds, and so the reliability, cannot be told from one seed"]
    assert np.isnan(found["reliability"])
    assert np.isnan(found["full_correlation"].sel(halved="seeds", statistic="spearman"))
    assert found.sizes["views"] == 0
    assert np.isfinite(found["correlation"].sel(halved="views", statistic="spearman"))


def test_one_view_and_few_samples_are_said():
    found = assess(made(samples=8, views=1), protocol="released")
    assert [sentence[:25] for sentence in found.attrs["unknown"]] == [
        "4 samples are too few to ",
        "the error over views cann",
        "the score's own part may ",
    ]
    assert np.isnan(found["variance"].sel(component="views"))
    assert 0 <= found["reliability"] <= 1


@pytest.mark.parametrize(("protocol", "views"), [("released", 1), ("corrected", 2), ("paper", 2)])
def test_too_few_views_tell_nothing_of_other_numbers_of_views(protocol, views):
    root = made(views=views)
    found, parts = assess(root, protocol=protocol), CrossedScores.of(root, protocol).parts()
    assert np.isnan(parts.views)
    assert found["views"].values.tolist() == [views]
    told = "the error over views cannot be told from " + ("one view" if views == 1 else "2 views")
    assert told in "".join(as_text(as_json(found)))
    assert curve_of_study(parts, found, most_seeds=3)["views"].values.tolist() == [views]
    expected = forecast(root, seeds=4, views=views, protocol=protocol)
    assert expected["views"].values.tolist() == [views]
    assert told in expected.attrs["unknown"][0]
    with pytest.raises(UserError, match=f"from so few views; this study has {views}, scoring.views is 5"):
        forecast(root, seeds=4, views=5, protocol=protocol)
    assert assess(made(views=2), protocol="released").attrs["unknown"] == []


def test_no_samples_are_no_reason_to_fail():
    found = assess(made(samples=20), partition="extra")
    assert found.attrs["n"] == 0
    assert np.isnan(found["reliability"])


def test_encoders_that_are_no_pairs_are_told():
    root = made(seeds=2)
    for unpaired in (root.isel(encoder=[0, 2]), root.assign_coords(seed=("encoder", [0, 1, 2, 3]))):
        found = assess(unpaired)
        assert "one encoder of f and one of g" in found.attrs["unknown"][0]
        assert found.attrs["seeds"] == 0
        assert found.sizes["views"] == 0
        assert np.isnan(found["reliability"])
        assert np.isnan(found["full_correlation"].sel(halved="views")).all()
        assert "   -" in "\n".join(as_text(as_json(found)))
    with pytest.raises(UserError, match=r"'candidates'.*shared, candidate"):
        assess(root, partition="candidates")
    design = ["pair"] * 2 + ["subset"] * 2
    found = assess(root.assign_coords(design=("encoder", design)))
    assert found.attrs["seeds"] == 1


def test_of_three_encoders_of_f_and_two_of_g_two_seeds_are_whole_and_the_rest_is_named():
    root = made(seeds=3)
    whole = root.isel(encoder=[0, 1, 4, 5])
    for part in (root.isel(encoder=[0, 1, 2, 4, 5]), root.isel(encoder=[5, 2, 0, 4, 1])):
        found = assess(part)
        assert found.attrs["seeds"] == 2
        assert "f-1" in found.attrs["unknown"][0]
        xr.testing.assert_allclose(found["reliability"], assess(whole)["reliability"])
    twice = root.assign_coords(seed=("encoder", [0, 0, 0, 1, 2, 2]))
    assert CrossedScores.of(twice).left_out == ("f-0", "g-0", "f-1", "g-1")  # f has seed 0 twice


def test_required_seeds_have_an_interval_that_covers_and_stands_wherever_they_do():
    """21 seeds were printed with an interval of 9 to 463."""
    covered, told = [], []
    for seed in range(60):
        found = assess(made(seed=seed, samples=300, seeds=4), protocol="released", target=0.5)
        truth = required_seeds(EXACT, reliability=0.5)["required_seeds"]
        ends = found["required_seeds_interval"]
        covered.append(((ends.sel(bound="low") <= truth) & (truth <= ends.sel(bound="high"))).sel(views=10).item())
        told.append(found["known"].item())
        if found["known"]:
            assert ends.sel(bound="low", views=10) <= found["required_seeds"].sel(views=10) <= ends.sel(bound="high", views=10)
    assert np.mean(covered) >= 0.88
    assert np.mean(told) > 0.5
    row = next(row for row in required_rows(found) if row["views"] == 10)
    low, high = ends.sel(views=10).values
    assert row["seeds_interval"] == [low, None if np.isinf(high) else high]
    text = "\n".join(as_text(as_json(found)))
    assert f"{row['seeds']} [{int(low)}, " in text or not row["known"]
    assert "(95 %, over samples)" in text


def test_no_number_of_seeds_is_told_where_the_scores_own_part_may_be_zero():
    root = made(samples=120, seeds=3)
    noise = np.random.default_rng(5).normal(0, 2, root["alignment"].shape)
    found = assess(root.assign(alignment=root["alignment"] * 0 + noise))
    assert not found["known"]
    assert np.isnan(found["required_seeds"]).all()
    assert np.isfinite(found["required_seeds_interval"].sel(bound="low")).any()
    assert any("may be zero" in sentence for sentence in found.attrs["unknown"])
    text = "\n".join(as_text(as_json(found)))
    assert "no number can be told, at least" in text
    assert "nan" not in text


def test_split_halves_over_seeds_hold_the_views_fixed_and_say_so():
    """Where views matter they are above the reliability, .721 against .312; they were printed as the same quantity."""
    rng = np.random.default_rng(3)
    samples, seeds, views = 2000, 6, 2
    own, of_view = rng.normal(size=(samples, 1, 1)), np.sqrt(6) * rng.normal(size=(samples, views, 1))
    differences = own + of_view + rng.normal(0, np.sqrt(6), (samples, views, seeds))
    table = CrossedScores(differences, np.zeros(views, int), np.arange(1, views + 1), "released")
    parts = table.parts()
    first, second = table.split_halves("seeds")[0]
    halves = spearman_brown(np.corrcoef(first, second)[0, 1], 2)
    assert halves == pytest.approx((1 + 3) / (1 + 3 + 0.5), abs=0.04)  # what views do counts as the sample's own
    assert parts.reliability(seeds, views) == pytest.approx(1 / (1 + 3 + 0.5), abs=0.06)
    found = as_json(assess(made(samples=60)))
    assert {name: row["given"] for name, row in found["split_half"].items()} == {"seeds": "these views", "views": "these encoders"}
    assert "split-half over seeds, given these views" in "\n".join(as_text(found))


def test_partly_common_and_repeated_seeds_are_caveats():
    assert of_seeds([0, 1], [0, 1]) == of_seeds([], [0]) == []
    assert ["several encoders" in sentence for sentence in of_seeds([0, 0, 1], [0, 0, 1])] == [True]
    (partly,) = of_seeds([0, 1], [1, 2])
    assert partly.startswith("only 1 of the seeds have an f and a g")
    assert len(of_seeds([0, 0], [1, 1])) == 2


def test_step_up_is_of_two_halves():
    assert spearman_brown(0.5, 2) == pytest.approx(2 / 3)
    assert spearman_brown(0.5, 1) == 0.5
    np.testing.assert_allclose(spearman_brown(np.array([-1.0, -0.9, -0.5, 1.0]), 2), [-1, -1, -1, 1])
    np.testing.assert_allclose(spearman_brown(np.array([-1.0, -0.5, -0.1, np.nan]), 3), [-1, -1, -0.375, np.nan])


def test_bootstrap_weights_are_small_and_those_of_one_draw():
    rng = np.random.Generator(np.random.Philox([30, 1]))
    weights = bootstrap_weights(30, 1)
    assert weights.dtype == np.uint16
    np.testing.assert_array_equal(weights, rng.multinomial(30, np.full(30, 1 / 30), size=1000))
    table = CrossedScores.of(made(samples=60))
    whole, single = table.parts(weights), [table.parts(row[None]) for row in weights[[0, 60, 999]]]
    np.testing.assert_allclose(whole.score[[0, 60, 999]], [parts.score for parts in single])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("reliability") / "tiny", samples=300, seeds=3, views=4, effect=0.02)


def test_the_report_says_how_reliable_scores_are(study, capsys):
    assert main(["report", str(study.path), "--reliability", "--protocol", "released", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["reliability"]
    assert list(told) == ["candidate", "independent"]
    for partition, found in told.items():
        expected = as_json(assess(study.results, protocol="released", partition=partition))
        assert found["reliability"]["value"] == pytest.approx(expected["reliability"]["value"])
        assert found["required"] == expected["required"]
    assert main(["report", str(study.path), "--reliability"]) == 0
    text = capsys.readouterr().out
    assert f"reliability of the order of {told['candidate']['n']} candidate samples, 3 seeds and 4 views" in text
    assert "seeds for a reliability of 0.8: " in text
    assert main(["report", str(study.path)]) == 0
    assert "reliability of the order" not in capsys.readouterr().out


def test_a_report_of_one_seed_says_that_it_cannot_be_told(tmp_path, capsys):
    study = make_study(tmp_path / "one", samples=120, seeds=1, views=2)
    assert main(["report", str(study.path), "--reliability"]) == 0
    text = capsys.readouterr().out
    assert "cannot be told from one seed" in text
    assert "nan" not in text
    with pytest.raises(UserError, match="cannot be estimated from one seed"):
        forecast(study.results, seeds=3, views=5)


def test_a_plan_says_what_its_seeds_and_views_will_give(study, monkeypatch, capsys):
    spec = {
        "name": "next",
        "data": {"name": "digits"},
        "training": {"seeds": 9, "epochs": 6, "warmup_epochs": 1},
        "scoring": {"views": 7},
    }
    told = planned(study, parse_spec(spec, where="test").resolved(study.path))
    assert (told["seeds"], told["views"]) == (9, 7)
    assert told["differs"] == []
    assert told["reliability"]["value"] > assess(study.results)["reliability"]
    assert [row["views"] for row in told["required"]] == [2, 5, 7, 10, 20]
    assert all(row["encoder_epochs"] == 2 * row["seeds"] * 6 for row in told["required"] if row["seeds"])
    other = parse_spec(spec | {"objective": {"method": "vicreg"}}, where="test").resolved(study.path)
    assert planned(study, other)["differs"] == ["objective"]
    assert "differs in objective" in planned_as_text(planned(study, other))[-1]
    changes_no_numbers = {"checkpoint_seconds": 5, "record_every": 0, "channels_last": True}
    same = spec | {"training": spec["training"] | changes_no_numbers, "scoring": spec["scoring"] | {"block": 8}}
    assert planned(study, parse_spec(same, where="test").resolved(study.path))["differs"] == []
    for scoring in ({"precision": "bf16"}, {"policy": "crop"}):
        other = parse_spec(spec | {"scoring": spec["scoring"] | scoring}, where="test").resolved(study.path)
        assert planned(study, other)["differs"] == ["scoring"]
    monkeypatch.setattr("sslmem_kit.run.plan.plan", lambda spec, **_: {"study": spec.name})
    assert main(["plan", "digits", "--precision-from", str(study.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"]["seeds"] == 3
    assert main(["plan", "digits", "--precision-from", str(study.path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_an_audit_tells_nothing_of_a_plan(study, tmp_path, capsys):
    audit = tmp_path / "audit"
    shutil.copytree(study.path, audit)
    encoders = [
        {"id": f"{family}-{seed}", "family": family, "seed": seed, "factory": "models:make", "trained_on": "all"}
        for seed in range(3)
        for family in "fg"
    ]
    spec = parse_audit({"name": "audit", "data": {"name": "digits"}, "encoders": encoders}, where="test").resolved(tmp_path)
    (audit / "study.yaml").write_text(yaml.safe_dump(spec.as_dict()))
    assert main(["plan", "digits", "--precision-from", str(audit)]) == 2
    assert "is an audit, nothing is known of its training" in capsys.readouterr().err


def test_the_figures_show_the_predictions(tmp_path):
    root = made(samples=100)
    found, parts = assess(root, protocol="released"), CrossedScores.of(root, "released").parts()
    curve = curve_of_study(parts, found, most_seeds=12)
    drawn = planning_curve_figure.plot(curve)
    lines = {line.label: line for line in drawn.traverse(lambda x: x, [hv.Curve])}
    assert list(lines) == ["2 views", "5 views", "10 views", "20 views"]
    np.testing.assert_allclose(lines["5 views"].dimension_values("reliability"), parts.reliability(np.arange(1, 13), 5))
    (here,) = drawn.traverse(lambda x: x, [hv.Scatter])
    assert here.dimension_values("reliability")[0] == pytest.approx(found["reliability"].item())
    shares = variance_shares({"released": parts, "none": VarianceComponents(*(-1.0,) * 5)}, seeds=6, views=8)
    assert float(shares["share"].sel(protocol="released", part="score")) == pytest.approx(found["reliability"].item())
    assert float(shares["share"].sel(protocol="none").sum()) == 0
    bars = error_parts.plot(shares)
    tops = [boxes.dimension_values("top")[0] for boxes in bars.traverse(lambda x: x, [hv.Rectangles])]
    assert tops[-1] == pytest.approx(1)
    for name, figure in (("curve", drawn), ("bars", bars)):
        assert all(path.stat().st_size > 5000 for path in save_figure(figure, tmp_path, name))
