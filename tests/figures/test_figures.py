"""Figures: what they show equals what they were given, they render with both backends, and what is saved opens offline."""

import re
import subprocess
import sys
import warnings

import holoviews as hv
import numpy as np
import pytest

from sslmem_kit import statistics
from sslmem_kit.figures import fig02a, fig02b, fig02c, fig05, gallery, interactive_figures, save_figure, scatter, show, tab02
from sslmem_kit.figures.save import png, svg
from sslmem_kit.names import COLOURS, PARTITIONS
from sslmem_kit.statistics.trajectory import memorization_over_training
from tests.support.fake_study import make_study

NAMES = ("fig02a", "fig02b", "fig02c", "fig05", "tab02", "gallery")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("figures") / "study", samples=300)


@pytest.fixture(scope="module")
def scores(study):
    return study.scores("corrected")


def drawn(name, study, scores):
    match name:
        case "fig02a":
            return fig02a.plot(scores)
        case "fig02b":
            return fig02b.plot(memorization_over_training(study.tree))
        case "fig02c":
            return fig02c.plot(scores, statistics.partition_summary(scores))
        case "fig05":
            return fig05.plot(scores, limit=0.02)
        case "tab02":
            return tab02.plot(statistics.partition_tests(scores))
    return gallery.plot(scores, study.tree["images/thumbnail"], count=6)


@pytest.mark.parametrize("name", NAMES)
def test_saved_files_are_whole_and_open_offline(name, study, scores, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page, picture = save_figure(drawn(name, study, scores), tmp_path / "new" / "figures", name)
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert text.rstrip().endswith("</html>")
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=", re.sub(r"<script>.*?</script>", "", text, flags=re.S))
    assert "<script src" not in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in page.parent.iterdir()) == [f"{name}.html", f"{name}.png"]


def test_the_scatter_shows_every_candidate_with_id_class_and_score(scores):
    points = next(iter(fig02a.plot(scores).traverse(lambda x: x, [hv.Points])))
    shown = points.dframe().set_index("sample")
    candidates = scores.where(scores["partition"] == 1, drop=True)
    assert sorted(shown.index) == candidates["sample"].values.tolist()
    assert (np.diff(shown["sslmem"]) >= 0).all()
    for row in candidates["sample"].values:
        one = scores.sel(sample=row)
        assert shown.loc[row, "sslmem"] == pytest.approx(float(one["sslmem"]))
        assert shown.loc[row, "class"] == scores["label"].attrs["class_names"][int(one["label"])]
        assert shown.loc[row, "alignment_g"] - shown.loc[row, "alignment_f"] == pytest.approx(float(one["difference"]), abs=1e-6)


def test_the_histograms_hold_every_sample_once_and_the_given_means(scores):
    summary = statistics.partition_summary(scores)
    figure = fig02c.plot(scores, summary, bins=17)
    counted = dict.fromkeys(PARTITIONS, 0)
    for bars in figure.traverse(lambda x: x, [hv.Rectangles]):
        counted[bars["partition"][0]] += int(bars["samples"].sum())
    assert counted == summary["n"].to_series().to_dict()
    means = {mark["partition"][0]: mark["mean"][0] for mark in figure.traverse(lambda x: x, [hv.Segments])}
    assert means == summary["mean"].to_series().to_dict()


def test_the_curves_are_the_shares_above_with_n_in_the_legend(scores):
    groups = statistics.by_partition(scores)
    curves = fig05.plot(scores).traverse(lambda x: x, [hv.Curve])
    assert {curve.label for curve in curves} == {f"{name}, n = {len(values)}" for name, values in groups.items()}
    for curve in curves:
        values = groups[curve.label.partition(",")[0]]
        expected = [(values > threshold).mean() for threshold in curve["threshold"]]
        np.testing.assert_allclose(curve["share"], expected, atol=1e-12)
        assert (curve["share"][0], curve["share"][-1]) == (1, 0)
    marks = [line.data for line in fig05.plot(scores, limit=0.5).traverse(lambda x: x, [hv.VLine])]
    assert marks == [0.0, 0.5]


def test_a_partition_without_samples_has_no_curve(scores):
    some = scores.isel(sample=np.flatnonzero(scores["partition"] == 1))
    figure = fig05.plot(some)
    assert [curve.label.partition(",")[0] for curve in figure.traverse(lambda x: x, [hv.Curve])] == ["candidate"]
    assert png(figure).startswith(b"\x89PNG")


def test_drawings_are_the_same_each_time_and_many_points_are_a_picture_in_them(monkeypatch):
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=900).astype(np.float32) for name in ("x", "y", "colour")}
    columns["colour"][:100] = np.nan
    columns["x"][:3] = np.nan

    def drawing():
        return svg(scatter.plot(columns, labels=("a", "b", "c"), title="t", ringed=np.arange(900) < 20))

    few = drawing()
    assert few == drawing()
    # A point is drawn by a reference to its shape: 800 coloured, 97 grey, 17 rings.
    assert few.count(b"<use ") >= 800 + 97 + 17
    monkeypatch.setattr(scatter, "MANY", 500)
    many = drawing()
    assert many.count(b"<image ") > few.count(b"<image ")
    assert many.count(b"<use ") < 300


def test_of_points_that_cover_each_other_the_topmost_is_drawn():
    x, y = np.array([0.0, 1.0, 0.0, 1.0, 0.5, 1e-6]), np.array([0.0, 1.0, 0.0, 0.0, 0.5, 1e-6])
    assert scatter._topmost(x, y).tolist() == [1, 3, 4, 5]
    assert scatter._topmost(x[:1], y[:1]).tolist() == [0]
    assert scatter._topmost(x[:0], y[:0]).tolist() == []


def test_panels_over_training_show_the_trajectory(study):
    trajectory = memorization_over_training(study.tree)
    layout = fig02b.plot(trajectory)
    curves = {curve.vdims[0].name: curve for curve in layout.traverse(lambda x: x, [hv.Curve])}
    assert list(curves) == ["loss_every_epoch", "probe_accuracy", "effect", "top_effect", "top_effect_naive"]
    for name, curve in curves.items():
        np.testing.assert_allclose(curve[name], trajectory[name])
    assert len(layout.traverse(lambda x: x, [hv.Spread])) == 4


def test_one_seed_leaves_out_bands_that_cannot_be_estimated(tmp_path):
    study = make_study(tmp_path / "one", samples=100, seeds=1)
    trajectory = memorization_over_training(study.tree)
    assert np.isnan(trajectory["top_mean_se"]).all()
    bands = {band.vdims[0].name for band in fig02b.plot(trajectory).traverse(lambda x: x, [hv.Spread])}
    assert bands == {"loss_every_epoch", "probe_accuracy", "mean"}
    curves = [curve.vdims[0].name for curve in fig02b.plot(trajectory).traverse(lambda x: x, [hv.Curve])]
    assert curves == ["loss_every_epoch", "probe_accuracy", "mean"]
    save_figure(fig02b.plot(trajectory), tmp_path, "fig02b")
    save_figure(fig02a.plot(study.scores("paper")), tmp_path, "fig02a")


def test_the_table_gives_the_tests_as_text(scores):
    tests = statistics.partition_tests(scores)
    rows = tab02.plot(tests).dframe()
    assert rows["alternative"].tolist() == ["C>S", "C>E", "S>I", "E>I", "C>0", "I<0", "S!=0", "E>0"]
    assert rows["t"].tolist() == [f"{t:.2f}" for t in tests["t"].values]
    assert rows["in words"][0] == "candidate above shared"
    assert rows["n"][0] == f"{tests['n_first'].values[0]} + {tests['n_second'].values[0]}"


@pytest.mark.parametrize(("p", "text"), [(0.0, "< 1e-300"), (1.23e-7, "1.2e-07"), (0.0312, "0.0312"), (np.nan, "not defined")])
def test_p_values_survive_underflow(p, text):
    assert tab02.p_value(p) == text


def test_the_gallery_shows_the_extremes_in_order(study, scores):
    thumbnails = study.tree["images/thumbnail"]
    figure = gallery.plot(scores, thumbnails, count=4, columns=4)
    frames = next(iter(figure.traverse(lambda x: x, [hv.Rectangles])))
    candidates = scores["sslmem"].where(scores["partition"] == 1, drop=True)
    ordered = candidates["sample"].values[np.argsort(-candidates.values)]
    assert frames["sample"].tolist() == [*ordered[:4], *ordered[::-1][:4]]
    mosaic = next(iter(figure.traverse(lambda x: x, [hv.RGB])))
    red = mosaic.dimension_values(2, flat=False)[::-1]
    unit = red.shape[1] / mosaic.bounds.lbrt()[2]
    middles = (np.arange(8) + 0.5) / 8
    ids = study.results["sample"].values.tolist()
    for sample, left, top in zip(frames["sample"], frames["left"], frames["top"], strict=True):
        rows, columns = ((unit * (middles + start)).astype(int) for start in (-top, left))
        np.testing.assert_array_equal(red[np.ix_(rows, columns)], thumbnails.values[ids.index(sample), ..., 0])


@pytest.mark.parametrize("count", [1, 1000])
def test_the_gallery_takes_what_there_is(study, scores, count, tmp_path):
    figure = gallery.plot(scores, study.tree["images/thumbnail"], count=count)
    shown = next(iter(figure.traverse(lambda x: x, [hv.Rectangles])))["sample"]
    assert len(shown) == len(set(shown)) == 2 * min(count, int((scores["partition"] == 1).sum()) // 2)


def test_shown_output_is_a_picture_with_a_script_behind_it(scores):
    html = show(fig02a.plot(scores))._repr_html_()
    assert html.startswith('<div id="sslmem-')
    assert 'src="data:image/png;base64,' in html
    assert html.count("</script>") == 1
    assert "<script" not in show(fig02a.plot(scores), interactive=False)._repr_html_()
    library = interactive_figures()
    assert len(library._repr_html_()) < 1.5e6
    assert len(repr(library)) < 100


def test_partition_colours_are_four_and_different():
    assert set(COLOURS) == set(PARTITIONS)
    assert len(set(COLOURS.values())) == 4


def test_nothing_here_imports_torch():
    code = "import sys, sslmem_kit.figures, sslmem_kit.report.notebooks, sslmem_kit.statistics.trajectory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
